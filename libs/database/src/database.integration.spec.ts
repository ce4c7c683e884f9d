import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { deviceId } from '@muster/contract';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { openDatabase } from './database.ts';
import { discover } from './discover.ts';
import {
  migrate,
  MigrationError,
  readMigrations,
  SCHEMA_VERSION,
  schemaIsCurrent,
  waitForSchema,
} from './migrations.ts';
import { openSchemaEngine } from './schema-engine.ts';
import { TOMBSTONE_CHANNEL, TombstoneSet } from './tombstones.ts';

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

async function emptyDatabase(): Promise<string> {
  const url = new URL(inject('engines').postgresUrl);
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await query(url.href, `CREATE DATABASE ${name}`);
  url.pathname = `/${name}`;
  return url.href;
}

describe('migrations on a real PostgreSQL', () => {
  it('bring an empty database to the schema of this build, once, also when two processes run them at the same time', async () => {
    const url = await emptyDatabase();
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
    const [migrated, modelled] = [await emptyDatabase(), await emptyDatabase()];
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

describe('discovery and tombstones on a real PostgreSQL', () => {
  let url = '';
  let database: ReturnType<typeof openDatabase>;
  beforeAll(async () => {
    url = await emptyDatabase();
    await migrate(url);
    database = openDatabase(url, 'test');
  });
  afterAll(() => database.$disconnect());

  it('enters a device once, from any number of services at the same time', async () => {
    const id = deviceId('heard-by-all');
    const results = await Promise.all(Array.from({ length: 8 }, () => discover(database, [id])));
    expect(results.flatMap(({ created }) => created)).toEqual([id]);
    expect(await database.device.findUnique({ where: { id } })).toMatchObject({ state: 'discovered' });
  });

  it('R12 enters no tombstoned device', async () => {
    await database.tombstone.create({ data: { device: 'buried' } });
    const { created, tombstoned } = await discover(database, [deviceId('buried'), deviceId('alive')]);
    expect(created).toEqual(['alive']);
    expect([...tombstoned]).toEqual(['buried']);
  });

  it('knows of a new tombstone as soon as it is told, and of one that was taken away', async () => {
    const set = new TombstoneSet(database, url, (error) => {
      throw error;
    });
    await set.start();
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
});
