import { escape } from '@influxdata/influxdb-client';
import type { DeviceId, Telemetry } from '@muster/contract';

/** The measurement that holds all telemetry; its only tag is `device`. */
export const TELEMETRY_MEASUREMENT = 'telemetry';

/**
 * One line of line protocol for a message's readings, in milliseconds; undefined where there is nothing to store.
 * Numbers are float fields under the metric's name, booleans `{metric}_bool`, texts `{metric}_text`: a metric that
 * changes its type never conflicts with what is stored. Device ids and metric names need no escaping by their grammar.
 */
export function telemetryLine(device: DeviceId, telemetry: Telemetry, epochMs: number): string | undefined {
  const fields = telemetry.readings.map(({ metric, value }) => {
    if (typeof value === 'number') return `${metric}=${value}`;
    if (typeof value === 'boolean') return `${metric}_bool=${value}`;
    return `${metric}_text=${escape.quoted(value)}`;
  });
  if (fields.length === 0) return undefined;
  if (telemetry.session !== undefined) fields.push(`session=${telemetry.session}`);
  if (telemetry.seq !== undefined) fields.push(`seq=${telemetry.seq}`);
  return `${TELEMETRY_MEASUREMENT},device=${device} ${fields.join(',')} ${epochMs}`;
}

/** One point of figures that Muster keeps about itself and its brokers. */
export interface StatisticsPoint {
  readonly measurement: string;
  /** Tag name to value; none may be empty. */
  readonly tags: Readonly<Record<string, string>>;
  /** Numbers are stored as floats, so a field never changes its type. */
  readonly fields: Readonly<Record<string, number | string>>;
}

/** The line of a point, in milliseconds; undefined where no field can be stored (InfluxDB has no infinity and no NaN). */
export function statisticsLine({ measurement, tags, fields }: StatisticsPoint, epochMs: number): string | undefined {
  const stored = Object.entries(fields).flatMap(([name, value]) => {
    if (typeof value === 'string') return [`${escape.tag(name)}=${escape.quoted(value)}`];
    return Number.isFinite(value) ? [`${escape.tag(name)}=${value}`] : [];
  });
  if (stored.length === 0) return undefined;
  const series = Object.entries(tags).map(([name, value]) => `,${escape.tag(name)}=${escape.tag(value)}`);
  return `${escape.measurement(measurement)}${series.join('')} ${stored.join(',')} ${epochMs}`;
}
