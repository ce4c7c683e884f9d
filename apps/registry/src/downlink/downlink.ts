import { BrokerConnection, BrokerError, whenEachWasTried, type BrokerTarget } from '@muster/broker';
import { logConnectionEvent, type Logger } from '@muster/service';
import type { PublishResult } from './command-machine.ts';

/** What a broker does not take in this time is tried again later. */
const PUBLISH_LIMIT_MS = 3_000;

/** What is told to devices. */
export interface DownlinkMessage {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
  /** After so many seconds a broker forgets it. */
  readonly expirySeconds?: number;
}

/** The way to devices: a connection to each broker that only publishes, at QoS 1. */
export class Downlink {
  readonly #connections: ReadonlyMap<string, BrokerConnection>;
  readonly #onConnected: ((broker: string) => void)[] = [];

  constructor(brokers: readonly BrokerTarget[], logger: Logger) {
    const log = logConnectionEvent(logger);
    this.#connections = new Map(
      brokers.map((broker) => [
        broker.name,
        new BrokerConnection({
          ...{ broker, clientId: `muster-registry-downlink-${broker.name}`, sessionExpirySeconds: 0 },
          onEvent: (event) => {
            log(event);
            if (event.kind === 'connected') for (const listener of this.#onConnected) listener(event.broker);
          },
        }),
      ]),
    );
  }

  /** The names of all brokers. */
  get brokers(): readonly string[] {
    return [...this.#connections.keys()];
  }

  /** Tells whenever a broker is there again; to be called before `start`. */
  onConnected(listener: (broker: string) => void): void {
    this.#onConnected.push(listener);
  }

  /** Resolves when every broker was tried; one that is away goes on being tried. */
  async start(timeoutMs: number): Promise<void> {
    await whenEachWasTried([...this.#connections.values()], timeoutMs);
  }

  /** What a broker did with a message: never thrown, because a broker that is away is nothing unusual. */
  async publish(broker: string, { topic, payload, retain, expirySeconds }: DownlinkMessage): Promise<PublishResult> {
    const connection = this.#connections.get(broker);
    if (connection?.ready !== true) return { broker, outcome: 'away' };
    try {
      const reasonCode = await connection.publish(topic, payload, {
        ...{ qos: 1, retain, withinMs: PUBLISH_LIMIT_MS },
        ...(expirySeconds === undefined ? {} : { properties: { messageExpiryInterval: expirySeconds } }),
      });
      return { broker, outcome: reasonCode === 16 ? 'unsubscribed' : 'taken' };
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      return { broker, outcome: error.code === 'publish-refused' ? 'refused' : 'away' };
    }
  }

  /** Leaves every broker. */
  async close(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((connection) => connection.close()));
  }
}
