import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import type { SpoolDepth } from '@muster/telemetry';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { IngestionMetrics } from './metrics.ts';
import { SpoolWatch } from './stopped-spools.ts';

let database: PrismaClient;
const running: SpoolWatch[] = [];
const log = { info: vi.fn(), warn: vi.fn() };

beforeAll(async () => {
  database = openDatabase(await freshDatabase(inject('engines').postgresUrl), 'test');
});

afterAll(() => database.$disconnect());

afterEach(async () => {
  await Promise.all(running.splice(0).map((watch) => watch.close()));
  await database.$executeRaw`DELETE FROM ingestion_spool`;
  for (const mock of Object.values(log)) mock.mockClear();
});

function watch(ordinal: number, replicas: number, depth: SpoolDepth): SpoolWatch {
  const made = new SpoolWatch({
    ...{ database, ordinal, replicas, maxAgeDays: 7, spool: { depth }, logger: log, intervalMs: 50 },
  });
  made.start();
  running.push(made);
  return made;
}

async function end(ended: SpoolWatch): Promise<void> {
  running.splice(running.indexOf(ended), 1);
  await ended.close();
}

/** As if the time had gone by. */
async function silentFor(ordinal: number, seconds: number): Promise<void> {
  await database.$executeRaw`
    UPDATE ingestion_spool SET seen_at = clock_timestamp() - make_interval(secs => ${seconds}) WHERE ordinal = ${ordinal}`;
}

const EMPTY: SpoolDepth = { bytes: 0, oldestAtMs: undefined };

describe('the spool of an ordinal that is stopped', () => {
  it('is found by the first process with what it held at its end, until it is delivered', async () => {
    const oldestAtMs = Date.now() - 3_600_000;
    const first = watch(0, 2, EMPTY);
    const held = { bytes: 0, oldestAtMs: undefined as number | undefined };
    const second = watch(1, 2, held);
    const metrics = new IngestionMetrics(new Registry());
    metrics.observeStoppedSpools(() => first.waiting);
    const figure = async (field: string): Promise<readonly (readonly [string, number])[]> =>
      (await metrics.figures())
        .filter((one) => one.field === field)
        .map(({ labels, value }) => [String(labels['ordinal']), value] as const);
    // It comes between the last word of every 10 s and the end.
    held.bytes = 12_345;
    held.oldestAtMs = oldestAtMs;
    await end(second);
    expect(first.waiting).toEqual([]);
    expect(await figure('stopped_spool_bytes')).toEqual([['0', 0]]);
    await silentFor(1, 61);
    await vi.waitFor(() => expect(first.waiting).toMatchObject([{ ordinal: 1, bytes: 12_345, oldestAtMs }]));
    expect(await figure('stopped_spool_bytes')).toEqual([
      ['0', 0],
      ['1', 12_345],
    ]);
    const age = new Map(await figure('stopped_spool_age_seconds')).get('1');
    expect(age).toBeGreaterThanOrEqual(3_600);
    expect(age).toBeLessThan(3_700);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(log.warn).toHaveBeenCalledTimes(1);
    expect(log.warn).toHaveBeenCalledWith(
      { ordinal: 1, bytes: 12_345, oldest: new Date(oldestAtMs).toISOString() },
      expect.stringContaining('run as many processes again'),
    );
    watch(1, 2, EMPTY);
    await vi.waitFor(() => expect(first.waiting).toEqual([]));
    await vi.waitFor(() => expect(log.info).toHaveBeenCalledWith({ ordinal: 1 }, expect.any(String)));
    expect(await figure('stopped_spool_bytes')).toEqual([['0', 0]]);
  });

  it('is found soon where there are fewer processes now', async () => {
    await end(watch(1, 2, { bytes: 5, oldestAtMs: 1 }));
    const first = watch(0, 1, EMPTY);
    await silentFor(1, 16);
    await vi.waitFor(() => expect(first.waiting).toMatchObject([{ ordinal: 1, bytes: 5 }]));
  });

  it('is looked for by one process alone', async () => {
    await end(watch(2, 3, { bytes: 5, oldestAtMs: 1 }));
    await silentFor(2, 3_600);
    const second = watch(1, 2, EMPTY);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(second.isLooking).toBe(false);
    expect(second.waiting).toEqual([]);
    expect(log.warn).not.toHaveBeenCalled();
  });

  it('is told once where all of it is too old to be delivered, and waits no more', async () => {
    await end(watch(1, 2, { bytes: 5, oldestAtMs: 1 }));
    await silentFor(1, 8 * 86_400);
    const first = watch(0, 1, EMPTY);
    await vi.waitFor(() =>
      expect(log.warn).toHaveBeenCalledWith({ ordinal: 1, bytes: 5 }, expect.stringContaining('too old')),
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(log.warn).toHaveBeenCalledTimes(1);
    expect(first.waiting).toEqual([]);
  });

  it('waits while PostgreSQL is away: that is told once, and nothing is thrown', async () => {
    const away = openDatabase('postgresql://nobody@127.0.0.1:1/none', 'test');
    const made = new SpoolWatch({
      ...{
        database: away,
        ordinal: 0,
        replicas: 1,
        maxAgeDays: 7,
        spool: { depth: EMPTY },
        logger: log,
        intervalMs: 50,
      },
    });
    made.start();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await made.close();
    expect(log.warn).toHaveBeenCalledTimes(1);
    expect(log.warn).toHaveBeenCalledWith(expect.anything(), expect.stringContaining('not on record'));
    await away.$disconnect();
  });
});
