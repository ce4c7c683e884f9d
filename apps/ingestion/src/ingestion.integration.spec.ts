import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BrokerConnection } from '@muster/broker';
import { BulkConnection, openDatabase, TombstoneSet, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger, loadTopicMap } from '@muster/service';
import { Influx, Spool } from '@muster/telemetry';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi, type Mock } from 'vitest';
import { DeadLetterReplay, letterShare } from './dead-letter-replay.ts';
import { Digest } from './digest.ts';
import { FleetStore } from './fleet-store.ts';
import { Ingestion } from './ingestion.ts';
import { IngestionMetrics } from './metrics.ts';

const { broker, influxdb, postgresUrl } = inject('engines');
const influx = new Influx(influxdb);
const closing: (() => Promise<unknown>)[] = [];
let url = '';
let database: PrismaClient;
let bulk: BulkConnection;

beforeAll(async () => {
  url = await freshDatabase(postgresUrl);
  database = openDatabase(url, 'test');
  bulk = new BulkConnection(url, 'test', 2, () => undefined);
});

afterAll(async () => {
  await bulk.close();
  await database.$disconnect();
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

interface Scene {
  readonly store: FleetStore;
  readonly warn: Mock;
  readonly sender: BrokerConnection;
}

/** Ingestion in this process, and somebody who publishes. */
async function scene(prepare: (store: FleetStore) => void): Promise<Scene> {
  // A name of its own, so that no session of another test is taken over.
  const target = { ...broker, name: `test-${randomUUID()}` };
  const metrics = new IngestionMetrics(new Registry());
  const logger = createLogger('test', 'silent');
  const warn = vi.spyOn(logger, 'warn') as Mock;
  const store = new FleetStore(database, bulk, () => undefined);
  prepare(store);
  const spool = await Spool.open({
    ...{ folder: mkdtempSync(path.join(tmpdir(), 'spool-')), maxBytes: 10_000_000, maxAgeDays: 7 },
    onEvent: () => undefined,
  });
  const topicMap = loadTopicMap(undefined);
  const tombstones = new TombstoneSet('test', database, url, () => undefined);
  const share = letterShare([target.name], [target.name]);
  const ingestion = new Ingestion({
    ...{ topicMap, store, metrics, logger, influx, spool, tombstones },
    canary: { lineOf: () => undefined },
    replay: new DeadLetterReplay({ database, postgresUrl: url, topicMap, store, tombstones, logger, share }),
    digest: new Digest(metrics, logger),
    quota: { perSecond: 100_000, burst: 100_000 },
  });
  await ingestion.start([target], 5_000);
  const sender = new BrokerConnection({ broker, clientId: `test-${randomUUID()}`, sessionExpirySeconds: 0 });
  await sender.whenReady(5_000);
  closing.push(
    () => sender.close(0),
    () => ingestion.close(),
    () => spool.close(),
  );
  return { store, warn, sender };
}

describe('a device without a clock', () => {
  it('is asked for the time at which it booted once a session, however many of its messages wait for it', async () => {
    const count = 500;
    const device = `booting-${randomUUID()}`;
    let isAway = true;
    const asked = vi.fn();
    const { sender, warn } = await scene((store) => {
      const ask = store.bootTime.bind(store);
      vi.spyOn(store, 'bootTime').mockImplementation((...parameters) => {
        asked();
        return isAway ? Promise.reject(new Error('PostgreSQL is away')) : ask(...parameters);
      });
    });
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        sender.publish(
          `devices/${device}/telemetry`,
          JSON.stringify({ temp: index, up: 1_000 + index, session: 7, seq: index + 1 }),
        ),
      ),
    );
    await vi.waitFor(() => expect(warn).toHaveBeenCalled());
    isAway = false;
    await vi.waitFor(
      async () => {
        const [row] = await influx.query(
          `SELECT count(seq) AS points, last(seq) AS last FROM telemetry WHERE device = '${device}' AND time > now() - 1h`,
        );
        expect(row).toMatchObject({ points: count, last: count });
      },
      { timeout: 15_000 },
    );
    expect(asked.mock.calls.length).toBeLessThan(20);
    expect(warn.mock.calls.length).toBeLessThan(20);
  });
});
