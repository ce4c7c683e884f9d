import { isUnreachable, migrate } from '@muster/database';
import { postgresVariables, readConfiguration } from '@muster/service';
import type { Command } from 'commander';
import pRetry from 'p-retry';
import { z } from 'zod';
import { say, write, type OutputOptions } from './output.ts';
import { durationMs } from './up/settings.ts';

const RETRY_EVERY_MS = 500;

async function migrateWhenThere(waitMs: number, output: OutputOptions): Promise<void> {
  const { MUSTER_POSTGRES_URL } = readConfiguration(z.object(postgresVariables), process.env);
  const applied = await pRetry(() => migrate(MUSTER_POSTGRES_URL), {
    retries: Number.POSITIVE_INFINITY,
    maxRetryTime: waitMs,
    minTimeout: RETRY_EVERY_MS,
    factor: 1,
    shouldRetry: ({ error }) => waitMs > 0 && isUnreachable(error),
    onFailedAttempt: ({ error, attemptNumber }) => {
      if (waitMs > 0 && attemptNumber % 10 === 1) say(`waiting: ${error.message}`);
    },
  });
  if (output.json) write(JSON.stringify({ applied }));
  else write(applied.length === 0 ? 'the database is up to date' : `applied ${applied.join(', ')}`);
}

/** Adds `muster migrate` to the command line. */
export function addMigrateCommand(muster: Command): void {
  muster
    .command('migrate')
    .description('bring the database in MUSTER_POSTGRES_URL to the schema of this version')
    .option('--wait <duration>', 'how long to wait for a database that does not answer yet', durationMs, 0)
    .option('--json', 'print JSON on standard output', false)
    .action(async (options: OutputOptions & { readonly wait: number }) => {
      await migrateWhenThere(options.wait, options);
    });
}
