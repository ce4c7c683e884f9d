import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { dashboardQueries, durationMs, intervalMs, resolved, type DashboardQuery } from './grafana.ts';
import {
  brokerArguments,
  curl,
  deviceOf,
  influxql,
  psql,
  publish,
  StartedSystem,
  stateFolder,
  type ReadyLine,
} from './system.ts';

/** What stands in payloads and must be on no dashboard. */
const PLANTED = 'planted-secret-7f3a';
const SUBJECT = 'subject-1';
/** Rates need a few points of statistics, and half-minute steps at least two of them. */
const STATISTICS_MS = 50_000;

let system: StartedSystem;
let address: ReadyLine;

type Row = Readonly<Record<string, unknown>>;

/** The rows of a query on the real engine. */
async function rowsOf(engine: DashboardQuery['engine'], text: string): Promise<readonly Row[]> {
  if (engine === 'postgres') {
    const json = await psql(address, `SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM (${text}) AS q`);
    return JSON.parse(json) as readonly Row[];
  }
  const answer = JSON.parse(await influxql(address, text)) as {
    readonly error?: string;
    readonly results?: readonly {
      readonly error?: string;
      readonly series?: readonly { readonly columns: readonly string[]; readonly values: readonly unknown[][] }[];
    }[];
  };
  const fault = answer.error ?? answer.results?.find(({ error }) => error !== undefined)?.error;
  if (fault !== undefined) throw new Error(`InfluxDB: ${fault}`);
  return (answer.results ?? []).flatMap(({ series = [] }) =>
    series.flatMap(({ columns, values }) =>
      values.map((value) => Object.fromEntries(columns.map((column, index) => [column, value[index]]))),
    ),
  );
}

/** A query for each value of the variable that repeats its panel. */
async function texts(query: DashboardQuery, rangeMs: number): Promise<readonly string[]> {
  const toMs = Date.now();
  const circumstances = { fromMs: toMs - rangeMs, toMs, intervalMs: intervalMs(rangeMs) };
  if (query.repeat === undefined) return [resolved(query, { ...circumstances, variables: { device: SUBJECT } })];
  const metrics = (
    await psql(address, `SELECT metric FROM grafana.last_reading WHERE device = '${SUBJECT}' AND number IS NOT NULL`)
  ).split('\n');
  return metrics.map((metric) =>
    resolved(query, { ...circumstances, variables: { device: SUBJECT, [query.repeat ?? '']: metric } }),
  );
}

/** Whether a row says anything but a time. */
function isTelling(row: Row): boolean {
  return Object.entries(row).some(([column, value]) => column !== 'time' && value !== null && value !== undefined);
}

async function fill(): Promise<void> {
  const topic = `devices/${SUBJECT}`;
  const client = spawn('mosquitto_sub', [
    ...brokerArguments(address),
    ...['-i', SUBJECT, '-t', `${topic}/command`, '-k', '60'],
    ...['--will-topic', `${topic}/status`, '--will-payload', 'offline', '--will-retain', '--will-qos', '1'],
  ]);
  await publish(
    address,
    '-t',
    `${topic}/status`,
    '-m',
    `{"status":"online","session":1,"token":"${PLANTED}"}`,
    '-r',
    '-q',
    '1',
  );
  await publish(
    address,
    ...['-t', `${topic}/info`, '-r', '-q', '1'],
    ...['-m', `{"model":"DHT22","firmware":"1.2.3","password":"${PLANTED}"}`],
  );
  for (let seq = 1; seq <= 3; seq += 1) {
    const reading = { temp: 20 + seq, hum: 45, vbat: 3.9, mode: 'eco', ts: Date.now(), session: 1, seq };
    await publish(address, '-t', `${topic}/telemetry`, '-q', '1', '-m', JSON.stringify(reading));
  }
  for (const [bad, payload] of [
    [`${topic}/telemetry`, `{"password":"${PLANTED}`],
    ['iotclass/lab1/temperature', PLANTED],
    ['devices/not an id/telemetry', '{"temp":1}'],
  ] as const)
    await publish(address, '-t', bad, '-q', '1', '-m', payload);
  await publish(
    address,
    '-t',
    'devices/sleeper/status',
    '-r',
    '-q',
    '1',
    '-m',
    '{"status":"offline","session":2,"reason":"sleep","wake_in":300}',
  );
  await vi.waitFor(async () => expect((await deviceOf(address, SUBJECT)).presence.state).toBe('online'), {
    timeout: 10_000,
  });
  client.kill('SIGKILL');
  await vi.waitFor(async () => expect((await deviceOf(address, SUBJECT)).presence.state).toBe('lost'), {
    timeout: 10_000,
  });
  const { status } = await curl(address, '/api/v1/devices/virtual-5/decommission', '-X', 'POST');
  expect(status).toBe(200);
}

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '5', '--dir', stateFolder()]);
  ({ address } = system);
  await vi.waitFor(async () => expect((await deviceOf(address, 'virtual-5')).presence.state).toBe('online'), {
    timeout: 10_000,
  });
  const startedAtMs = Date.now();
  await fill();
  await delay(Math.max(0, startedAtMs + STATISTICS_MS - Date.now()));
});
afterAll(async () => {
  await system.stop();
});

