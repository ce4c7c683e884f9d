import type { Dataquery } from '@grafana/grafana-foundation-sdk/cog';

/** A kind of data source, the dashboard variable by which it is chosen, and the uid that is chosen at first. */
export interface DataSource {
  readonly type: string;
  readonly variable: string;
  readonly label: string;
  readonly uid: string;
}

/** InfluxDB in InfluxQL mode. */
export const INFLUXDB: DataSource = {
  type: 'influxdb',
  variable: 'influxdb',
  label: 'InfluxDB',
  uid: 'muster-influxdb',
};

/** PostgreSQL, with an account that reads the schema `grafana`. */
export const POSTGRES: DataSource = {
  type: 'grafana-postgresql-datasource',
  variable: 'postgres',
  label: 'PostgreSQL',
  uid: 'muster-postgres',
};

/** A data source as queries name it: by its variable. */
export function referenceTo({ type, variable }: DataSource): { readonly type: string; readonly uid: string } {
  return { type, uid: `\${${variable}}` };
}

/** A query as a panel takes it; the panel gives it its `refId`. */
export interface Query {
  /** The target with a reference id. */
  readonly target: (refId: string) => Dataquery;
}

/** How a query's rows are read: points over time, or a table. */
export type QueryFormat = 'time_series' | 'table';

function query(source: DataSource, fields: Readonly<Record<string, unknown>>): Query {
  return {
    target: (refId) => ({
      refId,
      datasource: referenceTo(source),
      ...fields,
      // What the builders' types ask of every query; a function is no part of JSON.
      _implementsDataqueryVariant: () => undefined,
    }),
  };
}

/** SQL on the views of the schema `grafana`. */
export function sql(text: string, format: QueryFormat = 'table'): Query {
  return query(POSTGRES, { rawSql: tidy(text), rawQuery: true, editorMode: 'code', format });
}

/** InfluxQL as it stands; `alias` names the series (`$tag_broker` is the value of a tag). */
export function influxQl(
  text: string,
  options: { readonly alias?: string; readonly format?: QueryFormat } = {},
): Query {
  const { alias, format = 'time_series' } = options;
  return query(INFLUXDB, {
    query: tidy(text),
    rawQuery: true,
    resultFormat: format,
    ...(alias === undefined ? {} : { alias }),
  });
}

/** What is read of a measurement over time, one series for each value of the tags. */
export interface Selection {
  readonly from: string;
  /** A field and what is done with it; the alias names it where another query reads it. */
  readonly select: string;
  /** Conditions beside the time range, joined by AND. */
  readonly where?: readonly string[];
  readonly tags?: readonly string[];
  /** `null` leaves a gap where nothing was written, `none` draws on to the next point. */
  readonly fill?: 'null' | 'none' | '0';
}

/**
 * InfluxQL that InfluxDB 1, 2 and 3 read alike: with the time range of the dashboard, in steps of its interval, and with
 * what stands where a step is empty.
 */
export function overTime({ from, select, where = [], tags = [], fill = 'null' }: Selection): string {
  const conditions = ['$timeFilter', ...where].join(' AND ');
  const groups = ['time($__interval)', ...tags.map(quoted)].join(', ');
  return `SELECT ${select} FROM ${quoted(from)} WHERE ${conditions} GROUP BY ${groups} fill(${fill})`;
}

/** How fast a counter grows, a second; a counter that began anew gives no value. */
export function perSecond(field: string): string {
  return `non_negative_derivative(last(${quoted(field)}), 1s)`;
}

/** A field of several series added up, step by step: of a gauge, or of a rate such as {@link perSecond}. */
export function total(selection: Omit<Selection, 'select' | 'fill'>, expression: string): string {
  const inner = overTime({ ...selection, select: `${expression} AS "part"`, fill: 'none' });
  return `SELECT sum("part") FROM (${inner}) WHERE $timeFilter GROUP BY time($__interval) fill(null)`;
}

/** By how much a counter has grown in the time range, in all or for each value of a tag. */
export function increase(
  selection: Omit<Selection, 'select' | 'fill'> & { readonly field: string },
  by?: string,
): string {
  const { field, ...rest } = selection;
  const inner = overTime({
    ...rest,
    select: `non_negative_derivative(last(${quoted(field)}), $__interval) AS "growth"`,
    fill: 'none',
  });
  return `SELECT sum("growth") FROM (${inner}) WHERE $timeFilter${by === undefined ? '' : ` GROUP BY ${quoted(by)}`}`;
}

/** The newest values of some fields in the time range, under their own names, a row for each value of a tag. */
export function newest(from: string, fields: readonly string[], tag: string): string {
  const selected = fields.map((field) => `last(${quoted(field)}) AS ${quoted(field)}`).join(', ');
  return `SELECT ${selected} FROM ${quoted(from)} WHERE $timeFilter GROUP BY ${quoted(tag)}`;
}

/** An identifier of InfluxQL. */
function quoted(name: string): string {
  return `"${name.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** Without the indentation of the source that it stands in. */
function tidy(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const indent = Math.min(...lines.map((line) => line.search(/\S/)));
  return lines.map((line) => line.slice(indent)).join('\n');
}
