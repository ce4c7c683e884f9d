import { deviceId, eventSchema, type DeviceId } from '@muster/contract';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { ChannelFollower } from './channel.ts';
import { openDatabase } from './database.ts';
import { discover } from './discover.ts';
import {
  appendEvents,
  EVENT_CHANNEL,
  eventsBehind,
  eventsBetween,
  isOnRecord,
  newestEvent,
  type EventPosition,
  type EventRow,
} from './events.ts';
import { freshDatabase } from './fresh-database.ts';

const DAY_MS = 86_400_000;
const ALL = { kinds: new Set<string>(), devices: new Set<string>() };
let url = '';
let database: ReturnType<typeof openDatabase>;

beforeAll(async () => {
  url = await freshDatabase(inject('engines').postgresUrl);
  database = openDatabase(url, 'test');
});
afterAll(() => database.$disconnect());

async function happened(...devices: readonly string[]): Promise<void> {
  await appendEvents(
    database,
    devices.map((device) => ({ kind: 'device', device: deviceId(device), data: { change: 'changed' } })),
  );
}

/** Reads as the registry does, until so many have come: transactions of other tests hide events for a moment. */
async function read(after: EventPosition, count: number): Promise<readonly EventRow[]> {
  return vi.waitFor(
    async () => {
      const { rows } = await eventsBehind(database, after, 1_000);
      expect(rows.length).toBeGreaterThanOrEqual(count);
      return rows;
    },
    { timeout: 20_000 },
  );
}

const devicesOf = (rows: readonly EventRow[]): readonly (string | null)[] => rows.map(({ device }) => device);

