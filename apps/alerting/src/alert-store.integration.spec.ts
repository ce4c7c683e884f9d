import { randomUUID } from 'node:crypto';
import { eventSchema } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { AlertRecord, NotificationRecord } from './alert-record.ts';
import { AlertStore } from './alert-store.ts';
import { DeliveryStore } from './delivery-store.ts';
import { Journal } from './journal.ts';

const T0 = 1_800_000_000_000;

function record(more: Partial<AlertRecord> = {}): AlertRecord {
  return {
    ...{ id: randomUUID(), rule: 'lost', ruleVersion: 3, kind: 'presence', severity: 'warning', state: 'firing' },
    ...{ subject: 'a', device: 'a', broker: 'mosquitto-0', summary: 'a is lost', value: 1, runbook: null },
    ...{ labels: { rule: 'lost', device: 'a' }, sinceMs: T0, startedMs: T0 + 1_500, resolvedMs: null },
    ...{ acknowledgedMs: null, acknowledgedBy: null, silencedBy: null },
    ...more,
  };
}

function notification(more: Partial<NotificationRecord> = {}): NotificationRecord {
  const content = { status: 'firing', summary: 'a is lost', group: {}, firing: 1, alerts: [], omitted: 0 } as const;
  return { id: randomUUID(), receiver: 'hook', group: 'g', kind: 'alerts', content, createdMs: T0, ...more };
}

