import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What ingestion counts. */
export class IngestionMetrics {
  readonly messages: Counter;
  readonly bytes: Counter;
  readonly readings: Counter;
  readonly linesWritten: Counter;
  readonly writeSeconds: Histogram;
  readonly deadLetters: Counter<'reason'>;
  readonly tombstoned: Counter;
  readonly unstampedDuplicates: Counter;
  readonly dropped: Counter;
  readonly influxFailures: Counter;
  readonly postgresFailures: Counter;

  constructor(private readonly registry: Registry) {
    const counter = (name: string, help: string): Counter =>
      new Counter({ name: `muster_ingestion_${name}`, help, registers: [registry] });
    this.messages = counter('messages_total', 'Telemetry messages received');
    this.bytes = counter('payload_bytes_total', 'Bytes of their payloads');
    this.readings = counter('readings_total', 'Readings that InfluxDB has taken');
    this.linesWritten = counter('lines_written_total', 'Lines in writes that InfluxDB has answered');
    this.tombstoned = counter('tombstoned_total', 'Messages of decommissioned devices, refused');
    this.unstampedDuplicates = counter(
      'unstamped_redeliveries_total',
      'Redelivered messages without a time of their own: possible duplicates',
    );
    this.dropped = counter('dropped_total', 'QoS 0 messages dropped because too many were in hand');
    this.influxFailures = counter('influxdb_failures_total', 'Writes that InfluxDB did not take');
    this.postgresFailures = counter('postgres_failures_total', 'Writes that PostgreSQL did not take');
    this.deadLetters = new Counter({
      name: 'muster_ingestion_dead_letters_total',
      help: 'Messages or fields that could not be used',
      labelNames: ['reason'],
      registers: [registry],
    });
    this.writeSeconds = new Histogram({
      name: 'muster_ingestion_write_seconds',
      help: 'Time until InfluxDB answered a write',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers: [registry],
    });
  }

  /** Adds the gauges, which are read when they are asked for. */
  observe(read: () => { readonly waiting: number; readonly devices: number }): void {
    const { registry } = this;
    new Gauge({
      name: 'muster_ingestion_waiting_lines',
      help: 'Lines that InfluxDB has not taken yet',
      registers: [registry],
      collect() {
        this.set(read().waiting);
      },
    });
    new Gauge({
      name: 'muster_ingestion_devices',
      help: 'Devices that have sent telemetry',
      registers: [registry],
      collect() {
        this.set(read().devices);
      },
    });
  }
}
