import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from './client/client.ts';

/** A pool of connections to PostgreSQL through Prisma; `service` shows in pg_stat_activity. */
export function openDatabase(url: string, service: string, maxConnections = 5): PrismaClient {
  return new PrismaClient({
    adapter: new PrismaPg({
      connectionString: url,
      max: maxConnections,
      application_name: `muster-${service}`,
      connectionTimeoutMillis: 5_000,
    }),
  });
}