describe('the outbox of events', () => {
  it('tells in the order of their transactions what is committed, and nothing of what was rolled back', async () => {
    const after = await newestEvent(database);
    await happened('first', 'second');
    await expect(
      database.$transaction(async (transaction) => {
        await appendEvents(transaction, [{ kind: 'device', device: 'never' as DeviceId, data: { change: 'changed' } }]);
        throw new Error('rolled back');
      }),
    ).rejects.toThrow('rolled back');
    await happened('third');
    expect(devicesOf(await read(after, 3))).toEqual(['first', 'second', 'third']);
  });

  it('is told of a device that discover() enters, once, and of none that was known', async () => {
    const after = await newestEvent(database);
    await discover(database, [deviceId('new-1'), deviceId('new-2')]);
    await discover(database, [deviceId('new-1'), deviceId('new-3')]);
    const rows = await read(after, 3);
    expect(devicesOf(rows)).toEqual(['new-1', 'new-2', 'new-3']);
    for (const { position, at, kind, device, data } of rows) {
      const event = { id: `${position.xid}-${position.id}`, at: at.toISOString(), kind, device, data };
      expect(eventSchema.parse(event)).toMatchObject({ kind: 'device', data: { change: 'discovered' } });
    }
  });

  it('reads between two places by kind and device, a page at a time', async () => {
    const after = await newestEvent(database);
    await happened('a', 'b', 'a', 'c', 'a');
    const upTo = (await read(after, 5)).at(-1)?.position ?? after;
    const only = { kinds: new Set(['device']), devices: new Set(['a']) };
    const page = await eventsBetween(database, after, upTo, only, 2);
    expect(devicesOf(page)).toEqual(['a', 'a']);
    const rest = await eventsBetween(database, page.at(-1)?.position ?? after, upTo, only, 2);
    expect(rest).toHaveLength(1);
    expect(await eventsBetween(database, after, upTo, { ...ALL, kinds: new Set(['alert']) }, 10)).toEqual([]);
  });

  it('knows a place behind which everything is on record, and none that is old or was never there', async () => {
    await happened('known', 'newest');
    const rows = await read({ xid: 0n, id: 0n }, 2);
    const place = rows.at(-2)?.position ?? { xid: 0n, id: 0n };
    expect(await isOnRecord(database, place, DAY_MS)).toBe(true);
    expect(await isOnRecord(database, { xid: 0n, id: 0n }, DAY_MS)).toBe(true);
    expect(await isOnRecord(database, { ...place, id: place.id + 1_000_000n }, DAY_MS)).toBe(false);
    expect(await isOnRecord(database, { ...place, xid: place.xid + 1n }, DAY_MS)).toBe(false);
    await database.$executeRaw`UPDATE event SET at = now() - interval '25 hours' WHERE id = ${place.id}`;
    expect(await isOnRecord(database, place, DAY_MS)).toBe(false);
    await database.$executeRaw`DELETE FROM event WHERE id < ${place.id}`;
    expect(await isOnRecord(database, { xid: 0n, id: 0n }, DAY_MS)).toBe(false);
  });

  it('orders transactions by their numbers, also where these get a digit more', async () => {
    await database.$executeRaw`DELETE FROM event`;
    for (const xid of ['10', '9', '100', '99'])
      await database.$executeRaw`
        INSERT INTO event (xid, kind, device, data) VALUES (${xid}::xid8, 'device', ${xid}, '{"change":"changed"}')`;
    const [begin, end] = [
      { xid: 0n, id: 0n },
      { xid: 1_000n, id: 0n },
    ];
    expect(devicesOf(await read(begin, 4))).toEqual(['9', '10', '99', '100']);
    expect(devicesOf(await eventsBetween(database, begin, end, ALL, 10))).toEqual(['9', '10', '99', '100']);
    expect(await newestEvent(database)).toMatchObject({ xid: 100n });
    await database.$executeRaw`DELETE FROM event`;
  });

  it('takes no place of a database that was copied back: nothing would ever be behind it', async () => {
    await happened('restored');
    const [{ position } = { position: { xid: 0n, id: 0n } }] = (await read({ xid: 0n, id: 0n }, 1)).slice(-1);
    await database.$executeRaw`UPDATE event SET xid = '9000000000000000000'::xid8 WHERE id = ${position.id}`;
    expect(await isOnRecord(database, { xid: 9_000_000_000_000_000_000n, id: position.id }, DAY_MS)).toBe(false);
    await database.$executeRaw`DELETE FROM event WHERE id = ${position.id}`;
  });

  it('wakes whoever listens when events are committed, and not for a statement that adds none', async () => {
    const refresh = vi.fn(() => Promise.resolve());
    const follower = new ChannelFollower({
      url,
      channel: EVENT_CHANNEL,
      refresh,
      onError: (error) => expect.fail(error.message),
    });
    await follower.start();
    await appendEvents(database, []);
    await discover(database, [deviceId('new-1')]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(refresh).not.toHaveBeenCalled();
    await happened('loud');
    await vi.waitFor(() => expect(refresh).toHaveBeenCalled(), { timeout: 2_000 });
    await follower.close();
  });
});

describe('a transaction that began early and commits late', () => {
  let slow: Client;
  let quick: Client;
  beforeEach(async () => {
    slow = new Client({ connectionString: url });
    quick = new Client({ connectionString: url });
    await Promise.all([slow.connect(), quick.connect()]);
  });
  afterEach(async () => {
    await Promise.all([slow.end(), quick.end()]);
  });
  const write = (client: Client, device: string): Promise<unknown> =>
    client.query(`INSERT INTO event (kind, device, data) VALUES ('device', $1, '{"change":"changed"}')`, [device]);

  /** The newest event, when every event can be read: transactions of other databases of the server hide events too. */
  const newestOfAll = async (): Promise<EventPosition> =>
    vi.waitFor(
      async () => {
        const newest = await newestEvent(database);
        expect(await eventsBehind(database, newest, 1)).toEqual({ rows: [], areMoreHidden: false });
        return newest;
      },
      { timeout: 20_000 },
    );

  it('is not skipped by a reader by horizon, and would be by one that reads by number', async () => {
    const after = await newestOfAll();
    const byNumber = async (behind: bigint): Promise<readonly { id: bigint; device: string | null }[]> =>
      database.event.findMany({
        where: { id: { gt: behind } },
        orderBy: { id: 'asc' },
        select: { id: true, device: true },
      });

    await slow.query('BEGIN');
    await write(slow, 'late');
    await write(quick, 'early');
    // Both read now. The one by number sees the newer event, and goes on behind it.
    const seen = await byNumber(after.id);
    expect(seen.map(({ device }) => device)).toEqual(['early']);
    const first = await eventsBehind(database, after, 100);
    expect(first).toEqual({ rows: [], areMoreHidden: true });

    await slow.query('COMMIT');
    expect(await byNumber(seen.at(-1)?.id ?? 0n)).toEqual([]);
    expect(devicesOf(await read(after, 2))).toEqual(['late', 'early']);
  });

  it('hides nothing of what came before it, and nothing any more when it is rolled back', async () => {
    const after = await newestOfAll();
    await write(quick, 'before');
    const before = await read(after, 1);
    await slow.query('BEGIN');
    await write(slow, 'undone');
    await write(quick, 'behind');
    const place = before.at(-1)?.position ?? after;
    expect((await eventsBehind(database, place, 100)).rows).toEqual([]);
    await slow.query('ROLLBACK');
    expect(devicesOf(await read(place, 1))).toEqual(['behind']);
  });

  it('is read by each of many readers once and in one order, whatever commits when', async () => {
    const after = await newestOfAll();
    const writers = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const client = new Client({ connectionString: url });
        await client.connect();
        return client;
      }),
    );
    let areWriting = true;
    const follow = async (): Promise<readonly string[]> => {
      const told: string[] = [];
      for (let place = after, isLast = false; !isLast;) {
        isLast = !areWriting;
        const { rows, areMoreHidden } = await eventsBehind(database, place, 50);
        told.push(...rows.map(({ device }) => device ?? ''));
        place = rows.at(-1)?.position ?? place;
        if (rows.length > 0 || areMoreHidden) isLast = false;
      }
      return told;
    };
    const readers = [follow(), follow(), follow()];
    await Promise.all(
      writers.map(async (writer, number) => {
        for (let turn = 0; turn < 40; turn += 1) {
          await writer.query('BEGIN');
          await write(writer, `w${number}-${turn}`);
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 8));
          await writer.query('COMMIT');
        }
        await writer.end();
      }),
    );
    areWriting = false;
    const [first = [], ...others] = await Promise.all(readers);
    expect([first.length, new Set(first).size]).toEqual([320, 320]);
    for (const other of others) expect(other).toEqual(first);
  });
});