describe('every query of every dashboard on the real engines', () => {
  it.each(dashboardQueries().map((query) => [query.place, query] as const))('%s has rows', async (_, query) => {
    for (const text of await texts(query, query.rangeMs)) {
      const rows = await rowsOf(query.engine, text);
      expect(rows.filter(isTelling), `${text}\nanswered ${JSON.stringify(rows).slice(0, 500)}`).not.toHaveLength(0);
    }
  });

  it('is also understood over the longest history that is kept', async () => {
    for (const query of dashboardQueries())
      for (const text of await texts(query, durationMs('90d'))) await rowsOf(query.engine, text);
  });
});

describe('what dashboards say', () => {
  it('is what happened: who is lost, by which reason, and how many there are of each', async () => {
    expect(
      await rowsOf('postgres', `SELECT presence, reason, broker, model FROM grafana.device WHERE id = '${SUBJECT}'`),
    ).toEqual([{ presence: 'lost', reason: 'will', broker: 'mosquitto-0', model: 'DHT22' }]);
    const counts = await rowsOf('postgres', 'SELECT presence, devices FROM grafana.presence_count');
    expect(Object.fromEntries(counts.map(({ presence, devices }) => [presence, devices]))).toEqual({
      ...{ online: 4, asleep: 1, lost: 1, stale: 0, offline: 0 },
      unknown: expect.any(Number),
    });
  });

  it('about presence over time ends with the counts of now and begins with an empty fleet', async () => {
    const query = dashboardQueries().find(({ place }) => place === 'Presence / Presence over time / A');
    const [text = ''] = query === undefined ? [] : await texts(query, durationMs('1h'));
    const rows = await rowsOf('postgres', text);
    expect(rows.at(0)).toMatchObject({ lost: 0, online: 0, asleep: 0, unknown: 0 });
    expect(rows.at(-1)).toMatchObject({ lost: 1, online: 4, asleep: 1 });
  });

  it('about refused messages counts each of them, the first of a reason too', async () => {
    const query = dashboardQueries().find(({ place }) => place === 'Ingestion pipeline / Refused / A');
    const [text = ''] = query === undefined ? [] : await texts(query, durationMs('1h'));
    expect(await rowsOf('influxdb', text)).toMatchObject([{ sum: 3 }]);
  });

  it('holds no secret: nothing of a payload, and no password of the system, is in any view or in the statistics', async () => {
    const views = (await psql(address, `SELECT viewname FROM pg_views WHERE schemaname = 'grafana'`)).split('\n');
    expect(views.length).toBeGreaterThan(5);
    const dumps = await Promise.all([
      ...views.map(async (view) => JSON.stringify(await rowsOf('postgres', `SELECT * FROM grafana.${view}`))),
      ...['broker', 'ingestion'].map((name) => influxql(address, `SELECT * FROM "${name}" WHERE time > now() - 1h`)),
    ]);
    expect(dumps.join('')).toContain(SUBJECT);
    for (const secret of [
      PLANTED,
      address.broker.password,
      address.influxdb.password,
      new URL(address.postgres.url).password,
    ])
      expect(dumps.filter((dump) => dump.includes(secret))).toEqual([]);
  });
});
