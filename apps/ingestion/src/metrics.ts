import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { QueueForecast } from './broker-queue.ts';
import { CanaryMetrics } from './canary.ts';
import type { KnownSpool } from './stopped-spools.ts';

/** What is read from ingestion when its gauges are asked for. */
export interface IngestionState {
  /** Messages that are not durable yet. */
  readonly waiting: number;
  readonly devices: number;
  /** Devices that send more than their quota. */
  readonly runaways: number;
  readonly spool: { readonly bytes: number; readonly oldestAtMs: number | undefined; readonly isFull: boolean };
  /** Messages that a broker has sent and that are not acknowledged yet, by the broker's name. */
  readonly inHand: ReadonlyMap<string, number>;
}

/** One figure as it stands, with the labels that it is kept under. */
export interface Figure {
  readonly field: string;
  readonly labels: Readonly<Record<string, string | number | undefined>>;
  readonly value: number;
}

/** The figures that go up and down; all others only grow while the process lives. */
export const GAUGE_FIELDS: ReadonlySet<string> = new Set([
  'waiting',
  'devices',
  'runaways',
  'in_hand',
  'spool_bytes',
  'spool_age_seconds',
  'spool_full',
  'queue_share',
  'queue_minutes_left',
  'stopped_spool_bytes',
  'stopped_spool_age_seconds',
  'canary_missing',
]);

type LabelledGauge = Gauge<'broker' | 'ordinal'>;

/** What ingestion counts. */
export class IngestionMetrics {
  readonly messages: Counter<'broker'>;
  readonly bytes: Counter<'broker'>;
  readonly readings: Counter<'broker'>;
  readonly tombstoned: Counter<'broker'>;
  readonly unstampedDuplicates: Counter<'broker'>;
  readonly dropped: Counter<'broker'>;
  readonly overQuota: Counter<'broker'>;
  readonly noRoom: Counter<'broker'>;
  readonly digestReadings: Counter<'broker'>;
  readonly deadLetters: Counter<'broker' | 'reason'>;
  readonly linesWritten: Counter;
  readonly linesSpooled: Counter;
  readonly linesReplayed: Counter;
  readonly linesTombstoned: Counter;
  readonly writeSeconds: Histogram;
  readonly influxFailures: Counter;
  readonly postgresFailures: Counter;
  readonly statisticsDropped: Counter;
  readonly canary: CanaryMetrics;
  readonly #brokers = new Set<string>();
  readonly #gauges: [field: string, gauge: LabelledGauge][] = [];
  #read: (() => IngestionState) | undefined;

  constructor(private readonly registry: Registry) {
    const counter = (name: string, help: string): Counter =>
      new Counter({ name: `muster_ingestion_${name}`, help, registers: [registry] });
    const brokerCounter = (name: string, help: string): Counter<'broker'> =>
      new Counter({ name: `muster_ingestion_${name}`, help, labelNames: ['broker'], registers: [registry] });
    this.messages = brokerCounter('messages_total', 'Telemetry messages received');
    this.bytes = brokerCounter('payload_bytes_total', 'Bytes of their payloads');
    this.readings = brokerCounter('readings_total', 'Readings that InfluxDB or the spool has taken');
    this.tombstoned = brokerCounter('tombstoned_total', 'Messages of decommissioned devices, refused');
    this.unstampedDuplicates = brokerCounter(
      'unstamped_redeliveries_total',
      'Redelivered messages without a time of their own: possible duplicates',
    );
    this.dropped = brokerCounter('dropped_total', 'QoS 0 messages dropped because too many were in hand');
    this.overQuota = brokerCounter(
      'over_quota_total',
      'Messages dropped because their device sends more than its quota',
    );
    this.noRoom = brokerCounter(
      'no_room_total',
      'QoS 0 messages dropped because neither InfluxDB nor the spool had room',
    );
    this.digestReadings = brokerCounter('digest_readings_total', 'Readings told to other services');
    this.linesWritten = counter('lines_written_total', 'Lines in writes that InfluxDB has answered');
    this.linesSpooled = counter('lines_spooled_total', 'Lines that went to the spool');
    this.linesReplayed = counter('lines_replayed_total', 'Lines from the spool that InfluxDB has taken');
    this.linesTombstoned = counter(
      'lines_tombstoned_total',
      'Lines from the spool that were left out, because their device had been decommissioned',
    );
    this.influxFailures = counter('influxdb_failures_total', 'Writes that InfluxDB did not take');
    this.postgresFailures = counter('postgres_failures_total', 'Writes that PostgreSQL did not take');
    this.statisticsDropped = counter('statistics_dropped_total', 'Lines of statistics that InfluxDB did not take');
    this.canary = new CanaryMetrics(registry);
    this.deadLetters = new Counter({
      name: 'muster_ingestion_dead_letters_total',
      help: 'Messages or fields that could not be used',
      labelNames: ['broker', 'reason'],
      registers: [registry],
    });
    this.writeSeconds = new Histogram({
      name: 'muster_ingestion_write_seconds',
      help: 'Time until InfluxDB answered a write',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers: [registry],
    });
  }

  /** What the gauges say now; undefined before {@link observe}. */
  get state(): IngestionState | undefined {
    return this.#read?.();
  }

