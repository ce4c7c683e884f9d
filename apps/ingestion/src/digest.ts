import { randomUUID } from 'node:crypto';
import {
  ContractError,
  decodeInterest,
  digestTopic,
  encodeDigest,
  INTEREST_FILTER,
  type DeviceId,
  type Reading,
} from '@muster/contract';
import {
  BrokerConnection,
  BrokerError,
  whenEachWasTried,
  type BrokerTarget,
  type ReceivedMessage,
} from '@muster/broker';
import { logConnectionEvent, type Logger } from '@muster/service';
import { DigestQueue } from './digest-queue.ts';
import type { IngestionMetrics } from './metrics.ts';

const INTERVAL_MS = 200;

interface Line {
  readonly connection: BrokerConnection;
  readonly queue: DigestQueue;
}

/**
 * Tells other services the readings that they want, decoded once, in batches on the broker that they came from. So a
 * further consumer costs the broker a few messages a second and not all telemetry again (mqtt-pitfalls B4).
 */
export class Digest {
  readonly #run = randomUUID();
  readonly #lines = new Map<string, Line>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly metrics: IngestionMetrics,
    private readonly logger: Logger,
  ) {}

  /** Whether every broker is connected. */
  get ready(): boolean {
    return [...this.#lines.values()].every(({ connection }) => connection.ready);
  }

  /**
   * Begins to follow interests and to tell; resolves when every broker has been tried.
   * @throws BrokerError `subscription-refused`
   */
  async start(brokers: readonly BrokerTarget[], connectTimeoutMs: number): Promise<void> {
    const log = logConnectionEvent(this.logger);
    for (const broker of brokers) {
      const queue = new DigestQueue();
      const connection = new BrokerConnection({
        broker,
        clientId: `muster-ingestion-digest-${broker.name}`,
        sessionExpirySeconds: 0,
        subscriptions: [{ filter: INTEREST_FILTER, qos: 1 }],
        onMessage: (message, settle) => {
          this.#takeInterest(queue, message);
          settle('acknowledge');
        },
        onEvent: log,
      });
      this.#lines.set(broker.name, { connection, queue });
    }
    this.#timer = setInterval(() => {
      for (const [broker, line] of this.#lines) this.#send(broker, line);
    }, INTERVAL_MS);
    await whenEachWasTried(
      [...this.#lines.values()].map(({ connection }) => connection),
      connectTimeoutMs,
    );
  }

  /** Tells the last batches and leaves. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const [broker, line] of this.#lines) this.#send(broker, line);
    await Promise.all([...this.#lines.values()].map(({ connection }) => connection.close(0)));
  }

  /** Whether anybody wants anything of what comes from a broker: it is asked for every message. */
  isWanted(broker: string): boolean {
    return this.#lines.get(broker)?.queue.isWanted ?? false;
  }

  /** Takes the readings of a message; those that nobody wants cost a look-up each. */
  add(
    broker: string,
    device: DeviceId,
    readings: readonly Reading[],
    circumstances: { readonly atMs: number; readonly qos: 0 | 1 | 2; readonly late: boolean },
  ): void {
    const line = this.#lines.get(broker);
    if (line === undefined) return;
    for (const { metric, value, unit } of readings) {
      if (!line.queue.wants(metric)) continue;
      if (line.queue.add({ device, metric, value, unit: unit ?? null, ...circumstances })) this.#send(broker, line);
    }
  }

  /**
   * Publishes something else at QoS 1 over the connection to a broker; after `expirySeconds` it is given up, and the
   * broker drops what it has not delivered.
   * @throws BrokerError as {@link BrokerConnection.publish}; `closed` where the broker is none of those that it was started with
   */
  async publish(broker: string, topic: string, payload: string, expirySeconds: number): Promise<void> {
    const line = this.#lines.get(broker);
    if (line === undefined) throw new BrokerError('closed', `there is no connection to ${broker}`);
    const properties = { messageExpiryInterval: expirySeconds };
    await line.connection.publish(topic, payload, { qos: 1, withinMs: expirySeconds * 1_000, properties });
  }

  #send(broker: string, { connection, queue }: Line): void {
    // What waits for a broker that is away is old when it is back; the bound of the queue says what is kept.
    while (connection.ready) {
      const batch = queue.take();
      if (batch === undefined) return;
      const payload = encodeDigest({ run: this.#run, ...batch });
      this.metrics.digestReadings.inc({ broker }, batch.readings.length);
      connection
        .publish(digestTopic(broker), payload, { qos: 0 })
        .catch((error: unknown) => this.logger.debug({ err: error, broker }, 'a digest was not sent'));
    }
  }

  #takeInterest(queue: DigestQueue, message: ReceivedMessage): void {
    const consumer = message.topic.slice(INTEREST_FILTER.length - 1);
    try {
      queue.interested(consumer, message.payload.length === 0 ? undefined : decodeInterest(message.payload));
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.logger.warn({ consumer, reason: error.message }, 'an interest that cannot be read');
    }
  }
}
