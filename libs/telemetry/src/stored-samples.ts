import type { Influx, InfluxRow } from './influx.ts';
import { influxName, influxText } from './influxql.ts';
import { TELEMETRY_MEASUREMENT } from './line-protocol.ts';

/** Values that one query asks for: about a megabyte of JSON. */
const VALUES_A_PAGE = 50_000;

/** What is stored of one field. */
export interface StoredSeries {
  readonly field: string;
  /** Milliseconds since 1970, ascending. */
  readonly timesMs: readonly number[];
  /** As many as there are times. */
  readonly values: readonly StoredValue[];
}

/** What a field can hold. */
export type StoredValue = number | string | boolean;

/** What is stored of a device. */
export interface StoredSamples {
  /** In the order of the fields that were asked for, also those of which nothing is stored. */
  readonly series: readonly StoredSeries[];
  /** Whether older values were left out because there are too many. */
  readonly isTruncated: boolean;
}

/** Which samples are asked for. */
export interface SampleRequest {
  readonly device: string;
  /** At least one. */
  readonly fields: readonly string[];
  readonly fromMs: number;
  /** Not included. */
  readonly untilMs: number;
  /** The newest are taken until there are so many values, and at most a page more. */
  readonly maxValues: number;
  /** Values that one query asks for, where it is not the usual number. */
  readonly valuesAPage?: number;
}

interface Column {
  readonly field: string;
  readonly timesMs: number[];
  readonly values: StoredValue[];
}

/**
 * The samples of a device in a time, read a page at a time from the newest on: however much is stored, no more is in
 * memory than what is asked for and a page.
 * @throws InfluxQueryError
 */
export async function storedSamples(influx: Pick<Influx, 'query'>, request: SampleRequest): Promise<StoredSamples> {
  const { device, fields, fromMs, maxValues, valuesAPage = VALUES_A_PAGE } = request;
  const rowsAPage = Math.max(1, Math.floor(valuesAPage / fields.length));
  const columns = fields.map((field): Column => ({ field, timesMs: [], values: [] }));
  const from = `FROM ${influxName(TELEMETRY_MEASUREMENT)} WHERE "device" = ${influxText(device)}`;
  let count = 0;
  let untilMs = request.untilMs;
  let isTruncated = false;
  for (let isLast = false; !isLast && !isTruncated;) {
    const rows = await influx.query(
      `SELECT ${fields.map(influxName).join(', ')} ${from} AND time >= ${fromMs}ms AND time < ${untilMs}ms ORDER BY time DESC LIMIT ${rowsAPage}`,
    );
    for (const row of rows) count += take(columns, row);
    isLast = rows.length < rowsAPage;
    untilMs = Number(rows.at(-1)?.['time'] ?? fromMs);
    isTruncated = !isLast && count >= maxValues;
  }
  for (const { timesMs, values } of columns) {
    timesMs.reverse();
    values.reverse();
  }
  return { series: columns, isTruncated };
}

/** Adds what a row has to the columns, and answers how much that is. */
function take(columns: readonly Column[], row: InfluxRow): number {
  let taken = 0;
  const timeMs = Number(row['time']);
  for (const { field, timesMs, values } of columns) {
    const value = row[field];
    if (value === null || value === undefined) continue;
    timesMs.push(timeMs);
    values.push(value);
    taken += 1;
  }
  return taken;
}
