import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { openDatabase } from './database.ts';
import { freshDatabase } from './fresh-database.ts';
import { Retention, RETENTION, type RetentionOwner } from './retention.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW = new Date('2027-06-01T03:17:00Z');
let url = '';
let database: ReturnType<typeof openDatabase>;

beforeAll(async () => {
  url = await freshDatabase(inject('engines').postgresUrl);
  database = openDatabase(url, 'test');
});
afterAll(() => database.$disconnect());

function daysAgo(days: number): Date {
  return new Date(NOW.getTime() - days * DAY_MS);
}

interface Sweep {
  readonly retention: Retention;
  /** Rows of each table, as they were told step by step. */
  readonly removed: Map<string, number[]>;
  readonly faults: unknown[];
}

function sweepOf(owner: RetentionOwner): Sweep {
  const removed = new Map<string, number[]>();
  const faults: unknown[] = [];
  const retention = new Retention({
    ...{ database, rules: RETENTION[owner], keptDays: 90 },
    onRemoved: (table, rows) => removed.set(table, [...(removed.get(table) ?? []), rows]),
    onError: (_table, error) => faults.push(error),
  });
  return { retention, removed, faults };
}

describe('retention', () => {
  it('removes transitions older than 90 days in steps of at most 5,000, but for the newest of each device', async () => {
    await database.$executeRaw`
      INSERT INTO presence_transition (device, at, "from", "to", reason, evidence)
      SELECT 'busy', ${daysAgo(120)}::timestamptz + n * interval '1 second', 'online', 'lost', 'will', '{}'
      FROM generate_series(1, 12000) AS n`;
    const transition = (device: string, days: number): Promise<unknown> =>
      database.presenceTransition.create({
        data: { device, at: daysAgo(days), from: 'online', to: 'lost', reason: 'will', evidence: {} },
      });
    await transition('busy', 89);
    await transition('quiet', 300);
    await transition('quiet', 200);
    const { retention, removed, faults } = sweepOf('presence');
    await retention.sweep(NOW);
    expect(faults).toEqual([]);
    expect(removed.get('presence_transition')).toEqual([5_000, 10_000, 12_001]);
    const left = await database.presenceTransition.findMany({ orderBy: { id: 'asc' } });
    expect(left.map(({ device, at }) => [device, at])).toEqual([
      ['busy', daysAgo(89)],
      ['quiet', daysAgo(200)],
    ]);
    expect(await database.retentionRun.findUnique({ where: { table: 'presence_transition' } })).toMatchObject({
      startedAt: NOW,
      endedAt: expect.any(Date) as Date,
      removed: 12_001n,
    });
  });

  it('removes replays of dead letters that ended long ago, but for the newest, and their progress behind them', async () => {
    const asked = async (requestedDays: number, endedDays: number | undefined): Promise<bigint> => {
      const requestedAt = daysAgo(requestedDays);
      const data = { requestedBy: 'anna', letters: [], upTo: 1n, requested: 1n, requestedAt };
      const { id } = await database.deadLetterReplay.create({ data });
      const endedAt = endedDays === undefined ? null : daysAgo(endedDays);
      await database.deadLetterReplayProgress.create({ data: { replay: id, endedAt } });
      return id;
    };
    const [old, underWay, endedLately] = [await asked(200, 199), await asked(200, undefined), await asked(200, 10)];
    const newest = await asked(180, 180);
    // Each owner its own table, in either order: what is left of the first turn goes with the next.
    const faults: unknown[] = [];
    for (const owner of ['ingestion', 'registry', 'ingestion'] as const) {
      await database.retentionRun.deleteMany();
      const sweep = sweepOf(owner);
      await sweep.retention.sweep(NOW);
      faults.push(...sweep.faults);
      if (owner === 'registry') expect(sweep.removed.get('dead_letter_replay')).toEqual([1]);
    }
    expect(faults).toEqual([]);
    const left = await database.deadLetterReplay.findMany({ orderBy: { id: 'asc' } });
    expect(left.map(({ id }) => id)).toEqual([underWay, endedLately, newest]);
    const progress = await database.deadLetterReplayProgress.findMany({ orderBy: { replay: 'asc' } });
    expect(progress.map(({ replay }) => replay)).toEqual([underWay, endedLately, newest]);
    expect(await database.deadLetterReplay.count({ where: { id: old } })).toBe(0);
    await database.retentionRun.deleteMany();
  });

  it('is done once a day, by one process; what was broken off is done again after an hour', async () => {
    const swept = async (now: Date): Promise<boolean> => {
      await database.bootTime.createMany({
        data: [
          { device: 'd', session: 1n, bootedAt: daysAgo(400) },
          { device: 'd', session: 2n, bootedAt: daysAgo(300) },
        ],
        skipDuplicates: true,
      });
      const both = [sweepOf('ingestion'), sweepOf('ingestion')];
      await Promise.all(both.map(({ retention }) => retention.sweep(now)));
      const counts = both.map(({ removed }) => removed.get('boot_time')?.length ?? 0);
      expect(counts.reduce((sum, count) => sum + count)).toBeLessThanOrEqual(1);
      return counts.includes(1);
    };
    expect(await swept(NOW)).toBe(true);
    expect(await swept(new Date(NOW.getTime() + 23 * HOUR_MS))).toBe(false);
    expect(await swept(new Date(NOW.getTime() + 24 * HOUR_MS))).toBe(true);
    await database.retentionRun.update({ where: { table: 'boot_time' }, data: { endedAt: null } });
    expect(await swept(new Date(NOW.getTime() + 24.5 * HOUR_MS))).toBe(false);
    expect(await swept(new Date(NOW.getTime() + 25.5 * HOUR_MS))).toBe(true);
  });

  it('keeps the boot time of the session that a device is in, for years', async () => {
    await database.bootTime.deleteMany();
    await database.retentionRun.deleteMany();
    await database.bootTime.createMany({
      data: [
        { device: 'steady', session: 7n, bootedAt: daysAgo(700) },
        { device: 'again', session: 1n, bootedAt: daysAgo(200) },
        { device: 'again', session: 2n, bootedAt: daysAgo(100) },
      ],
    });
    await sweepOf('ingestion').retention.sweep(NOW);
    const left = await database.bootTime.findMany({ orderBy: { device: 'asc' } });
    expect(left.map(({ device, session }) => [device, session])).toEqual([
      ['again', 2n],
      ['steady', 7n],
    ]);
  });

  it('removes alerts that are long over with their history, deliveries and silences; not what is open or to be told', async () => {
    const alert = (id: string, state: string, resolvedAt: Date | null): Promise<unknown> =>
      database.alert.create({
        data: {
          ...{ id, rule: 'r', ruleVersion: 1, kind: 'presence', severity: 'warning', state, subject: id, summary: 's' },
          ...{ labels: {}, since: daysAgo(365), resolvedAt },
        },
      });
    await alert('over', 'resolved', daysAgo(91));
    await alert('untold', 'resolved', daysAgo(91));
    await alert('fresh', 'resolved', daysAgo(89));
    await alert('open', 'firing', null);
    await database.alertTold.create({ data: { receiver: 'hook', alert: 'untold' } });
    await database.alertEvent.createMany({
      data: ['over', 'untold', 'fresh', 'open'].map((id) => ({ alert: id, at: daysAgo(365), kind: 'firing' })),
    });
    const delivery = { receiver: 'hook', kind: 'alerts', attempt: 1, outcome: 'delivered', detail: '', durationMs: 1 };
    const notification = { receiver: 'hook', group: 'g', kind: 'alerts', content: {} };
    await database.notification.createMany({
      data: [
        { ...notification, id: 'old', createdAt: daysAgo(91) },
        { ...notification, id: 'waits', createdAt: daysAgo(91), dueAt: daysAgo(1) },
      ],
    });
    await database.delivery.createMany({
      data: [91, 89].map((days) => ({ ...delivery, notification: `n${days}`, at: daysAgo(days), summary: '' })),
    });
    await database.silence.create({
      data: {
        id: 's',
        matchers: {},
        from: daysAgo(100),
        until: daysAgo(95),
        why: '',
        who: '',
        createdAt: daysAgo(100),
      },
    });
    const { retention, faults } = sweepOf('alerting');
    await retention.sweep(NOW);
    expect(faults).toEqual([]);
    const ids = (rows: readonly { id: string }[]): readonly string[] => rows.map(({ id }) => id).sort();
    expect(ids(await database.alert.findMany())).toEqual(['fresh', 'open', 'untold']);
    expect((await database.alertEvent.findMany()).map((event) => event.alert).sort()).toEqual([
      'fresh',
      'open',
      'untold',
    ]);
    expect(ids(await database.notification.findMany())).toEqual(['waits']);
    expect((await database.delivery.findMany()).map((one) => one.notification)).toEqual(['n89']);
    expect(await database.silence.count()).toBe(0);
  });

  it('removes events an hour after they can no longer be resumed, and never the newest', async () => {
    const event = (device: string, hours: number): Promise<unknown> => database.$executeRaw`
      INSERT INTO event (kind, device, data, at)
      VALUES ('device', ${device}, '{}', ${new Date(NOW.getTime() - hours * HOUR_MS)}::timestamptz)`;
    await event('gone', 25.1);
    await event('margin', 24.5);
    await event('old-and-newest', 26);
    const { retention } = sweepOf('registry');
    await retention.sweep(NOW);
    const left = await database.event.findMany({ orderBy: { id: 'asc' } });
    expect(left.map(({ device }) => device)).toEqual(['margin', 'old-and-newest']);
  });

  it('leaves rows that somebody has in hand to them, and waits for nobody', async () => {
    await database.retentionRun.deleteMany();
    await database.bootTime.createMany({
      data: [1n, 2n, 3n].map((session) => ({ device: 'held', session, bootedAt: daysAgo(200) })),
    });
    const other = new Client({ connectionString: url });
    await other.connect();
    await other.query('BEGIN');
    await other.query(`UPDATE boot_time SET booted_at = booted_at WHERE device = 'held' AND session = 1`);
    await sweepOf('ingestion').retention.sweep(NOW);
    await other.query('COMMIT');
    await other.end();
    const left = await database.bootTime.findMany({ where: { device: 'held' }, orderBy: { session: 'asc' } });
    expect(left.map(({ session }) => session)).toEqual([1n, 3n]);
  });

  it('says what went wrong with one table, and goes on with the next', async () => {
    const faults: string[] = [];
    const removed: string[] = [];
    await database.retentionRun.deleteMany();
    const [boot] = RETENTION.ingestion;
    if (boot === undefined) expect.fail('no rule');
    const retention = new Retention({
      ...{ database, rules: [{ ...boot, table: 'no_such_table' }, boot], keptDays: 90 },
      onRemoved: (table) => removed.push(table),
      onError: (table) => faults.push(table),
    });
    await retention.sweep(NOW);
    expect([faults, removed]).toEqual([['no_such_table'], ['boot_time']]);
  });

  it('has no table twice, and none of the audit log or of reports', () => {
    const tables = Object.values(RETENTION)
      .flat()
      .map(({ table }) => table);
    expect(new Set(tables).size).toBe(tables.length);
    expect(tables).not.toContain('audit_entry');
    expect(tables).not.toContain('decommission');
  });
});
