import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { deviceId } from '@muster/contract';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { openDatabase } from './database.ts';
import { discover } from './discover.ts';
import { emptyDatabase, freshDatabase } from './fresh-database.ts';
import {
  migrate,
  MigrationError,
  readMigrations,
  SCHEMA_VERSION,
  schemaIsCurrent,
  waitForSchema,
} from './migrations.ts';
import { openSchemaEngine } from './schema-engine.ts';
import { TOMBSTONE_CHANNEL, TombstoneSet, whenTombstonesApplied } from './tombstones.ts';

const COLUMNS = `SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
  WHERE table_schema = 'public' AND table_name <> '_prisma_migrations' ORDER BY 1, 2`;
const INDEXES = `SELECT indexdef FROM pg_indexes
  WHERE schemaname = 'public' AND tablename <> '_prisma_migrations' ORDER BY 1`;

async function query(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('migrations on a real PostgreSQL', () => {
  it('bring an empty database to the schema of this build, once, also when two processes run them at the same time', async () => {
    const url = await emptyDatabase(inject('engines').postgresUrl);
    const database = openDatabase(url, 'test');
    expect(await schemaIsCurrent(database)).toBe(false);
    const waiting = vi.fn();
    const ready = waitForSchema(database, waiting);
    const applied = await Promise.all([migrate(url), migrate(url)]);
    expect(applied.map((names) => names.length).sort()).toEqual([0, readMigrations().migrationDirectories.length]);
    await ready;
    expect(waiting).toHaveBeenCalledWith(expect.stringContaining(SCHEMA_VERSION));
    await database.$disconnect();
  });

  it('lead to exactly the data model', async () => {
    const folder = path.join(import.meta.dirname, '../prisma/schema');
    const files = readdirSync(folder).map((file) => ({
      path: file,
      content: readFileSync(path.join(folder, file), 'utf8'),
    }));
    const { postgresUrl } = inject('engines');
    const [migrated, modelled] = [await emptyDatabase(postgresUrl), await emptyDatabase(postgresUrl)];
    await migrate(migrated);
    const { engine, close } = await openSchemaEngine(
      modelled,
      files.map(({ path: file, content }) => [file, content]),
    );
    const { stdout } = await engine.diff({
      from: { tag: 'empty' },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: null,
      filters: { externalTables: [], externalEnums: [] },
    });
    await close();
    await query(modelled, stdout ?? '');
    for (const catalog of [COLUMNS, INDEXES]) {
      const expected = await query(modelled, catalog);
      expect(expected.length).toBeGreaterThan(5);
      expect(await query(migrated, catalog)).toEqual(expected);
    }
  });

  it('end with the newest one that the build names', () => {
    expect(readMigrations().migrationDirectories.at(-1)?.path).toBe(SCHEMA_VERSION);
  });

  it('say what went wrong when the database cannot be reached', async () => {
    await expect(migrate('postgresql://nobody:nothing@127.0.0.1:9/none')).rejects.toThrow(MigrationError);
  });
});

describe('the views for dashboards', () => {
  let url = '';
  beforeAll(async () => {
    url = await freshDatabase(inject('engines').postgresUrl);
  });

  it('show these columns and no other: a column of a table is in no view until somebody puts it there', async () => {
    const columns = await query(
      url,
      `SELECT table_name AS view, string_agg(column_name, ' ' ORDER BY ordinal_position) AS columns
       FROM information_schema.columns WHERE table_schema = 'grafana' GROUP BY 1 ORDER BY 1`,
    );
    expect(columns).toEqual([
      { view: 'dead_letter', columns: 'device reason topic detail payload_size count first_at last_at' },
      {
        view: 'decommission',
        columns: 'device life state requested_at verified_at brokers cleared still_retained kept',
      },
      {
        view: 'device',
        columns:
          'id name state in_service presence reason since wake_expected_at rule last_seen_at messages model firmware broker discovered_at',
      },
      { view: 'last_reading', columns: 'device metric number boolean text value unit at' },
      { view: 'presence_count', columns: 'presence devices' },
      {
        view: 'presence_transition',
        columns: 'id at device name in_service from to reason broker topic rule',
      },
    ]);
  });

  it('are the only thing in their schema, and each says what it shows', async () => {
    const relations = await query(
      url,
      `SELECT relname, relkind, obj_description(oid) AS comment FROM pg_class WHERE relnamespace = 'grafana'::regnamespace`,
    );
    expect(relations).toHaveLength(6);
    for (const relation of relations)
      expect(relation).toMatchObject({ relkind: 'v', comment: expect.stringMatching(/\.$/) });
  });

  it('are all that a reader needs: with no right on a table it reads every view and no table', async () => {
    const role = `reader_${randomUUID().replaceAll('-', '')}`;
    const as = async (sql: string): Promise<unknown> => query(url, `SET ROLE ${role}; ${sql}`);
    await query(
      url,
      `CREATE ROLE ${role}; GRANT USAGE ON SCHEMA grafana TO ${role}; GRANT SELECT ON ALL TABLES IN SCHEMA grafana TO ${role}`,
    );
    try {
      const views = ['dead_letter', 'decommission', 'device', 'last_reading', 'presence_count', 'presence_transition'];
      for (const view of views) await as(`SELECT * FROM grafana.${view}`);
      for (const table of ['device', 'dead_letter', 'presence', 'decommission'])
        await expect(as(`SELECT * FROM public.${table}`), table).rejects.toThrow(/permission denied/);
      await expect(as(`UPDATE grafana.dead_letter SET count = 0`)).rejects.toThrow(/permission denied/);
    } finally {
      await query(url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  it('count every presence state, also where there is no device', async () => {
    const database = openDatabase(url, 'test');
    await database.device.create({ data: { id: 'lone' } });
    await database.device.create({ data: { id: 'gone', state: 'decommissioned' } });
    await database.$disconnect();
    expect(await query(url, 'SELECT presence, devices::int FROM grafana.presence_count ORDER BY 2 DESC, 1')).toEqual([
      { presence: 'unknown', devices: 1 },
      ...['asleep', 'lost', 'offline', 'online', 'stale'].map((presence) => ({ presence, devices: 0 })),
    ]);
  });
});

describe('discovery and tombstones on a real PostgreSQL', () => {
  let url = '';
  let database: ReturnType<typeof openDatabase>;
  beforeAll(async () => {
    url = await freshDatabase(inject('engines').postgresUrl);
    database = openDatabase(url, 'test');
  });
  afterAll(() => database.$disconnect());

  it('enters a device once, from any number of services at the same time', async () => {
    const id = deviceId('heard-by-all');
    const results = await Promise.all(Array.from({ length: 8 }, () => discover(database, [id])));
    expect(results.flatMap(({ created }) => created)).toEqual([id]);
    expect(await database.device.findUnique({ where: { id } })).toMatchObject({ state: 'discovered' });
  });

  it('discovers a fleet once that several services hear of at the same time, each in another order', async () => {
    for (let time = 0; time < 5; time += 1) {
      const fleet = Array.from({ length: 2_000 }, (_, index) => deviceId(`fleet-${time}-${index}`));
      const found = await Promise.all([discover(database, fleet), discover(database, [...fleet].reverse())]);
      expect(found.flatMap(({ created }) => created)).toHaveLength(2_000);
    }
  });

  it('R12 enters no tombstoned device', async () => {
    await database.tombstone.create({ data: { device: 'buried' } });
    const { created, tombstoned } = await discover(database, [deviceId('buried'), deviceId('alive')]);
    expect(created).toEqual(['alive']);
    expect([...tombstoned]).toEqual(['buried']);
  });

  it('knows of a new tombstone as soon as it is told, and of one that was taken away', async () => {
    const set = new TombstoneSet('specification', database, url, (error) => {
      throw error;
    });
    await set.start();
    await set.whenKnown;
    expect(set.has('zombie')).toBe(false);
    const before = set.version;
    await database.tombstone.create({ data: { device: 'zombie' } });
    await database.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, 'zombie')`;
    await vi.waitFor(() => expect(set.has('zombie')).toBe(true), { timeout: 2_000 });
    expect(set.version).toBeGreaterThan(before);
    await database.tombstone.delete({ where: { device: 'zombie' } });
    await database.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, 'zombie')`;
    await vi.waitFor(() => expect(set.has('zombie')).toBe(false), { timeout: 2_000 });
    await set.close();
  });

  it('says which of the services that run have applied every tombstone, and forgets one that has left', async () => {
    const set = new TombstoneSet('specification', database, url, (error) => {
      throw error;
    });
    await set.start();
    await database.$executeRaw`
      INSERT INTO tombstone_consumer (consumer, applied_at)
      VALUES ('hung@here', clock_timestamp()), ('gone@here', clock_timestamp() - interval '1 minute')`;
    await database.tombstone.create({ data: { device: 'told' } });
    expect(await whenTombstonesApplied(database, 1_000)).toEqual([
      { service: 'hung@here', applied: false },
      { service: expect.stringMatching(/^specification@/) as string, applied: true },
    ]);
    await set.close();
    expect((await whenTombstonesApplied(database, 0)).map(({ service }) => service)).toEqual(['hung@here']);
  });
});