  /** Adds the gauges, which are read when they are asked for. */
  observe(read: () => IngestionState): void {
    this.#read = read;
    const gauge = this.#addGauge.bind(this);
    gauge('spool_bytes', 'spool_bytes', 'Bytes in the spool that InfluxDB has not taken', (made) =>
      made.set(read().spool.bytes),
    );
    gauge(
      'spool_age_seconds',
      'spool_age_seconds',
      'For how long the oldest telemetry in the spool has waited',
      (made) => {
        const { oldestAtMs } = read().spool;
        made.set(oldestAtMs === undefined ? 0 : secondsSince(oldestAtMs));
      },
    );
    gauge('spool_full', 'spool_full', '1 while the spool has no room', (made) => made.set(read().spool.isFull ? 1 : 0));
    gauge('waiting', 'waiting_lines', 'Lines that are neither in InfluxDB nor in the spool yet', (made) =>
      made.set(read().waiting),
    );
    gauge('devices', 'devices', 'Devices that have sent telemetry', (made) => made.set(read().devices));
    gauge('runaways', 'runaway_devices', 'Devices that send more than their quota', (made) =>
      made.set(read().runaways),
    );
    gauge('in_hand', 'in_hand', 'Messages that are not acknowledged yet', (made) => {
      for (const [broker, count] of read().inHand) made.set({ broker }, count);
    });
  }

  /** Adds the gauges of how far the queues of brokers for ingestion are filled. */
  observeQueues(forecasts: () => ReadonlyMap<string, QueueForecast>): void {
    this.#addGauge(
      'queue_share',
      'broker_queue_share',
      'How far the queue of the broker for ingestion is filled, 0 to 1; beyond it the broker drops messages',
      (made) => {
        made.reset();
        for (const [broker, { share }] of forecasts()) made.set({ broker }, share);
      },
    );
    this.#addGauge(
      'queue_minutes_left',
      'broker_queue_minutes_left',
      'Minutes until the queue of the broker is full, as fast as it grows; none while nothing is held up',
      (made) => {
        made.reset();
        for (const [broker, { minutesLeft }] of forecasts())
          if (minutesLeft !== undefined) made.set({ broker }, minutesLeft);
      },
    );
  }

  /** Adds the gauges of spools whose process does not run. */
  observeStoppedSpools(waiting: () => readonly KnownSpool[]): void {
    const each = (made: LabelledGauge, of: (spool: KnownSpool) => number): void => {
      made.reset();
      // The process that looks runs: without a value an alert would never end.
      made.set({ ordinal: 0 }, 0);
      for (const spool of waiting()) made.set({ ordinal: spool.ordinal }, of(spool));
    };
    this.#addGauge(
      'stopped_spool_bytes',
      'stopped_spool_bytes',
      'Bytes in the spool of an ingestion process that does not run, so that nobody delivers them',
      (made) => each(made, ({ bytes }) => bytes),
    );
    this.#addGauge(
      'stopped_spool_age_seconds',
      'stopped_spool_age_seconds',
      'For how long the oldest telemetry there has waited',
      (made) => each(made, ({ oldestAtMs }) => (oldestAtMs === undefined ? 0 : secondsSince(oldestAtMs))),
    );
  }

  #addGauge(field: string, name: string, help: string, set: (gauge: LabelledGauge) => void): void {
    const made: LabelledGauge = new Gauge({
      name: `muster_ingestion_${name}`,
      help,
      labelNames: ['broker', 'ordinal'],
      registers: [this.registry],
      collect() {
        set(this);
      },
    });
    this.#gauges.push([field, made]);
  }

  /** Counters of a broker begin at 0: a rate over the first message is one then, and not nothing. */
  addBroker(broker: string): void {
    this.#brokers.add(broker);
    for (const [, counter] of this.#brokerCounters()) counter.inc({ broker }, 0);
  }

  /** Every figure as it stands, under the field name that it has in InfluxDB. */
  async figures(): Promise<readonly Figure[]> {
    const counters: [string, Counter | Gauge][] = [
      ...this.#brokerCounters(),
      ['refused', this.deadLetters],
      ['lines_written', this.linesWritten],
      ['lines_spooled', this.linesSpooled],
      ['lines_replayed', this.linesReplayed],
      ['lines_tombstoned', this.linesTombstoned],
      ['influx_failures', this.influxFailures],
      ['postgres_failures', this.postgresFailures],
      ['statistics_dropped', this.statisticsDropped],
      ['canary_missing', this.canary.missing],
      ...this.#gauges,
    ];
    const figures = await Promise.all(
      counters.map(async ([field, metric]) =>
        (await metric.get()).values.map(({ labels, value }): Figure => ({ field, labels, value })),
      ),
    );
    const averages = await Promise.all([
      averageOf('write_seconds', this.writeSeconds),
      averageOf('canary_seconds', this.canary.seconds),
    ]);
    const refused = figures.flat().filter(({ field }) => field === 'refused');
    // Known from the start: the count of a reason begins with the first message that is refused for it.
    const refusedTotals = [...this.#brokers].map((broker): Figure => ({
      field: 'refused_total',
      labels: { broker },
      value: refused.reduce((sum, { labels, value }) => (labels['broker'] === broker ? sum + value : sum), 0),
    }));
    return [...figures.flat(), ...refusedTotals, ...averages.flat()];
  }

  #brokerCounters(): [field: string, counter: Counter<'broker'>][] {
    return [
      ['messages', this.messages],
      ['payload_bytes', this.bytes],
      ['readings', this.readings],
      ['tombstoned', this.tombstoned],
      ['duplicates', this.unstampedDuplicates],
      ['dropped', this.dropped],
      ['over_quota', this.overQuota],
      ['no_room', this.noRoom],
    ];
  }
}

/** Sum and count of a histogram, which an average of any time is made of. */
async function averageOf(field: string, histogram: Histogram): Promise<readonly Figure[]> {
  return (await histogram.get()).values.flatMap(({ metricName = '', labels, value }): Figure[] => {
    const part = /_(sum|count)$/.exec(metricName)?.[1];
    return part === undefined ? [] : [{ field: `${field}_${part}`, labels, value }];
  });
}

function secondsSince(epochMs: number): number {
  return Math.max(0, Date.now() - epochMs) / 1_000;
}
