import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { dashboards } from './index.ts';

/** What is read here of a dashboard's JSON, as Grafana finds it in the chart. */
interface Target {
  readonly refId?: string;
  readonly datasource?: { readonly type?: string; readonly uid?: string };
  readonly query?: string;
  readonly rawSql?: string;
}
interface PanelJson {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly repeat?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string; readonly noValue?: string } };
}
interface VariableJson {
  readonly name: string;
  readonly type: string;
  readonly query: unknown;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly current?: { readonly value: unknown };
}
interface DashboardJson {
  readonly id?: unknown;
  readonly uid: string;
  readonly title: string;
  readonly tags: readonly string[];
  readonly schemaVersion: number;
  readonly timezone: string;
  readonly refresh: string;
  readonly templating: { readonly list: readonly VariableJson[] };
  readonly annotations: { readonly list: readonly { datasource: { uid: string }; target: Target }[] };
  readonly panels: readonly PanelJson[];
}

const FOLDER = path.join(import.meta.dirname, '../../../charts/muster/dashboards');
const SOURCES = {
  influxdb: { type: 'influxdb', uid: '${influxdb}' },
  postgres: { type: 'grafana-postgresql-datasource', uid: '${postgres}' },
};
/** What Grafana itself replaces; see "Global variables" and the macros of the two data sources. */
const BUILT_IN = /^(?:__.*|timeFilter|tag_[a-z_]+)$/;

const files = readdirSync(FOLDER).sort();
const loaded = files.map((file) => [
  file,
  JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8')) as DashboardJson,
]) as readonly (readonly [string, DashboardJson])[];

/** Every text of a JSON value. */
function textsOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(textsOf);
}

/** The variables that a text uses, in each of Grafana's three spellings. */
function variablesIn(text: string): readonly string[] {
  // A pattern of InfluxQL ends in a dollar sign that is followed by a slash.
  const pattern = /\$(\w+)|\$\{(\w+)[^}]*\}|\[\[(\w+)[^\]]*\]\]/g;
  return [...text.matchAll(pattern)].map(([, plain, braced, bracketed]) => plain ?? braced ?? bracketed ?? '');
}

/** Texts in which Grafana replaces variables: everything but the names of variables and the values that mean "all". */
function interpolated(dashboard: DashboardJson): readonly string[] {
  return textsOf([
    dashboard.panels,
    dashboard.annotations,
    dashboard.templating.list.map(({ query, datasource }) => [query, datasource]),
    (dashboard as unknown as { links: unknown }).links,
  ]);
}

describe('the dashboards of the chart', () => {
  it('are the five that the sources describe', () => {
    expect(files).toEqual([
      'brokers.json',
      'device.json',
      'fleet-overview.json',
      'ingestion-pipeline.json',
      'presence.json',
    ]);
    for (const [file, content] of dashboards())
      expect(Object.fromEntries(loaded)[file]).toEqual(JSON.parse(JSON.stringify(content)));
  });

  it('have addresses that stay', () => {
    expect(loaded.map(([, { uid }]) => uid)).toEqual([
      'muster-brokers',
      'muster-device',
      'muster-fleet',
      'muster-ingestion',
      'muster-presence',
    ]);
  });
});

