import { escape } from '@influxdata/influxdb-client';
import { isDeviceId, type DeviceId, type Telemetry } from '@muster/contract';

/** The measurement that holds all telemetry; its only tag is `device`. */
export const TELEMETRY_MEASUREMENT = 'telemetry';

/** What a text needs escaping for; most have none of it. */
const TO_ESCAPE = /["\\]/;

/**
 * One line of line protocol for a message's readings, in milliseconds; undefined where there is nothing to store.
 * Numbers are float fields under the metric's name, booleans `{metric}_bool`, texts `{metric}_text`: a metric that
 * changes its type never conflicts with what is stored, since no metric's name may end so. Device ids and metric names
 * need no escaping by their grammar.
 */
export function telemetryLine(device: DeviceId, telemetry: Telemetry, epochMs: number): string | undefined {
  const { readings, session, seq } = telemetry;
  if (readings.length === 0) return undefined;
  let line = `${TELEMETRY_MEASUREMENT},device=${device}`;
  let separator = ' ';
  for (const { metric, value } of readings) {
    if (typeof value === 'number') line += `${separator}${metric}=${value}`;
    else if (typeof value === 'boolean') line += `${separator}${metric}_bool=${value}`;
    else line += `${separator}${metric}_text=${textField(value)}`;
    separator = ',';
  }
  if (session !== undefined) line += `,session=${session}`;
  if (seq !== undefined) line += `,seq=${seq}`;
  return `${line} ${epochMs}`;
}

/** The value of a text field, in its quotes. */
export function textField(text: string): string {
  return TO_ESCAPE.test(text) ? escape.quoted(text) : `"${text}"`;
}

const DEVICE_OF_LINE = new RegExp(`^${TELEMETRY_MEASUREMENT},device=([^ ,]+) `);

/** The device of a line of telemetry; undefined where it is none. */
export function deviceOfLine(line: string): DeviceId | undefined {
  const id = DEVICE_OF_LINE.exec(line)?.[1];
  return id !== undefined && isDeviceId(id) ? id : undefined;
}

/**
 * The lines of a text of line protocol: a line break within the quotes of a text field ends none. By the rules of
 * InfluxDB's own scanner (`scanLine` in models/points.go), so that both see the same lines.
 */
export function splitLines(text: string): readonly string[] {
  if (!text.includes('"')) return text.split('\n').filter((line) => line !== '');
  const lines: string[] = [];
  let start = 0;
  let inFields = false;
  let isQuoted = false;
  let equals = 0;
  let commas = 0;
  for (let index = 0; index <= text.length; index += 1) {
    const character = text[index];
    if (character === undefined || (character === '\n' && !isQuoted)) {
      if (index > start) lines.push(text.slice(start, index));
      start = index + 1;
      inFields = isQuoted = false;
      equals = commas = 0;
    } else if (character === '\\') {
      index += 1;
    } else if (character === ' ') {
      inFields = true;
    } else if (inFields && character === '"' && equals > commas) {
      isQuoted = !isQuoted;
    } else if (inFields && !isQuoted) {
      // A quote opens a text only behind the equals sign of its field.
      if (character === '=') equals += 1;
      else if (character === ',') commas += 1;
    }
  }
  return lines;
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
