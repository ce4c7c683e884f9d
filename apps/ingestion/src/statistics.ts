import { hostname } from 'node:os';
import { storableText } from '@muster/contract';
import { BrokerConnection, BrokerError, type BrokerTarget, type ConnectionEvent } from '@muster/broker';
import type { Logger } from '@muster/service';
import { statisticsLine, type Influx, type StatisticsPoint } from '@muster/telemetry';
import type { BrokerQueues } from './broker-queue.ts';
import { GAUGE_FIELDS, type Figure, type IngestionMetrics } from './metrics.ts';

/** Where Mosquitto tells about itself (mosquitto(8), broker status). No filter that begins with a wildcard takes it. */
const SYSTEM_FILTER = '$SYS/broker/#';
const SYSTEM_PREFIX = '$SYS/broker/';
const INTERVAL_MS = 10_000;
/** Mosquitto tells every 10 s by default; after three silent intervals it is not going to. */
const SILENT_MS = 30_000;
const MAX_FIGURE_BYTES = 100;
const NUMBER = /^(\d{1,20}(?:\.\d{1,10})?)(?: seconds)?$/;

/** Topic below `$SYS/broker/` to the field of the measurement `broker`. */
const BROKER_FIELDS: ReadonlyMap<string, string> = new Map([
  ['clients/connected', 'clients_connected'],
  ['clients/disconnected', 'clients_disconnected'],
  ['clients/total', 'clients_total'],
  ['clients/maximum', 'clients_maximum'],
  ['messages/received', 'messages_received'],
  ['messages/sent', 'messages_sent'],
  ['bytes/received', 'bytes_received'],
  ['bytes/sent', 'bytes_sent'],
  ['publish/messages/received', 'publish_received'],
  ['publish/messages/sent', 'publish_sent'],
  ['publish/messages/dropped', 'publish_dropped'],
  ['retained messages/count', 'retained'],
  ['store/messages/count', 'stored'],
  ['store/messages/bytes', 'stored_bytes'],
  ['subscriptions/count', 'subscriptions'],
  ['heap/current', 'heap'],
  ['heap/maximum', 'heap_maximum'],
  ['load/messages/received/1min', 'load_received_1min'],
  ['load/messages/sent/1min', 'load_sent_1min'],
  ['load/connections/1min', 'load_connections_1min'],
  ['uptime', 'uptime'],
  ['version', 'version'],
]);

/** One figure of a broker: counts, bytes or seconds as a number; only its version is a text. */
export interface BrokerFigure {
  readonly field: string;
  readonly value: number | string;
}

/** What a message under `$SYS/broker/` says; undefined where it is none that is kept, or not in the form of one. */
export function decodeBrokerFigure(topic: string, payload: Uint8Array): BrokerFigure | undefined {
  if (!topic.startsWith(SYSTEM_PREFIX) || payload.length === 0 || payload.length > MAX_FIGURE_BYTES) return undefined;
  const field = BROKER_FIELDS.get(topic.slice(SYSTEM_PREFIX.length));
  if (field === undefined) return undefined;
  const text = Buffer.from(payload).toString();
  if (field === 'version') return { field, value: storableText(text, MAX_FIGURE_BYTES) };
  const number = NUMBER.exec(text)?.[1];
  return number === undefined ? undefined : { field, value: Number(number) };
}

/**
 * The points of ingestion's own figures: under the broker, and the reason, where they are kept by them, else under the
 * instance, because two instances would overwrite each other.
 */
export function ingestionPoints(figures: readonly Figure[], instance: string): readonly StatisticsPoint[] {
  const points = new Map<string, { tags: Record<string, string>; fields: Record<string, number> }>();
  for (const { field, labels, value } of figures) {
    const labelled = Object.entries(labels).map(([name, label]): [string, string] => [name, String(label)]);
    const tags = Object.fromEntries(labelled.length === 0 ? [['instance', instance]] : labelled.sort());
    const key = JSON.stringify(tags);
    const point = points.get(key) ?? { tags, fields: {} };
    point.fields[field] = value;
    points.set(key, point);
  }
  return [...points.values()].map((point) => ({ measurement: 'ingestion', ...point }));
}

/**
 * The counters that this process has not written before, as they were an interval ago: 0. Without them what came in the
 * first interval, or the first message that was refused for a reason, would be in no rate.
 */
export function beginnings(points: readonly StatisticsPoint[], seen: Set<string>): readonly StatisticsPoint[] {
  return points.flatMap((point) => {
    const key = JSON.stringify(point.tags);
    if (seen.has(key)) return [];
    seen.add(key);
    const counters = Object.keys(point.fields).filter((field) => !GAUGE_FIELDS.has(field));
    return [{ ...point, fields: Object.fromEntries(counters.map((field) => [field, 0])) }];
  });
}

interface WatchedBroker {
  readonly name: string;
  readonly connection: BrokerConnection;
  readonly figures: Map<string, number | string>;
  connectedAtMs: number | undefined;
  silenceTold: boolean;
}

/** What statistics are made of and where they go. */
export interface StatisticsOptions {
  readonly influx: Pick<Influx, 'write'>;
  readonly metrics: IngestionMetrics;
  readonly queues: BrokerQueues;
  readonly logger: Logger;
  readonly intervalMs?: number;
  /** A broker that says nothing for so long after it was connected is not going to. */
  readonly silentMs?: number;
}

/**
 * Figures of the brokers and of ingestion itself into InfluxDB, every 10 s. They have connections and writes of their
 * own: what InfluxDB does not take is dropped and counted, and telemetry never waits for it.
 */
