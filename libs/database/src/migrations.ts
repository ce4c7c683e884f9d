import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { ADVISORY_LOCKS } from './advisory-lock.ts';
import type { PrismaClient } from './client/client.ts';
import { openSchemaEngine, type OpenSchemaEngine } from './schema-engine.ts';

/** The newest migration that this build knows: a service is ready only when the database has it. */
export const SCHEMA_VERSION = '20261123211000_ingestion_spool';

/** Held while migrations run, so that two migrating processes take turns. Any constant of our own does. */
const MIGRATION_LOCK = ADVISORY_LOCKS.migration;
const LOCK_TIMEOUT = '60s';
const UNFILTERED = { externalTables: [], externalEnums: [] };

/** The database could not be brought to the schema of this build. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly code = 'migration-failed';
}

function migrationsFolder(): string {
  const beside = path.join(import.meta.dirname, 'migrations');
  return existsSync(beside) ? beside : path.join(import.meta.dirname, '../prisma/migrations');
}

/** The migrations of this build, oldest first, in the form that the schema engine takes. */
export function readMigrations(): Parameters<OpenSchemaEngine['engine']['applyMigrations']>[0]['migrationsList'] {
  const folder = migrationsFolder();
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  return {
    baseDir: folder,
    lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' },
    shadowDbInitScript: '',
    migrationDirectories: names.map((name) => ({
      path: name,
      migrationFile: {
        path: 'migration.sql',
        content: { tag: 'ok', value: readFileSync(path.join(folder, name, 'migration.sql'), 'utf8') },
      },
    })),
  };
}

/**
 * Applies the migrations that the database does not have, one process at a time, and answers their names.
 * @throws MigrationError
 */
export async function migrate(url: string): Promise<readonly string[]> {
  const lock = new Client({ connectionString: url, application_name: 'muster-migrate' });
  // A server that goes away meanwhile fails the statement that runs; the event alone would end the process.
  lock.on('error', () => undefined);
  try {
    await lock.connect();
    await lock.query(`SET lock_timeout = '${LOCK_TIMEOUT}'`);
    await lock.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const { engine, close } = await openSchemaEngine(url);
    try {
      const { appliedMigrationNames } = await engine.applyMigrations({
        migrationsList: readMigrations(),
        filters: UNFILTERED,
      });
      return appliedMigrationNames;
    } finally {
      await close();
    }
  } catch (error) {
    throw new MigrationError(
      `the database could not be migrated: ${error instanceof Error ? error.message : String(error)}; nothing was changed by the step that failed`,
      { cause: error },
    );
  } finally {
    await lock.end();
  }
}

/** Codes of a connection that was not made, and of a server that is starting (PostgreSQL, appendix A, class 57P). */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'ECONNRESET',
  'EHOSTUNREACH',
  '57P03',
]);

/** Whether a migration failed because the database did not answer, which waiting may mend. */
export function isUnreachable(error: unknown): boolean {
  const cause = error instanceof MigrationError ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return typeof code === 'string' && UNREACHABLE.has(code);
}

/** Whether the database has the schema that this build needs; false also where it has no migrations at all. */
export async function schemaIsCurrent(database: PrismaClient): Promise<boolean> {
  const [table] = await database.$queryRaw<
    { present: boolean }[]
  >`SELECT to_regclass('_prisma_migrations') IS NOT NULL AS present`;
  if (table?.present !== true) return false;
  const rows = await database.$queryRaw<unknown[]>`
    SELECT 1 FROM _prisma_migrations WHERE migration_name = ${SCHEMA_VERSION} AND finished_at IS NOT NULL AND rolled_back_at IS NULL`;
  return rows.length > 0;
}

/** Resolves when the database has the schema of this build; `onWaiting` gets, now and then, what is still missing. */
export async function waitForSchema(database: PrismaClient, onWaiting: (reason: string) => void): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    let reason = `the migration ${SCHEMA_VERSION} has not been applied; run "muster migrate"`;
    try {
      if (await schemaIsCurrent(database)) return;
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
    if (attempt % 10 === 0) onWaiting(reason);
    await delay(500);
  }
}
