import { deviceId, eventSchema } from '@muster/contract';
import { appendEvents, openDatabase, type EventPosition, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger } from '@muster/service';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { cursorOf, EventFeed, EventsGoneError, positionOf, type StreamedEvent } from './event-feed.ts';

const ALL = { kinds: new Set<string>(), devices: new Set<string>() };
let url = '';
let database: PrismaClient;
let feed: EventFeed;

beforeAll(async () => {
  url = await freshDatabase(inject('engines').postgresUrl);
  database = openDatabase(url, 'test');
  await change('before the start');
  feed = await started();
});
afterAll(async () => {
  await feed.close();
  await database.$disconnect();
});

async function started(): Promise<EventFeed> {
  const one = new EventFeed(database, url, createLogger('test', 'fatal'));
  await one.start();
  return one;
}

async function change(...devices: readonly string[]): Promise<void> {
  await appendEvents(
    database,
    devices.map((device) => ({
      kind: 'device',
      device: deviceId(device.replaceAll(' ', '-')),
      data: { change: 'changed' },
    })),
  );
}

/** Follows a feed from a place until so many events have come. */
async function follow(
  from: EventFeed,
  after: EventPosition,
  count: number,
  filter = ALL,
): Promise<readonly StreamedEvent[]> {
  const told: StreamedEvent[] = [];
  const limit = AbortSignal.timeout(20_000);
  for (let place = after; told.length < count && !limit.aborted;) {
    const { events, upTo } = await from.behind(place, filter);
    told.push(...events);
    place = upTo;
    if (told.length < count) await from.news(place, limit);
  }
  return told;
}

const here = (): EventPosition => feed.head ?? { xid: 0n, id: 0n };
const devicesOf = (events: readonly StreamedEvent[]): readonly (string | null)[] => events.map(({ device }) => device);

describe('the feed of events', () => {
  it('tells what happens, once and in order, to everybody who follows', async () => {
    const after = here();
    const followers = [
      follow(feed, after, 3),
      follow(feed, after, 3),
      follow(feed, after, 1, { ...ALL, devices: new Set(['two']) }),
    ];
    await change('one', 'two');
    await change('three');
    const [first, second, only] = await Promise.all(followers);
    expect(devicesOf(first ?? [])).toEqual(['one', 'two', 'three']);
    expect(second).toEqual(first);
    expect(devicesOf(only ?? [])).toEqual(['two']);
  });

  it('does not wait for its next look at the database, which comes every 5 s', async () => {
    const after = here();
    const startedMs = performance.now();
    const told = follow(feed, after, 1);
    await change('soon');
    expect(devicesOf(await told)).toEqual(['soon']);
    // Transactions of other tests hold it up for as long as they run: the horizon is that of the whole server.
    expect(performance.now() - startedMs).toBeLessThan(4_000);
  });

  it('writes each as a block of the stream whose data keeps to its schema', async () => {
    const after = here();
    await database.$executeRaw`
      INSERT INTO event (kind, device, data) VALUES ('presence', 'lab1', ${JSON.stringify({
        ...{ from: 'online', to: 'lost', reason: 'will', since: '2027-01-31T12:00:00.000Z', rule: 'will' },
        broker: 'line\nbreak',
      })}::jsonb)`;
    const [event] = await follow(feed, after, 1);
    const [, id, kind, data] = /^id: (\d+-\d+)\nevent: (\w+)\ndata: (.*)\n\n$/.exec(event?.text ?? '') ?? [];
    expect(kind).toBe('presence');
    expect(eventSchema.parse(JSON.parse(data ?? ''))).toMatchObject({
      id,
      device: 'lab1',
      data: { to: 'lost', explanation: expect.stringContaining('will') as string },
    });
    expect(positionOf(id ?? '')).toEqual(event?.position);
  });

  it('goes on from any place, in memory or in the database, with nothing missing and nothing twice', async () => {
    const after = here();
    const names = Array.from({ length: 2_500 }, (_, index) => `many-${index}`);
    for (let index = 0; index < names.length; index += 500) await change(...names.slice(index, index + 500));
    const all = await follow(feed, after, names.length);
    expect(devicesOf(all)).toEqual(names);
    const fresh = await started();
    for (const index of [0, 1, 999, 1_000, 1_700, 2_498]) {
      const place = all[index]?.position ?? after;
      const rest = all.slice(index + 1);
      expect((await follow(feed, place, rest.length)).map(({ text }) => text)).toEqual(rest.map(({ text }) => text));
      expect((await follow(fresh, place, rest.length)).map(({ text }) => text)).toEqual(rest.map(({ text }) => text));
      expect(await feed.isResumable(place)).toBe(true);
    }
    const few = { kinds: new Set(['device']), devices: new Set(['many-7', 'many-2400']) };
    expect(devicesOf(await follow(fresh, after, 2, few))).toEqual(['many-7', 'many-2400']);
    await fresh.close();
  });

  it('waits for a transaction that commits late, and tells what it held up without being told of its end', async () => {
    const slow = new Client({ connectionString: url });
    await slow.connect();
    const after = here();
    await slow.query('BEGIN');
    // It changes something else, so nobody hears of its end.
    await slow.query(`INSERT INTO retention_run ("table", started_at) VALUES ('held', now())`);
    await change('held up');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await feed.behind(after, ALL)).events).toEqual([]);
    await slow.query('COMMIT');
    const committedMs = performance.now();
    expect(devicesOf(await follow(feed, after, 1))).toEqual(['held-up']);
    expect(performance.now() - committedMs).toBeLessThan(4_000);
    await slow.end();
  });

  it('tells who is too slow that what is next was removed, instead of leaving it out', async () => {
    const after = here();
    await change('removed', 'kept');
    await follow(feed, after, 2);
    const late = await started();
    await change('newer');
    await follow(late, here(), 0);
    await database.$executeRaw`DELETE FROM event WHERE id = ${after.id}`;
    await vi.waitFor(() => expect(late.head).not.toEqual(after));
    await expect(late.behind(after, ALL)).rejects.toThrow(EventsGoneError);
    await late.close();
  });

  it('wakes who waits when its stream ends', async () => {
    const end = new AbortController();
    const waiting = feed.news(here(), end.signal);
    end.abort();
    await waiting;
  });

  it.each(['', '-', '1-', 'x-1', '1-1-1', '1.5-1', `${'9'.repeat(20)}-1`, `1-${'9'.repeat(19)}`, '-1--1'])(
    'takes %j for no place',
    (text) => {
      expect(positionOf(text)).toBeUndefined();
    },
  );

  it('gives a place as a text that stands for it', () => {
    const place = { xid: 9_007_199_254_740_993n, id: 12n };
    expect(positionOf(cursorOf(place))).toEqual(place);
  });
});
