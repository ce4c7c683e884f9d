import { randomUUID } from 'node:crypto';
import { deviceId, TopicMap, type DeviceId } from '@muster/contract';
import {
  BulkConnection,
  DEAD_LETTER_CHANNEL,
  openDatabase,
  replayable,
  Retention,
  RETENTION,
  TombstoneSet,
  type PrismaClient,
} from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger } from '@muster/service';
import { SpoolFullError } from '@muster/telemetry';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { DeadLetterReplay, type LetterShare } from './dead-letter-replay.ts';
import { DeadLetters, KEPT_PER_LETTER, type DeadLetter } from './dead-letters.ts';
import { Fleet } from './fleet.ts';
import { FleetStore } from './fleet-store.ts';

const logger = createLogger('dead-letters-test', 'silent');
const SOON = { timeout: 10_000, interval: 20 };
const MENDED = TopicMap.from({
  topics: [
    { pattern: 'plant/{device}/state', role: 'telemetry', decoder: 'text', metric: 'state' },
    { pattern: 'plant/{device}/number', role: 'telemetry', decoder: 'number', metric: 'number' },
    { pattern: 'plant/{device}/all', role: 'telemetry', decoder: 'json' },
  ],
});

let url = '';
let database: PrismaClient;
let bulk: BulkConnection;
let tombstones: TombstoneSet;
const running: DeadLetterReplay[] = [];

beforeAll(async () => {
  url = await freshDatabase(inject('engines').postgresUrl);
  database = openDatabase(url, 'dead-letters-test');
  bulk = new BulkConnection(url, 'dead-letters-test', 2, () => undefined);
  tombstones = new TombstoneSet('dead-letters-test', database, url, () => undefined);
  await tombstones.start();
});
beforeEach(async () => {
  await database.$executeRaw`TRUNCATE dead_letter, dead_letter_message, dead_letter_replay, dead_letter_replay_progress`;
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((replay) => replay.close()));
});
afterAll(async () => {
  await tombstones.close();
  await bulk.close();
  await database.$disconnect();
});

function aDevice(): DeviceId {
  return deviceId(`d-${randomUUID()}`);
}

function letter(device: DeviceId, more: Partial<DeadLetter> = {}): DeadLetter {
  return {
    ...{ device, reason: 'not-a-number', detail: 'expected a decimal number', broker: 'mosquitto-0' },
    ...{ topic: `plant/${device}/state`, payload: Buffer.from('open'), atMs: 1_700_000_000_000, kept: 'message' },
    ...more,
  };
}

async function written(...letters: readonly DeadLetter[]): Promise<void> {
  const kept = new DeadLetters(database, (row, error) => {
    throw new Error(`unstorable: ${JSON.stringify(row)}`, { cause: error });
  });
  for (const one of letters) kept.take(one);
  await kept.flush();
}

async function wanted(choice: { device?: string; reason?: string; letters?: string[] } = {}): Promise<bigint> {
  const { device = null, reason = null, letters = [] } = choice;
  const [row] = await database.$queryRaw<{ id: bigint }[]>`
    INSERT INTO dead_letter_replay (requested_by, device, reason, letters, up_to, requested)
    SELECT 'anna', ${device}, ${reason}, ${letters}::text[], coalesce(max(id), 0), count(*) FROM dead_letter_message
    WHERE ${replayable({ ...choice })}
    RETURNING id`;
  await database.$executeRaw`SELECT pg_notify(${DEAD_LETTER_CHANNEL}, '')`;
  return row?.id ?? 0n;
}

const ALL: LetterShare = { kind: 'all-but', brokers: [] };

/** A process that reads again; `writeLine` stands for InfluxDB and the spool. */
async function reading(
  writeLine: (line: string, replay: DeadLetterReplay) => unknown,
  share = ALL,
): Promise<FleetStore> {
  const store = new FleetStore(database, bulk, () => undefined);
  const parts = { database, postgresUrl: url, topicMap: MENDED, store, tombstones, share, logger };
  const replay = new DeadLetterReplay(parts);
  running.push(replay);
  await replay.start(new Fleet(), {
    writeLine: async (line) => {
      await writeLine(line, replay);
    },
  });
  return store;
}

interface Progress {
  readonly stored: number;
  readonly failed: number;
  readonly ended: boolean;
}
async function progress(replay: bigint): Promise<Progress | undefined> {
  const [row] = await database.$queryRaw<Progress[]>`
    SELECT stored::int, failed::int, ended_at IS NOT NULL AS ended FROM dead_letter_replay_progress WHERE replay = ${replay}`;
  return row;
}
async function kept(): Promise<readonly object[]> {
  return database.$queryRaw<object[]>`
    SELECT device, reason, convert_from(payload, 'UTF8') AS payload FROM dead_letter_message ORDER BY id`;
}
async function counts(device: string): Promise<readonly object[]> {
  return database.$queryRaw<object[]>`
    SELECT reason, count::int, settled::int FROM dead_letter WHERE device = ${device} ORDER BY reason`;
}

