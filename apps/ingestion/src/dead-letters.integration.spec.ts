import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BrokerConnection } from '@muster/broker';
import { TopicMap, type Decoder } from '@muster/contract';
import { BulkConnection, openDatabase, TombstoneSet, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger } from '@muster/service';
import { Influx, Spool } from '@muster/telemetry';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { DeadLetterReplay } from './dead-letter-replay.ts';
import { Digest } from './digest.ts';
import { FleetStore } from './fleet-store.ts';
import { Ingestion } from './ingestion.ts';
import { IngestionMetrics } from './metrics.ts';

const { broker, influxdb, postgresUrl } = inject('engines');
const influx = new Influx(influxdb);
const logger = createLogger('dead-letters-test', 'silent');
const SOON = { timeout: 10_000, interval: 50 };

describe('ingestion', () => {
  const root = `plant-${randomUUID()}`;
  const device = `valve-${randomUUID()}`;
  let url = '';
  let database: PrismaClient;
  let bulk: BulkConnection;
  let publisher: BrokerConnection;
  let end: (() => Promise<void>) | undefined;

  beforeAll(async () => {
    url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'dead-letters-test');
    bulk = new BulkConnection(url, 'dead-letters-test', 2, () => undefined);
    publisher = new BrokerConnection({
      ...{ broker, clientId: `publisher-${randomUUID()}`, sessionExpirySeconds: 0, subscriptions: [] },
      onMessage: (_, settle) => settle('acknowledge'),
    });
    await publisher.whenReady(5_000);
  });
  afterEach(async () => {
    await end?.();
    end = undefined;
  });
  afterAll(async () => {
    await publisher.close(1_000);
    await bulk.close();
    await database.$disconnect();
  });

  /** One that reads the state of devices with this decoder. */
  async function start(decoder: Exclude<Decoder, 'json'>): Promise<void> {
    await end?.();
    const topicMap = TopicMap.from({
      topics: [{ pattern: `${root}/{device}/state`, role: 'telemetry', decoder, metric: 'state' }],
    });
    const metrics = new IngestionMetrics(new Registry());
    const tombstones = new TombstoneSet('ingestion-test', database, url, () => undefined);
    await tombstones.start();
    const store = new FleetStore(database, bulk, (_, error) => expect.unreachable(String(error)));
    const digest = new Digest(metrics, logger);
    const folder = mkdtempSync(path.join(tmpdir(), 'dead-letters-'));
    const spool = await Spool.open({ folder, maxBytes: 1_000_000, maxAgeDays: 1, onEvent: () => undefined });
    const replay = new DeadLetterReplay({
      ...{ database, postgresUrl: url, topicMap, store, tombstones, logger },
      share: { kind: 'all-but', brokers: [] },
    });
    const ingestion = new Ingestion({
      canary: { lineOf: () => undefined },
      ...{ topicMap, store, tombstones, metrics, logger, digest, influx, spool, replay },
      quota: { perSecond: 100, burst: 1_000 },
    });
    await digest.start([broker], 5_000);
    await ingestion.start([broker], 5_000);
    end = async () => {
      await ingestion.close();
      await spool.close();
      await digest.close();
      await tombstones.close();
    };
  }

  async function stored(): Promise<readonly unknown[]> {
    return (await influx.query(`SELECT state_text FROM telemetry WHERE device = '${device}'`)).map(
      (row) => JSON.parse(JSON.stringify(row)) as unknown,
    );
  }

  it('keeps what its topic map reads wrongly, and stores it at the times of receipt when the map is mended', async () => {
    await start('number');
    const beganAtMs = Date.now();
    for (const state of ['open', 'shut', 'open']) await publisher.publish(`${root}/${device}/state`, state, { qos: 1 });
    const count = async (): Promise<number> => database.deadLetterMessage.count({ where: { device } });
    await vi.waitFor(async () => expect(await count()).toBe(3), SOON);
    expect(await stored()).toEqual([]);
    await start('text');
    // Nobody has asked for it: what is kept stays.
    expect(await count()).toBe(3);
    await database.$executeRaw`
      INSERT INTO dead_letter_replay (requested_by, letters, up_to, requested) SELECT 'anna', '{}', max(id), 3 FROM dead_letter_message`;
    await database.$executeRaw`SELECT pg_notify('muster_dead_letter', '')`;
    await vi.waitFor(async () => expect(await count()).toBe(0), SOON);
    const rows = JSON.stringify(await stored());
    expect(rows.match(/open|shut/g)).toEqual(['open', 'shut', 'open']);
    const times = (rows.match(/\d{13}/g) ?? []).map(Number);
    expect(new Set(times).size).toBe(3);
    for (const time of times) expect(Math.abs(time - beganAtMs)).toBeLessThan(5_000);
    expect(await database.deadLetterReplayProgress.findFirst()).toMatchObject({ stored: 3n, failed: 0n });
    await vi.waitFor(
      async () =>
        expect(await database.lastReading.findMany({ where: { device } })).toMatchObject([
          { metric: 'state', text: 'open' },
        ]),
      SOON,
    );
  });
});
