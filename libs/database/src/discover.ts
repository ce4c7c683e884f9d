import type { DeviceId } from '@muster/contract';
import type { PrismaClient } from './client/client.ts';

/** What discover() found out about an id. */
export interface Discovery {
  /** Ids that had no row before. */
  readonly created: readonly DeviceId[];
  /** Ids that must stay silent: no row was made. */
  readonly tombstoned: ReadonlySet<string>;
}

/**
 * Enters devices that were heard into the registry's table, unless they are tombstoned; the one write to that table
 * from outside the registry. Any number of services may call it for the same id at once.
 */
export async function discover(database: PrismaClient, ids: readonly DeviceId[]): Promise<Discovery> {
  if (ids.length === 0) return { created: [], tombstoned: new Set() };
  // In one order: services that hear of the same devices at the same time must not wait for each other.
  const created = await database.$queryRaw<{ id: DeviceId }[]>`
    WITH created AS (
      INSERT INTO device (id, updated_at)
      SELECT heard.id, now() FROM unnest(${ids as DeviceId[]}::text[]) AS heard(id)
      WHERE NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.device = heard.id)
      ORDER BY heard.id
      ON CONFLICT (id) DO NOTHING
      RETURNING id
    ), told AS (
      INSERT INTO event (kind, device, data) SELECT 'device', id, '{"change":"discovered"}' FROM created
    )
    SELECT id FROM created`;
  const tombstones = await database.tombstone.findMany({
    where: { device: { in: [...ids] } },
    select: { device: true },
  });
  return {
    created: created.map(({ id }) => id),
    tombstoned: new Set(tombstones.map(({ device }) => device)),
  };
}