describe('messages that could not be used', () => {
  it('are kept whole and in order, each at an instant of its own', async () => {
    const device = aDevice();
    const long = 'x'.repeat(65_536);
    await written(
      letter(device),
      letter(device, { payload: Buffer.from('shut') }),
      letter(device, { payload: Buffer.from(long) }),
    );
    expect(await kept()).toEqual(
      ['open', 'shut', long].map((payload) => ({ device, reason: 'not-a-number', payload })),
    );
    const times = await database.$queryRaw<
      { received_at: Date }[]
    >`SELECT received_at FROM dead_letter_message ORDER BY id`;
    expect(times.map(({ received_at }) => received_at.getTime() - 1_700_000_000_000)).toEqual([0, 1, 2]);
    expect(await counts(device)).toEqual([{ reason: 'not-a-number', count: 3, settled: 0 }]);
  });

  it('are not kept above 64 KiB, nor where only the sample is wanted; they count all the same', async () => {
    const device = aDevice();
    await written(
      letter(device, { payload: Buffer.alloc(65_537, 'x') }),
      letter(device, { kept: 'sample' }),
      letter(device, { topic: `plant/${device}/${'x'.repeat(600)}` }),
    );
    expect(await kept()).toEqual([]);
    expect(await counts(device)).toEqual([{ reason: 'not-a-number', count: 3, settled: 0 }]);
  });

  it('are the newest hundred of each device and reason', async () => {
    const [loud, quiet] = [aDevice(), aDevice()];
    const store = new DeadLetters(database, () => undefined);
    store.take(letter(quiet));
    for (let number = 0; number < 2 * KEPT_PER_LETTER; number += 1) {
      store.take(letter(loud, { payload: Buffer.from(String(number)) }));
      if (number % KEPT_PER_LETTER === KEPT_PER_LETTER - 1) await store.flush();
    }
    const rows = (await kept()) as readonly { device: string; payload: string }[];
    expect(rows.filter(({ device }) => device === quiet)).toHaveLength(1);
    expect(rows.filter(({ device }) => device === loud).map(({ payload }) => Number(payload))).toEqual(
      Array.from({ length: KEPT_PER_LETTER }, (_, index) => KEPT_PER_LETTER + index),
    );
    expect(await counts(loud)).toEqual([{ reason: 'not-a-number', count: 2 * KEPT_PER_LETTER, settled: 0 }]);
  });

  it('are removed when they are old, and their counts stay', async () => {
    const device = aDevice();
    const nowMs = Date.now();
    await written(
      letter(device, { atMs: nowMs - 91 * 86_400_000 }),
      letter(device, { atMs: nowMs, payload: Buffer.from('shut') }),
    );
    const rules = RETENTION.ingestion.filter(({ table }) => table === 'dead_letter_message');
    const told = {
      onRemoved: () => undefined,
      onError: (_: string, error: unknown) => expect.unreachable(String(error)),
    };
    await new Retention({ database, rules, keptDays: 90, ...told }).sweep(new Date(nowMs));
    expect(await kept()).toEqual([{ device, reason: 'not-a-number', payload: 'shut' }]);
    expect(await counts(device)).toEqual([{ reason: 'not-a-number', count: 2, settled: 0 }]);
  });
});

