import { randomUUID } from 'node:crypto';
import type { Logger } from '@muster/service';
import { influxName, influxText, statisticsLine, type Influx } from '@muster/telemetry';
import { Gauge, Histogram, type Registry } from 'prom-client';

/** Of a measurement of its own: what asks for telemetry or for devices never sees it. */
export const CANARY_MEASUREMENT = 'canary';
const PREFIX = 'muster/services/ingestion/canary/';
const INTERVAL_MS = 10_000;
const FIRST_LOOK_MS = 50;
const SELDOM_MS = 1_000;

/** Where the canary of a broker is published, and where ingestion's own connection to that broker hears it. */
export function canaryTopic(broker: string): string {
  return `${PREFIX}${broker}`;
}

/** Whether a message is a canary's and no telemetry; asked for every message. */
export function isCanaryTopic(topic: string): boolean {
  return topic.startsWith(PREFIX);
}

/** Latency of the pipeline, and whether it works from end to end. */
export class CanaryMetrics {
  readonly seconds: Histogram<'broker'>;
  readonly lastSuccess: Gauge<'broker'>;
  readonly missing: Gauge<'broker'>;

  constructor(registry: Registry) {
    const common = { labelNames: ['broker' as const], registers: [registry] };
    this.seconds = new Histogram({
      ...common,
      name: 'muster_ingestion_canary_seconds',
      help: 'Time from the publish of a synthetic reading to its being found by a query',
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    });
    this.lastSuccess = new Gauge({
      ...common,
      name: 'muster_ingestion_canary_last_success_timestamp_seconds',
      help: 'When the last synthetic reading that was found had been published',
    });
    this.missing = new Gauge({
      ...common,
      name: 'muster_ingestion_canary_missing',
      help: '1 where the last synthetic reading was not found within 10 s',
    });
  }
}

/** What a canary needs of the pipeline that it watches. */
export interface CanaryOptions {
  /** At QoS 1, given up with `expirySeconds`, after which the broker drops it too. */
  readonly publish: (broker: string, topic: string, payload: string, expirySeconds: number) => Promise<unknown>;
  readonly influx: Pick<Influx, 'query'>;
  readonly metrics: CanaryMetrics;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly intervalMs?: number;
}

/** A synthetic reading on its way. */
interface Probe {
  readonly id: string;
  /** Its time in InfluxDB. */
  readonly sentAtMs: number;
  /** The same by a clock that is never set. */
  readonly startedAt: number;
  isReceived: boolean;
  isFound: boolean;
  /** Why it is not further than it is. */
  reason: string;
}

interface Watched {
  readonly broker: string;
  probe: Probe | undefined;
  isMissing: boolean;
}

/**
 * Publishes a synthetic reading at each broker every 10 s, and looks for it in InfluxDB: what is between is the way of
 * all telemetry. It is no device: no registry, digest or search knows of it.
 */
export class Canary {
  readonly #options: CanaryOptions;
  readonly #intervalMs: number;
  readonly #watched = new Map<string, Watched>();
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CanaryOptions) {
    this.#options = options;
    this.#intervalMs = options.intervalMs ?? INTERVAL_MS;
  }

  /** Begins, at brokers with these names. */
  start(brokers: readonly string[]): void {
    for (const broker of brokers) {
      this.#watched.set(broker, { broker, probe: undefined, isMissing: false });
      this.#options.metrics.missing.set({ broker }, 0);
    }
    const sendAll = (): void => {
      for (const watched of this.#watched.values()) this.#send(watched);
    };
    sendAll();
    this.#timer = setInterval(sendAll, this.#intervalMs);
  }

  /** Stops. */
  close(): void {
    clearInterval(this.#timer);
    this.#isClosed = true;
  }

  /**
   * The line to write for a message on {@link canaryTopic}; undefined for one that nobody waits for any more. The same
   * message leads to the same line again: it may be delivered more than once.
   */
  lineOf(message: { readonly broker: string; readonly payload: Uint8Array }): string | undefined {
    const watched = this.#watched.get(message.broker);
    const probe = watched?.probe;
    if (watched === undefined || probe === undefined || Buffer.from(message.payload).toString() !== probe.id)
      return undefined;
    if (!probe.isReceived) {
      probe.isReceived = true;
      probe.reason = 'InfluxDB does not have it';
      void this.#lookFor(watched, probe);
    }
    const tags = { broker: watched.broker };
    const fields = { received_ms: Math.max(0, Math.round(performance.now() - probe.startedAt)) };
    return statisticsLine({ measurement: CANARY_MEASUREMENT, tags, fields }, probe.sentAtMs);
  }

  #send(watched: Watched): void {
    const { broker, probe: before } = watched;
    if (before !== undefined && !before.isFound) this.#missed(watched, before.reason);
    const probe: Probe = {
      ...{ id: randomUUID(), sentAtMs: Date.now(), startedAt: performance.now() },
      ...{ isReceived: false, isFound: false, reason: 'ingestion did not receive it' },
    };
    watched.probe = probe;
    const expirySeconds = Math.ceil(this.#intervalMs / 1_000);
    this.#options.publish(broker, canaryTopic(broker), probe.id, expirySeconds).catch((error: unknown) => {
      if (!probe.isReceived) probe.reason = messageOf(error);
    });
  }

  /** Until it is found, or the next one is on its way. */
  async #lookFor(watched: Watched, probe: Probe): Promise<void> {
    const isWanted = (): boolean => watched.probe === probe && !this.#isClosed;
    const { broker } = watched;
    const query = `SELECT "received_ms" FROM ${influxName(CANARY_MEASUREMENT)} WHERE "broker" = ${influxText(broker)} AND time >= ${probe.sentAtMs}ms AND time < ${probe.sentAtMs + 1}ms`;
    for (let waitMs = FIRST_LOOK_MS; isWanted(); waitMs = Math.min(waitMs * 1.5, SELDOM_MS)) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      try {
        const rows = isWanted() ? await this.#options.influx.query(query) : [];
        // An answer may come when the next one is on its way: then it is too late.
        if (rows.length > 0 && isWanted()) {
          this.#found(watched, probe);
          return;
        }
      } catch (error) {
        probe.reason = messageOf(error);
      }
    }
  }

  #found(watched: Watched, probe: Probe): void {
    const { metrics, logger } = this.#options;
    const { broker } = watched;
    probe.isFound = true;
    const seconds = (performance.now() - probe.startedAt) / 1_000;
    metrics.seconds.observe({ broker }, seconds);
    metrics.lastSuccess.set({ broker }, probe.sentAtMs / 1_000);
    metrics.missing.set({ broker }, 0);
    if (watched.isMissing) logger.info({ broker, seconds }, 'the canary is found again: telemetry is stored');
    watched.isMissing = false;
  }

  #missed(watched: Watched, reason: string): void {
    const { broker } = watched;
    this.#options.metrics.missing.set({ broker }, 1);
    if (!watched.isMissing)
      this.#options.logger.warn(
        { broker, reason },
        `the canary is missing: what was published at the broker was not found in InfluxDB within ${this.#intervalMs / 1_000} s`,
      );
    watched.isMissing = true;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