export class Statistics {
  #brokers: readonly WatchedBroker[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sampleTimer: NodeJS.Timeout | undefined;
  #closing = false;
  #isFailing = false;
  readonly #begun = new Set<string>();
  readonly #instance = hostname();

  readonly #options: Required<StatisticsOptions>;

  constructor(options: StatisticsOptions) {
    this.#options = { intervalMs: INTERVAL_MS, silentMs: SILENT_MS, ...options };
  }

  /** Begins to listen and to write; returns at once, also where a broker is away. */
  start(brokers: readonly BrokerTarget[]): void {
    this.#brokers = brokers.map((broker) => this.#watch(broker));
    this.#schedule();
    // By a timer of its own: the queues fill while InfluxDB does not answer.
    this.#sampleTimer = setInterval(() => this.#sampleQueues(), this.#options.intervalMs);
  }

  /** Stops; a write that is under way is left to itself. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#timer);
    clearInterval(this.#sampleTimer);
    await Promise.all(this.#brokers.map(({ connection }) => connection.close(0)));
  }

  #watch(broker: BrokerTarget): WatchedBroker {
    const figures = new Map<string, number | string>();
    const connection = new BrokerConnection({
      broker,
      clientId: `muster-statistics-${broker.name}`,
      sessionExpirySeconds: 0,
      subscriptions: [{ filter: SYSTEM_FILTER, qos: 0 }],
      onMessage: ({ topic, payload }, settle) => {
        const figure = decodeBrokerFigure(topic, payload);
        if (figure !== undefined) figures.set(figure.field, figure.value);
        settle('acknowledge');
      },
      onEvent: (event) => this.#onEvent(watched, event),
    });
    const watched: WatchedBroker = {
      name: broker.name,
      connection,
      figures,
      connectedAtMs: undefined,
      silenceTold: false,
    };
    return watched;
  }

  /** The telemetry connection to the same broker tells of everything else. */
  #onEvent(watched: WatchedBroker, event: ConnectionEvent): void {
    if (event.kind === 'connected') watched.connectedAtMs = Date.now();
    if (event.kind === 'disconnected') {
      // A broker that comes back may begin anew: what it said before is no longer true.
      watched.figures.clear();
      this.#options.queues.forget(watched.name);
      watched.connectedAtMs = undefined;
    }
    if (event.kind === 'failed' && event.error instanceof BrokerError && event.error.code === 'subscription-refused') {
      this.#tellSilence(watched, event.error.message);
      // Asking again every 30 s would not change the broker's mind.
      void watched.connection.close(0);
    }
  }

  #tellSilence(watched: WatchedBroker, reason: string): void {
    if (watched.silenceTold) return;
    watched.silenceTold = true;
    this.#options.logger.warn(
      { broker: watched.name, reason },
      `the broker tells nothing about itself, so its statistics stay empty; let the account read ${SYSTEM_FILTER}`,
    );
  }

  /** On the grid of the interval, so that every interval of a query has one point. */
  #schedule(): void {
    if (this.#closing) return;
    const delayMs = this.#options.intervalMs - (Date.now() % this.#options.intervalMs);
    this.#timer = setTimeout(() => void this.#write().finally(() => this.#schedule()), delayMs);
  }

  async #write(): Promise<void> {
    // A timer may fire a millisecond early.
    const atMs = Math.round(Date.now() / this.#options.intervalMs) * this.#options.intervalMs;
    const own = ingestionPoints(await this.#options.metrics.figures(), this.#instance);
    const lines = [
      ...beginnings(own, this.#begun).flatMap((point) => statisticsLine(point, atMs - this.#options.intervalMs) ?? []),
      ...[...this.#brokerPoints(), ...own].flatMap((point) => statisticsLine(point, atMs) ?? []),
    ];
    const outcome = await this.#options.influx.write(lines.join('\n'));
    if (this.#closing) return;
    if (outcome.kind === 'stored') {
      if (this.#isFailing) this.#options.logger.info('statistics are written again');
      this.#isFailing = false;
      return;
    }
    this.#options.metrics.statisticsDropped.inc(lines.length);
    if (!this.#isFailing)
      this.#options.logger.warn(
        { reason: outcome.reason },
        'InfluxDB did not take statistics; they are dropped until it does',
      );
    this.#isFailing = true;
  }

  #sampleQueues(): void {
    const { metrics, queues } = this.#options;
    const { inHand, spool } = metrics.state ?? {};
    for (const { name, figures } of this.#brokers) {
      const figure = (field: string): number | undefined => {
        const value = figures.get(field);
        return typeof value === 'number' ? value : undefined;
      };
      const [stored, storedBytes = 0, retained = 0] = ['stored', 'stored_bytes', 'retained'].map(figure);
      if (stored === undefined) continue;
      queues.take(name, {
        ...{ atMs: performance.now(), stored, storedBytes, retained },
        ...{ inHand: inHand?.get(name) ?? 0, isSpoolFull: spool?.isFull ?? false },
      });
    }
  }

  #brokerPoints(): readonly StatisticsPoint[] {
    return this.#brokers.flatMap((watched) => {
      const { name, figures, connectedAtMs } = watched;
      if (connectedAtMs === undefined) return [];
      if (figures.size > 0)
        return [{ measurement: 'broker', tags: { broker: name }, fields: Object.fromEntries(figures) }];
      if (Date.now() - connectedAtMs > this.#options.silentMs) {
        this.#tellSilence(watched, `nothing under ${SYSTEM_FILTER} within ${this.#options.silentMs / 1000} s`);
      }
      return [];
    });
  }
}