describe('a replay of dead letters', () => {
  it('stores what can be read now, at its time of receipt, and removes it; the rest stays with its new reason', async () => {
    const device = aDevice();
    await written(
      letter(device),
      letter(device, { topic: `plant/${device}/number`, payload: Buffer.from('n/a'), reason: 'invalid-json' }),
    );
    const lines: string[] = [];
    const store = await reading((line) => void lines.push(line));
    const replay = await wanted();
    await vi.waitFor(async () => expect(await progress(replay)).toEqual({ stored: 1, failed: 1, ended: true }), SOON);
    expect(lines).toEqual([`telemetry,device=${device} state_text="open" 1700000000000`]);
    expect(await kept()).toEqual([{ device, reason: 'not-a-number', payload: 'n/a' }]);
    expect(await counts(device)).toEqual([
      { reason: 'invalid-json', count: 1, settled: 1 },
      { reason: 'not-a-number', count: 2, settled: 1 },
    ]);
    await store.flush(Date.now());
    const known = await database.lastReading.findMany({ where: { device } });
    expect(known).toMatchObject([{ metric: 'state', text: 'open', at: new Date(1_700_000_000_000) }]);
    expect(await database.device.count({ where: { id: device } })).toBe(1);
  });

  it('takes the time that the payload says, and the boot time that was fixed for its session', async () => {
    const device = aDevice();
    await database.bootTime.create({ data: { device, session: 3n, bootedAt: new Date(1_600_000_000_000) } });
    const at = (body: object): DeadLetter =>
      letter(device, { topic: `plant/${device}/all`, payload: Buffer.from(JSON.stringify(body)) });
    await written(at({ temp: 1, ts: 1_690_000_000_123 }), at({ temp: 2, up: 5_000, session: 3 }));
    const lines: string[] = [];
    await reading((line) => void lines.push(line));
    const replay = await wanted();
    await vi.waitFor(async () => expect((await progress(replay))?.ended).toBe(true), SOON);
    expect(lines.sort()).toEqual([
      `telemetry,device=${device} temp=1 1690000000123`,
      `telemetry,device=${device} temp=2,session=3 1600000005000`,
    ]);
  });

  it('reads only what was chosen', async () => {
    const [one, other] = [aDevice(), aDevice()];
    await written(
      letter(one),
      letter(one, { reason: 'invalid-json' }),
      letter(other),
      letter(other, { reason: 'bad-name' }),
    );
    await reading(() => undefined);
    const first = await wanted({ device: one, reason: 'invalid-json' });
    await vi.waitFor(async () => expect(await progress(first)).toEqual({ stored: 1, failed: 0, ended: true }), SOON);
    const second = await wanted({ letters: [`${other}:bad-name`] });
    await vi.waitFor(async () => expect(await progress(second)).toEqual({ stored: 1, failed: 0, ended: true }), SOON);
    expect(await kept()).toMatchObject([
      { device: one, reason: 'not-a-number' },
      { device: other, reason: 'not-a-number' },
    ]);
  });

  it('never reads those of a decommissioned device, by whichever topic map it is the device', async () => {
    const gone = aDevice();
    await written(letter(gone), letter('' as DeviceId, { topic: `plant/${gone}/state`, reason: 'not-in-topic-map' }));
    await database.device.create({ data: { id: gone, state: 'decommissioned' } });
    await database.$executeRaw`INSERT INTO tombstone (device) VALUES (${gone})`;
    await database.$executeRaw`SELECT pg_notify('muster_tombstone', '')`;
    await vi.waitFor(() => expect(tombstones.has(gone)).toBe(true), SOON);
    const lines: string[] = [];
    await reading((line) => void lines.push(line));
    const replay = await wanted();
    await vi.waitFor(async () => expect(await progress(replay)).toEqual({ stored: 0, failed: 1, ended: true }), SOON);
    expect(lines).toEqual([]);
    expect(await kept()).toMatchObject([
      { device: gone, reason: 'not-a-number' },
      { device: gone, reason: 'decommissioned' },
    ]);
  });

  it('leaves each message to the process of its broker', async () => {
    const device = aDevice();
    await written(letter(device), letter(device, { broker: 'mosquitto-1', payload: Buffer.from('shut') }));
    const taken: Record<string, string[]> = { zero: [], one: [] };
    await reading((line) => void taken['zero']?.push(line), { kind: 'all-but', brokers: ['mosquitto-1'] });
    const replay = await wanted();
    await vi.waitFor(async () => expect(await progress(replay)).toEqual({ stored: 1, failed: 0, ended: false }), SOON);
    await reading((line) => void taken['one']?.push(line), { kind: 'of', brokers: ['mosquitto-1'] });
    await vi.waitFor(async () => expect(await progress(replay)).toEqual({ stored: 2, failed: 0, ended: true }), SOON);
    expect(taken).toEqual({
      zero: [`telemetry,device=${device} state_text="open" 1700000000000`],
      one: [`telemetry,device=${device} state_text="shut" 1700000000001`],
    });
  });

  it('writes the same points again where the process ends between the write and its record, and counts them once', async () => {
    const device = aDevice();
    await written(...Array.from({ length: 50 }, (_, index) => letter(device, { payload: Buffer.from(`s${index}`) })));
    const lines: string[] = [];
    // The first process never hears that its lines are durable, though they are.
    let isStuck = true;
    await reading(async (line) => {
      lines.push(line);
      if (isStuck) await new Promise((_, reject) => setTimeout(() => reject(new Error('killed')), 200));
    });
    const replay = await wanted();
    await vi.waitFor(() => expect(lines).toHaveLength(50), SOON);
    expect(await kept()).toHaveLength(50);
    isStuck = false;
    await reading((line) => void lines.push(line));
    await vi.waitFor(async () => expect(await progress(replay)).toEqual({ stored: 50, failed: 0, ended: true }), SOON);
    expect(lines.length).toBeGreaterThanOrEqual(100);
    expect(new Set(lines).size).toBe(50);
    expect(await kept()).toEqual([]);
    expect(await counts(device)).toEqual([{ reason: 'not-a-number', count: 50, settled: 50 }]);
  });

  it('keeps what InfluxDB will never take, and tries again what found no room', async () => {
    const device = aDevice();
    await written(letter(device), letter(device, { payload: Buffer.from('shut') }));
    let tries = 0;
    await reading((line, replay) => {
      if (line.includes('shut')) expect(replay.refused(line, 'points beyond retention policy')).toBe(true);
      else if ((tries += 1) === 1) throw new SpoolFullError('size-limit', 'no room');
    });
    const replay = await wanted();
    await vi.waitFor(async () => expect(await progress(replay)).toEqual({ stored: 1, failed: 1, ended: true }), SOON);
    expect(tries).toBe(2);
    const rows = await database.$queryRaw<object[]>`SELECT reason, detail FROM dead_letter_message`;
    expect(rows).toEqual([{ reason: 'refused-by-influxdb', detail: 'points beyond retention policy' }]);
  });
});