describe.each(loaded)('%s', (_, dashboard) => {
  const shown = dashboard.panels.filter(({ type }) => type !== 'row');

  it('can be provisioned: a version of the format, a title, no id of another Grafana', () => {
    expect(Number.isInteger(dashboard.schemaVersion)).toBe(true);
    expect(dashboard.title).toMatch(/\S/);
    expect(dashboard.id ?? null).toBeNull();
    expect(dashboard).toMatchObject({ tags: ['muster'], timezone: 'browser', refresh: '10s' });
    expect(shown.length).toBeGreaterThan(5);
  });

  it('gives every panel an id of its own', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(ids.every((id) => Number.isInteger(id) && id > 0)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('gives every panel a place of its own on the grid of 24 columns', () => {
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      const { x, y, w, h } = gridPos;
      expect(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= 24, `${title}: ${JSON.stringify(gridPos)}`).toBe(true);
      for (let column = x; column < x + w; column += 1) {
        for (let line = y; line < y + h; line += 1) {
          expect(taken.get(`${column} ${line}`), `${title} lies over another panel`).toBeUndefined();
          taken.set(`${column} ${line}`, title);
        }
      }
    }
  });

  it('says of every panel what it shows, in which unit, and what it means when it is empty', () => {
    for (const { title, description = '', fieldConfig } of shown) {
      expect(title).toMatch(/\S/);
      expect(description, title).toMatch(/^[A-Z].{10,}\.$/s);
      expect(fieldConfig?.defaults.unit, title).toMatch(/\S/);
      expect(fieldConfig?.defaults.noValue, title).toMatch(/^[A-Z].*\.$|\?$/);
    }
  });

  it('reads every query from a data source that is chosen by a variable', () => {
    const targets = [
      ...shown.flatMap(({ targets = [] }) => targets),
      ...dashboard.annotations.list.map(({ target }) => target),
    ];
    expect(targets.length).toBeGreaterThan(5);
    for (const target of targets) {
      const isSql = target.rawSql !== undefined;
      expect(target.datasource).toEqual(isSql ? SOURCES.postgres : SOURCES.influxdb);
      expect(target.rawSql ?? target.query).toMatch(/\bSELECT\b/);
    }
    for (const { targets = [], title } of shown) {
      const ids = targets.map(({ refId }) => refId);
      expect(ids.length, title).toBeGreaterThan(0);
      expect(
        ids.every((id) => id !== undefined && id !== ''),
        title,
      ).toBe(true);
      expect(new Set(ids).size).toBe(ids.length);
    }
    for (const variable of dashboard.templating.list.filter(({ type }) => type === 'query'))
      expect(Object.values(SOURCES)).toContainEqual(variable.datasource);
  });

  it('names a data source nowhere but as the first choice of its variable', () => {
    const choices = dashboard.templating.list.filter(({ type }) => type === 'datasource');
    expect(choices.length).toBeGreaterThan(0);
    for (const { name, query, current } of choices) {
      expect([
        ['influxdb', 'influxdb', 'muster-influxdb'],
        ['postgres', 'grafana-postgresql-datasource', 'muster-postgres'],
      ]).toContainEqual([name, query, current?.value]);
    }
    const others = { ...dashboard, templating: dashboard.templating.list.filter(({ type }) => type !== 'datasource') };
    expect(textsOf(others).filter((text) => /muster-(?:influxdb|postgres)/.test(text))).toEqual([]);
  });

  it('defines every variable that it uses, and no other', () => {
    const defined = new Set(dashboard.templating.list.map(({ name }) => name));
    const used = new Set(interpolated(dashboard).flatMap(variablesIn));
    const repeats = dashboard.panels.flatMap(({ repeat }) => repeat ?? []);
    expect([...used, ...repeats].filter((name) => !defined.has(name) && !BUILT_IN.test(name))).toEqual([]);
    expect([...defined].filter((name) => !used.has(name))).toEqual([]);
  });

  it('asks InfluxDB for a time range in every part of a query, and never for what only one version knows', () => {
    const queries = shown.flatMap(({ targets = [] }) => targets).flatMap(({ query }) => query ?? []);
    for (const query of queries) {
      expect(query.split('SELECT').length, query).toBe(query.split('$timeFilter').length);
      expect(query, query).not.toMatch(/INTEGRAL|SHOW SERIES|\bINTO\b|distinct|difference/i);
      if (/GROUP BY time\(/.test(query))
        expect(query).toMatch(/GROUP BY time\(\$__interval\).* fill\((?:null|none|0)\)/);
    }
  });

  it('reads nothing of PostgreSQL but the views that are made for it', () => {
    const statements = [
      ...shown.flatMap(({ targets = [] }) => targets.flatMap(({ rawSql }) => rawSql ?? [])),
      ...dashboard.annotations.list.flatMap(({ target }) => target.rawSql ?? []),
      ...dashboard.templating.list.filter(({ type }) => type === 'query').map(({ query }) => String(query)),
    ];
    const own = new Set(['event', 'counted', 'later', 'state', 'flapping']);
    for (const statement of statements) {
      // Not in extract(epoch FROM …).
      const relations = [...statement.matchAll(/(?<!epoch )\b(?:FROM|JOIN)\s+([a-z_.]+)/g)].map(
        ([, name = '']) => name,
      );
      for (const name of relations) {
        if (!own.has(name)) expect(name, statement).toMatch(/^grafana\.|^generate_series$/);
      }
    }
  });

  it('gives the presence states the same colours everywhere', () => {
    const colors = new Map<string, Set<string>>();
    const note = (state: string, color: unknown): void => {
      if (typeof color === 'string') colors.set(state, (colors.get(state) ?? new Set()).add(color));
    };
    const walk = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      const { matcher, properties } = value as {
        matcher?: { options?: unknown };
        properties?: readonly { id: string; value: { fixedColor?: unknown } }[];
      };
      for (const property of properties ?? [])
        if (property.id === 'color') note(String(matcher?.options), property.value.fixedColor);
      const { type, options } = value as { type?: unknown; options?: Record<string, { color?: unknown }> };
      if (type === 'value') for (const [state, shownAs] of Object.entries(options ?? {})) note(state, shownAs.color);
      Object.values(value).forEach(walk);
    };
    walk(dashboard.panels);
    const expected = {
      online: 'green',
      asleep: 'blue',
      stale: 'yellow',
      offline: '#8e8e8e',
      lost: 'red',
      unknown: 'purple',
    };
    for (const [state, color] of Object.entries(expected))
      if (colors.has(state)) expect([...(colors.get(state) ?? [])], state).toEqual([color]);
  });
});

describe('links', () => {
  it('lead from a device in a table to its dashboard and to the console', () => {
    const withLinks = loaded
      .filter(([file]) => file !== 'brokers.json')
      .map(([, dashboard]) => textsOf(dashboard.panels));
    expect(withLinks).toHaveLength(4);
    for (const texts of withLinks) {
      expect(texts).toContain('/d/muster-device?var-device=${__value.raw}&${__url_time_range}');
      expect(texts).toContain('${console}/?device=${__value.raw}');
    }
  });
});

describe('reading a text for variables', () => {
  it('knows all spellings, and takes the end of a pattern for none', () => {
    expect(variablesIn('a =~ /^${device:regex}$/ $b [[c:csv]] ${__data.fields.x} costs 5$')).toEqual([
      'device',
      'b',
      'c',
      '__data',
    ]);
  });
});