describe('alerts in PostgreSQL', () => {
  let database: PrismaClient;
  let store: AlertStore;
  const committed: NotificationRecord[] = [];
  const failures: string[] = [];
  let journal: Journal;

  beforeAll(async () => {
    const { postgresUrl } = inject('engines');
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'test');
    store = new AlertStore(database);
    journal = new Journal(
      store,
      (notifications) => committed.push(...notifications),
      (error) => failures.push(error.message),
    );
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  it('are written with what is to be told of them, and read back as they were', async () => {
    const alert = record({ acknowledgedMs: T0 + 5, acknowledgedBy: 'anna' });
    const silence = {
      id: randomUUID(),
      matchers: { rule: 'x' },
      fromMs: T0,
      untilMs: T0 * 2,
      why: 'w',
      who: 'anna',
      createdMs: T0,
    };
    const window = {
      ...{ name: 'works', matchers: { device: '*' }, why: 'w', who: 'anna', createdMs: T0 },
      schedule: { cron: '0 1 * * *', duration: '1h', timeZone: 'UTC' },
    };
    const told = notification();
    journal.alert(alert);
    journal.event({ alert: alert.id, atMs: T0, kind: 'comment', actor: 'anna', text: 'hm' });
    journal.told('hook', alert.id, true);
    journal.notification(told);
    journal.silence(silence);
    journal.window('works', window);
    journal.noticePosition(7n);
    const figure = { broker: 'mosquitto-0', name: 'broker-dropped', value: 7, seenMs: T0 } as const;
    const outage = { broker: 'mosquitto-0', fromMs: T0, untilMs: T0 + 9 };
    journal.figure({ ...figure, value: 5 });
    journal.figure(figure);
    journal.outage(outage);
    journal.outage(outage);
    await journal.committed();
    expect(failures).toEqual([]);
    expect(committed).toEqual([told]);
    expect(await store.load(new Date(T0))).toEqual({
      alerts: [alert],
      told: [{ receiver: 'hook', alert: alert.id }],
      silences: [silence],
      windows: [window],
      lastSent: [{ receiver: 'hook', group: 'g', atMs: T0 }],
      noticePosition: 7n,
      figures: [figure],
      outages: [outage],
    });
    expect(await store.find(alert.id)).toMatchObject({
      since: new Date(T0).toISOString(),
      acknowledgedBy: 'anna',
      comments: [{ actor: 'anna', text: 'hm' }],
      history: [{ kind: 'pending' }, { kind: 'comment' }],
    });
    expect(await new DeliveryStore(database).waiting()).toMatchObject([{ id: told.id, attempts: 0 }]);
  });

  it('of one rule and one subject are open once, also when one ends and the next begins in the same moment', async () => {
    const first = record({ subject: 'b' });
    journal.alert(first);
    await journal.committed();
    const next = record({ subject: 'b', sinceMs: T0 + 9_000 });
    journal.alert({ ...first, state: 'resolved', resolvedMs: T0 + 9_000 });
    journal.alert(next);
    await journal.committed();
    expect(failures).toEqual([]);
    expect((await store.page({ limit: 10, subject: 'b' })).items.map(({ id }) => id)).toEqual([next.id]);
  });

  it('are written again where nobody knows whether that was done, and what is to be told of them stands once', async () => {
    const [lost, told] = [record({ subject: 'twice' }), notification()];
    let attempts = 0;
    const known: NotificationRecord[] = [];
    const hopeless: string[] = [];
    const unsure = new Journal(
      {
        write: async (batch) => {
          await store.write(batch);
          attempts += 1;
          if (attempts === 1) throw new Error('Connection terminated unexpectedly');
        },
        isHopeless: (error) => store.isHopeless(error),
      },
      (notifications) => known.push(...notifications),
      (error, isHopeless) => isHopeless && hopeless.push(error.message),
    );
    unsure.alert(lost);
    unsure.told('hook', lost.id, true);
    unsure.notification(told);
    await unsure.committed();
    expect([attempts, hopeless, known]).toEqual([2, [], [told]]);
    expect(await new DeliveryStore(database).waiting()).toContainEqual(expect.objectContaining({ id: told.id }));
  });

  it('that were pending and did not fire are gone', async () => {
    const alert = record({ subject: 'c', state: 'pending', startedMs: null });
    journal.alert(alert);
    await journal.committed();
    journal.cancelled(alert.id);
    await journal.committed();
    await expect(store.find(alert.id)).rejects.toThrow(/there is no alert/);
  });

  it('that PostgreSQL will never take hold up nobody else', async () => {
    const bad = record({ subject: 'bad\0' });
    journal.alert(bad);
    await expect(journal.committed()).rejects.toThrow();
    expect(failures).toHaveLength(1);
    const good = record({ subject: 'good' });
    journal.alert(good);
    await journal.committed();
    expect(await store.find(good.id)).toMatchObject({ subject: 'good' });
  });

  it('come page by page, the newest first, each once', async () => {
    for (let index = 0; index < 25; index += 1)
      journal.alert(record({ rule: 'paged', subject: `d${index}`, sinceMs: T0 + Math.floor(index / 4) * 1_000 }));
    await journal.committed();
    const seen: string[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await store.page({ limit: 7, rule: 'paged', ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.next;
    }
    expect([seen.length, new Set(seen).size]).toEqual([25, 25]);
    expect((await store.openCounts()).get('paged')).toEqual({ firing: 25, pending: 0 });
  });

  it('tell that they fire, are acknowledged and are over as events, in the transaction that says so', async () => {
    const alert = record({ rule: 'told', subject: 'g', device: 'told-1' });
    const event = (kind: 'firing' | 'acknowledged' | 'comment' | 'resolved', actor: string | null): void =>
      journal.event({ alert: alert.id, atMs: T0, kind, actor, text: null });
    journal.alert(alert);
    event('firing', null);
    await journal.committed();
    journal.alert({ ...alert, acknowledgedMs: T0, acknowledgedBy: 'ada' });
    event('acknowledged', 'ada');
    event('comment', 'ada');
    journal.alert({ ...alert, state: 'resolved', resolvedMs: T0 + 1 });
    event('resolved', null);
    await journal.committed();
    const rows = await database.event.findMany({ where: { device: 'told-1' }, orderBy: { id: 'asc' } });
    const events = rows.map(({ id, at, kind, device, data }) =>
      eventSchema.parse({ id: String(id), at: at.toISOString(), kind, device, data }),
    );
    expect(events).toMatchObject(
      (['fired', 'acknowledged', 'resolved'] as const).map((change) => ({
        kind: 'alert',
        data: { alert: alert.id, change, rule: 'told', actor: change === 'acknowledged' ? 'ada' : null },
      })),
    );
  });
});
