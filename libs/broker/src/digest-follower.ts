import {
  ContractError,
  decodeDigest,
  DIGEST_FILTER,
  encodeInterest,
  interestTopic,
  type DigestReading,
  type Interest,
} from '@muster/contract';
import { BrokerConnection } from './broker-connection.ts';
import type { ReceivedMessage } from './connection-options.ts';
import type { BrokerTarget, ConnectionEvent } from './broker-target.ts';
import { whenEachWasTried, within } from './waiting.ts';

/** How a service listens to the digest. */
export interface DigestFollowerOptions {
  /** The service's name; its interest is kept under it. */
  readonly consumer: string;
  readonly brokers: readonly BrokerTarget[];
  readonly onReadings: (readings: readonly DigestReading[], broker: string) => void;
  /**
   * Called when readings of a broker may have been missed, and at the first connection: whoever needs them all reads the
   * last values from the database.
   */
  readonly onGap: (broker: string) => void;
  readonly onEvent: (event: ConnectionEvent) => void;
  /** Called for a message that is no digest. */
  readonly onRefused: (message: ReceivedMessage, error: ContractError) => void;
}

/** A broker that dies while it is told something would be waited for without end. */
const TELL_LIMIT_MS = 2_000;

interface Position {
  readonly run: string;
  readonly number: number;
}

/**
 * The digest of every broker: readings of the metrics that this consumer is interested in. Batches are numbered and come
 * at QoS 0, so whatever is missed is noticed.
 */
export class DigestFollower {
  readonly #options: DigestFollowerOptions;
  readonly #positions = new Map<string, Position>();
  #connections: readonly BrokerConnection[] = [];
  #interest: Interest = new Set();

  constructor(options: DigestFollowerOptions) {
    this.#options = options;
  }

  /** Whether every broker is connected. */
  get ready(): boolean {
    return this.#connections.length > 0 && this.#connections.every((connection) => connection.ready);
  }

  /**
   * Connects to every broker; resolves when each has been tried.
   * @throws BrokerError `subscription-refused`
   */
  async start(connectTimeoutMs: number): Promise<void> {
    const { consumer, brokers, onGap, onEvent } = this.#options;
    this.#connections = brokers.map((broker) => {
      const connection: BrokerConnection = new BrokerConnection({
        broker,
        clientId: `muster-${consumer}-digest-${broker.name}`,
        sessionExpirySeconds: 0,
        // Nobody is interested any more when the consumer is gone.
        will: { topic: interestTopic(consumer), payload: '' },
        subscriptions: [{ filter: DIGEST_FILTER, qos: 0, retainHandling: 2 }],
        onMessage: (message, settle) => {
          this.#take(message);
          settle('acknowledge');
        },
        onEvent: (event) => {
          onEvent(event);
          if (event.kind !== 'connected') return;
          this.#tell(connection);
          this.#positions.delete(broker.name);
          onGap(broker.name);
        },
      });
      return connection;
    });
    await whenEachWasTried(this.#connections, connectTimeoutMs);
  }

  /** Says which metrics are wanted from now on; readings of new ones come within a fraction of a second. */
  want(interest: Interest): void {
    if (encodeInterest(interest) === encodeInterest(this.#interest)) return;
    this.#interest = interest;
    for (const connection of this.#connections) if (connection.ready) this.#tell(connection);
  }

  /** Takes the interest back and leaves. */
  async close(): Promise<void> {
    await Promise.all(
      this.#connections.map(async (connection) => {
        if (connection.ready) await this.#publish(connection, '');
        await connection.close(0);
      }),
    );
  }

  #tell(connection: BrokerConnection): void {
    const isEmpty = this.#interest !== '*' && this.#interest.size === 0;
    void this.#publish(connection, isEmpty ? '' : encodeInterest(this.#interest));
  }

  async #publish(connection: BrokerConnection, payload: string): Promise<void> {
    try {
      const told = connection.publish(interestTopic(this.#options.consumer), payload, { qos: 1, retain: true });
      await within(told, TELL_LIMIT_MS);
    } catch (error) {
      // A connection that was lost tells its interest when it is back.
      const failed = error instanceof Error ? error : new Error(String(error));
      this.#options.onEvent({ kind: 'failed', broker: connection.broker, error: failed });
    }
  }

  #take(message: ReceivedMessage): void {
    const { broker } = message;
    try {
      const batch = decodeDigest(message.payload);
      const before = this.#positions.get(broker);
      this.#positions.set(broker, { run: batch.run, number: batch.number });
      if (before !== undefined && (before.run !== batch.run || before.number + 1 !== batch.number)) {
        this.#options.onGap(broker);
      }
      this.#options.onReadings(batch.readings, broker);
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.#options.onRefused(message, error);
    }
  }
}
