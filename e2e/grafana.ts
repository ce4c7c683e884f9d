import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** One query of a dashboard, and where it stands. */
export interface DashboardQuery {
  /** `dashboard / panel / reference id`. */
  readonly place: string;
  readonly engine: 'influxdb' | 'postgres';
  readonly text: string;
  /** The variable for each of whose values the panel is shown. */
  readonly repeat: string | undefined;
  /** The fixed range of the panel, else that of the dashboard. */
  readonly rangeMs: number;
}

/** What Grafana replaces in a query. */
export interface Circumstances {
  readonly variables: Readonly<Record<string, string>>;
  readonly fromMs: number;
  readonly toMs: number;
  readonly intervalMs: number;
}

interface TargetJson {
  readonly refId: string;
  readonly datasource: { readonly uid: string };
  readonly query?: string;
  readonly rawSql?: string;
}

interface DashboardJson {
  readonly title: string;
  readonly time: { readonly from: string };
  readonly templating: {
    readonly list: readonly {
      readonly type: string;
      readonly name: string;
      readonly query: string;
      readonly datasource?: { readonly uid: string };
    }[];
  };
  readonly annotations: { readonly list: readonly { readonly name: string; readonly target: TargetJson }[] };
  readonly panels: readonly {
    readonly title: string;
    readonly repeat?: string;
    readonly timeFrom?: string;
    readonly targets?: readonly TargetJson[];
  }[];
}

const FOLDER = path.join(import.meta.dirname, '../charts/muster/dashboards');
const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** The steps that Grafana rounds an interval to. */
const STEPS_MS = [10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400].map((seconds) => seconds * 1_000);
const POINTS = 1_000;

/** Every query of every dashboard in the chart: of panels, annotations and variables. */
export function dashboardQueries(): readonly DashboardQuery[] {
  return readdirSync(FOLDER).flatMap((file) => {
    const dashboard = JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8')) as DashboardJson;
    const dashboardMs = durationMs(dashboard.time.from.replace('now-', ''));
    const of = (place: string, target: TargetJson, repeat?: string, range?: string): DashboardQuery => ({
      place: `${dashboard.title} / ${place} / ${target.refId}`,
      engine: target.datasource.uid === '${postgres}' ? 'postgres' : 'influxdb',
      text: target.rawSql ?? target.query ?? '',
      repeat,
      rangeMs: range === undefined ? dashboardMs : durationMs(range),
    });
    return [
      ...dashboard.panels.flatMap(({ title, targets = [], repeat, timeFrom }) =>
        targets.map((target) => of(title, target, repeat, timeFrom)),
      ),
      ...dashboard.annotations.list.map(({ name, target }) => of(`annotation ${name}`, target)),
      ...dashboard.templating.list.flatMap(({ type, name, query, datasource }) =>
        type === 'query' && datasource !== undefined
          ? [of(`variable ${name}`, { refId: 'query', datasource, query })]
          : [],
      ),
    ];
  });
}

/** `90s`, `30m`, `6h`, `30d` in milliseconds. */
export function durationMs(text: string): number {
  const [, amount, unit = ''] = /^(\d+)([smhd])$/.exec(text) ?? [];
  const factor = UNITS_MS[unit];
  if (amount === undefined || factor === undefined) throw new Error(`not a duration of Grafana: ${text}`);
  return Number(amount) * factor;
}

/** The interval that Grafana takes for a range, with a shortest one of 10 s. */
export function intervalMs(rangeMs: number): number {
  return STEPS_MS.find((step) => step >= rangeMs / POINTS) ?? 86_400_000;
}

/**
 * A query as Grafana sends it: variables first, then macros of the data source.
 * @throws Error where it uses what is not defined
 */
export function resolved(query: Pick<DashboardQuery, 'engine' | 'text'>, circumstances: Circumstances): string {
  const { fromMs, toMs, intervalMs: stepMs } = circumstances;
  const step = `${stepMs / 1_000}s`;
  const globals: Readonly<Record<string, string>> = {
    __interval: step,
    __interval_ms: String(stepMs),
    __from: String(fromMs),
    __to: String(toMs),
    timeFilter: `time >= ${fromMs}ms and time <= ${toMs}ms`,
  };
  const valueOf = (name: string, format: string | undefined): string => {
    const value = circumstances.variables[name] ?? globals[name];
    if (value === undefined) throw new Error(`undefined variable ${name} in ${query.text}`);
    switch (format) {
      case undefined:
      case 'raw':
        return value;
      case 'sqlstring':
        return `'${value.replaceAll("'", "''")}'`;
      case 'regex':
        return value.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&');
      default:
        throw new Error(`unknown format ${format} in ${query.text}`);
    }
  };
  // A macro has parentheses, and a pattern of InfluxQL ends in a dollar sign before its slash.
  const text = query.text
    .replace(/\$\{(\w+)(?::(\w+))?\}/g, (_, name: string, format?: string) => valueOf(name, format))
    .replace(/\$(\w+)(?!\w|\()/g, (_, name: string) => valueOf(name, undefined));
  return query.engine === 'postgres' ? withSqlMacros(text, fromMs, toMs) : text;
}

function withSqlMacros(text: string, fromMs: number, toMs: number): string {
  const time = (epochMs: number): string => `'${new Date(epochMs).toISOString()}'`;
  const group = (column: string, interval: string): string => {
    const seconds = durationMs(interval) / 1_000;
    return `floor(extract(epoch from ${column})/${seconds})*${seconds}`;
  };
  const sql = text
    .replace(/\$__timeFilter\((\w+)\)/g, (_, column: string) => `${column} BETWEEN ${time(fromMs)} AND ${time(toMs)}`)
    .replace(/\$__timeFrom\(\)/g, time(fromMs))
    .replace(/\$__timeTo\(\)/g, time(toMs))
    .replace(
      /\$__timeGroupAlias\((\w+),\s*(\w+)\)/g,
      (_, column: string, interval: string) => `${group(column, interval)} AS "time"`,
    )
    .replace(/\$__timeGroup\((\w+),\s*(\w+)\)/g, (_, column: string, interval: string) => group(column, interval));
  const left = /\$__\w+/.exec(sql)?.[0];
  if (left !== undefined) throw new Error(`unknown macro ${left} in ${text}`);
  return sql;
}
