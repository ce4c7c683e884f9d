import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from './client/client.ts';
import { connectionOptions, STATEMENT_LIMIT_MS, statementLimit } from './connection.ts';

/**
 * A pool of connections to PostgreSQL through Prisma; `service` shows in pg_stat_activity. A statement that takes longer
 * than its limit fails.
 */
export function openDatabase(
  url: string,
  service: string,
  maxConnections = 5,
  statementLimitMs = STATEMENT_LIMIT_MS,
): PrismaClient {
  return new PrismaClient({
    adapter: new PrismaPg({
      ...connectionOptions(url, `muster-${service}`),
      ...statementLimit(statementLimitMs),
      max: maxConnections,
    }),
  });
}
