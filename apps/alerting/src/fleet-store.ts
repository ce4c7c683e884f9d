import type { PresenceState } from '@muster/contract';
import { Prisma, type LastValue, type PrismaClient } from '@muster/database';
import type { Loss } from './losses.ts';
import type { DeviceFacts } from './fleet-view.ts';

/** When a device was last heard with telemetry, by the clock of ingestion. */
export interface Heard {
  readonly device: string;
  readonly heardMs: number;
}

interface DeviceRow {
  readonly device: string;
  readonly state: PresenceState | null;
  readonly sinceMs: number | null;
  readonly broker: string | null;
  readonly wakeMs: number | null;
}

/** What other services have written and alerts look at; nothing here is written. */
export class FleetStore {
  constructor(private readonly database: PrismaClient) {}

  /** Devices that are in service, as they stand; of some of them, or of all. */
  async devices(only?: readonly string[]): Promise<ReadonlyMap<string, DeviceFacts>> {
    const condition = only === undefined ? Prisma.empty : Prisma.sql`AND device.id = ANY(${[...only]}::text[])`;
    const rows = await this.database.$queryRaw<DeviceRow[]>`
      SELECT device.id AS device, presence.state, extract(epoch FROM presence.since)::float8 * 1000 AS "sinceMs",
             coalesce(presence.evidence ->> 'broker', device_activity.broker, device.broker) AS broker,
             extract(epoch FROM presence.wake_expected_at)::float8 * 1000 AS "wakeMs"
      FROM device
      LEFT JOIN presence ON presence.device = device.id
      LEFT JOIN device_activity ON device_activity.device = device.id
      WHERE device.state NOT IN ('decommissioned', 'archived') ${condition}`;
    return new Map(
      rows.map(({ device, state, sinceMs, broker, wakeMs }) => [
        device,
        { state: state ?? 'unknown', sinceMs: sinceMs ?? 0, broker, wakeExpectedMs: wakeMs },
      ]),
    );
  }

  /** Devices that were put away: nobody is told of them. */
  async archived(): Promise<ReadonlySet<string>> {
    const rows = await this.database.device.findMany({ where: { state: 'archived' }, select: { id: true } });
    return new Set(rows.map(({ id }) => id));
  }

  /**
   * The last value of some metrics of every device, with when it was received. That is not on record: it is taken to
   * lie as long before the device's last message as it does by the device's own clock, which may be wrong.
   */
  async lastValues(metrics: readonly string[]): Promise<readonly (LastValue & Heard)[]> {
    if (metrics.length === 0) return [];
    return this.database.$queryRaw<(LastValue & Heard)[]>`
      SELECT wanted.device, wanted.metric,
             coalesce(to_jsonb(wanted.number), to_jsonb(wanted.boolean), to_jsonb(wanted.text)) AS value, wanted.unit,
             extract(epoch FROM wanted.at)::float8 * 1000 AS "atMs",
             extract(epoch FROM device_activity.last_seen_at - (newest.at - wanted.at))::float8 * 1000 AS "heardMs"
      FROM last_reading AS wanted
      JOIN device_activity ON device_activity.device = wanted.device
      JOIN (SELECT device, max(at) AS at FROM last_reading GROUP BY device) AS newest ON newest.device = wanted.device
      WHERE wanted.metric IN (${Prisma.join(metrics)})`;
  }

  /** Devices that were heard since a time. */
  async heardSince(since: Date): Promise<readonly Heard[]> {
    return this.database.$queryRaw<Heard[]>`
      SELECT device, extract(epoch FROM last_seen_at)::float8 * 1000 AS "heardMs"
      FROM device_activity WHERE last_seen_at >= ${since}`;
  }

  /** Losses of devices since a time, for those that flap. */
  async lossesSince(since: Date): Promise<readonly Loss[]> {
    return this.database.$queryRaw<Loss[]>`
      SELECT id, device, extract(epoch FROM at)::float8 * 1000 AS "atMs", evidence ->> 'broker' AS broker,
             coalesce((evidence ->> 'retained')::boolean, false) AS "isReplay"
      FROM presence_transition WHERE at >= ${since} AND "to" = 'lost' ORDER BY id`;
  }

  /** The newest change of presence. */
  async presencePosition(): Promise<bigint> {
    const { _max } = await this.database.presenceTransition.aggregate({ _max: { id: true } });
    return _max.id ?? 0n;
  }

  /** Telemetry that could not be used, counted by reason. */
  async deadLetters(): Promise<readonly { readonly reason: string; readonly count: number }[]> {
    return this.database.$queryRaw<{ reason: string; count: number }[]>`
      SELECT reason, sum(count)::float8 AS count FROM dead_letter GROUP BY reason`;
  }

  /** What automation asks to tell, after a position. */
  async noticesAfter(position: bigint): Promise<
    readonly {
      readonly id: bigint;
      readonly at: Date;
      readonly rule: string;
      readonly subject: string;
      readonly severity: string;
      readonly text: string;
    }[]
  > {
    return this.database.notice.findMany({ where: { id: { gt: position } }, orderBy: { id: 'asc' }, take: 1_000 });
  }
}
