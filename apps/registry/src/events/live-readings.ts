import { DigestFollower, type BrokerTarget } from '@muster/broker';
import type { DigestReading, LiveReadings } from '@muster/contract';
import { logConnectionEvent, type Logger } from '@muster/service';
import { Gauge, type Registry } from 'prom-client';

/** What one open stream wants; empty sets are everything. */
export interface LiveFilter {
  readonly devices: ReadonlySet<string>;
  readonly metrics: ReadonlySet<string>;
}

interface Listener {
  readonly filter: LiveFilter;
  readonly send: (readings: LiveReadings) => void;
}

/** Readings as they come, for whoever has a page or a terminal open. Nobody listens: nothing is asked of ingestion. */
export class LiveReadingFeed {
  readonly #follower: DigestFollower;
  readonly #listeners = new Set<Listener>();

  constructor(brokers: readonly BrokerTarget[], logger: Logger, metrics: Registry) {
    const listeners = this.#listeners;
    new Gauge({
      name: 'muster_registry_live_listeners',
      help: 'Open streams of live readings',
      registers: [metrics],
      collect() {
        this.set(listeners.size);
      },
    });
    this.#follower = new DigestFollower({
      consumer: 'registry',
      brokers,
      onReadings: (readings, broker) => this.#tell(readings, broker),
      // Live values do not resume: who joins late reads the devices.
      onGap: () => undefined,
      onEvent: logConnectionEvent(logger),
      onRefused: ({ broker }, error) => logger.warn({ broker, reason: error.message }, 'not a digest'),
    });
  }

  /** @throws BrokerError `subscription-refused` */
  async start(connectTimeoutMs: number): Promise<void> {
    await this.#follower.start(connectTimeoutMs);
  }

  /** Hears nothing more. */
  async close(): Promise<void> {
    await this.#follower.close();
  }

  /** Begins to send; answers what ends it. */
  listen(filter: LiveFilter, send: (readings: LiveReadings) => void): () => void {
    const listener = { filter, send };
    this.#listeners.add(listener);
    this.#want();
    return () => {
      this.#listeners.delete(listener);
      this.#want();
    };
  }

  #want(): void {
    const filters = [...this.#listeners].map(({ filter }) => filter.metrics);
    this.#follower.want(filters.some(({ size }) => size === 0) ? '*' : new Set(filters.flatMap((one) => [...one])));
  }

  #tell(readings: readonly DigestReading[], broker: string): void {
    for (const { filter, send } of this.#listeners) {
      const wanted = readings.filter(
        ({ device, metric }) =>
          (filter.devices.size === 0 || filter.devices.has(device)) &&
          (filter.metrics.size === 0 || filter.metrics.has(metric)),
      );
      if (wanted.length === 0) continue;
      send({ broker, readings: wanted.map(({ atMs, ...reading }) => ({ ...reading, at: atMs })) });
    }
  }
}
