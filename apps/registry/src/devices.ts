import type {
  Device,
  DeviceId,
  DevicePage,
  DevicePatch,
  DeviceQuery,
  Evidence,
  FleetSummary,
  PresenceHistory,
  PresenceQuery,
  PresenceReason,
  PresenceState,
} from '@muster/contract';
import { isDeviceId, presenceStateSchema } from '@muster/contract';
import { Prisma, type PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';
import { deviceOf, explanationOf, type DeviceRow } from './device-view.ts';

/** Everything that a device's view needs, in one query: no row costs a query of its own. */
const DEVICE_VIEW = Prisma.sql`
  SELECT device.id, device.state, device.name, device.description, device.info, device.discovered_at, device.updated_at,
         device_activity.last_seen_at AS last_telemetry_at,
         (SELECT max(at) FROM presence_transition
          WHERE presence_transition.device = device.id AND reason <> 'will' AND evidence -> 'retained' = 'false') AS last_status_at,
         CASE WHEN presence.device IS NULL THEN NULL ELSE jsonb_build_object(
           'state', presence.state, 'reason', presence.reason,
           'since_ms', extract(epoch FROM presence.since) * 1000, 'session', presence.session,
           'wake_ms', extract(epoch FROM presence.wake_expected_at) * 1000, 'evidence', presence.evidence) END AS presence,
         coalesce((SELECT jsonb_object_agg(metric, jsonb_build_object(
             'value', coalesce(to_jsonb(number), to_jsonb(boolean), to_jsonb(text)), 'unit', unit,
             'at_ms', extract(epoch FROM at) * 1000))
           FROM last_reading WHERE last_reading.device = device.id), '{}'::jsonb) AS readings
  FROM device
  LEFT JOIN presence ON presence.device = device.id
  LEFT JOIN device_activity ON device_activity.device = device.id`;

function cursorOf(id: string): string {
  return Buffer.from(id).toString('base64url');
}

function idOf(cursor: string): string {
  const id = Buffer.from(cursor, 'base64url').toString('utf8');
  if (isDeviceId(id)) return id;
  throw new ProblemError(422, 'cursor: expected `next` of an earlier page');
}

/** The devices of the registry. */
export class Devices {
  constructor(private readonly database: PrismaClient) {}

  /** One page, in the order of ids; decommissioned and archived devices only where they are asked for. */
  async page(query: DeviceQuery): Promise<DevicePage> {
    const after = query.cursor === undefined ? '' : idOf(query.cursor);
    const conditions = [
      Prisma.sql`device.id COLLATE "C" > ${after}`,
      query.state === undefined
        ? Prisma.sql`device.state NOT IN ('decommissioned', 'archived')`
        : Prisma.sql`device.state = ${query.state}`,
      ...(query.presence === undefined ? [] : [Prisma.sql`coalesce(presence.state, 'unknown') = ${query.presence}`]),
    ];
    const rows = await this.database.$queryRaw<DeviceRow[]>`
      ${DEVICE_VIEW} WHERE ${Prisma.join(conditions, ' AND ')} ORDER BY device.id COLLATE "C" LIMIT ${query.limit + 1}`;
    const items = rows.slice(0, query.limit).map(deviceOf);
    const last = items.at(-1);
    return { items, next: rows.length > query.limit && last !== undefined ? cursorOf(last.id) : null };
  }

  /**
   * One device.
   * @throws ProblemError 404
   */
  async find(id: DeviceId): Promise<Device> {
    const [row] = await this.database.$queryRaw<DeviceRow[]>`${DEVICE_VIEW} WHERE device.id = ${id}`;
    if (row === undefined) throw new ProblemError(404, `no device ${id} has been heard or registered`);
    return deviceOf(row);
  }

  /**
   * How a device came to its presence, the newest change first.
   * @throws ProblemError 404
   */
  async presence(id: DeviceId, { limit, cursor }: PresenceQuery): Promise<PresenceHistory> {
    const { presence } = await this.find(id);
    const rows = await this.database.presenceTransition.findMany({
      where: { device: id, ...(cursor === undefined ? {} : { id: { lt: BigInt(cursor) } }) },
      orderBy: { id: 'desc' },
      take: limit + 1,
    });
    const page = rows.slice(0, limit);
    return {
      device: id,
      presence,
      history: page.map(({ at, from, to, reason, session, evidence }) => ({
        at: at.toISOString(),
        from: from as PresenceState,
        to: to as PresenceState,
        reason: reason as PresenceReason,
        explanation: explanationOf(reason as PresenceReason),
        session: session === null ? null : Number(session),
        evidence: evidence as Evidence,
      })),
      next: rows.length > limit ? String(page.at(-1)?.id) : null,
    };
  }

  /**
   * Changes what an operator may change; a discovered device becomes a registered one.
   * @throws ProblemError 404; 409 for a device that is gone
   */
  async patch(id: DeviceId, patch: DevicePatch): Promise<Device> {
    const { count } = await this.database.device.updateMany({
      where: { id, state: { in: ['discovered', 'registered'] } },
      data: {
        ...(patch.name === undefined ? {} : { name: patch.name }),
        ...(patch.description === undefined ? {} : { description: patch.description }),
        state: 'registered',
      },
    });
    if (count === 0) {
      const { state } = await this.find(id);
      throw new ProblemError(409, `${id} is ${state} and can no longer be changed`);
    }
    return this.find(id);
  }

  /** Counts over all devices that are not decommissioned. */
  async summary(): Promise<FleetSummary> {
    const rows = await this.database.$queryRaw<{ state: PresenceState; count: bigint }[]>`
      SELECT coalesce(presence.state, 'unknown') AS state, count(*) AS count
      FROM device LEFT JOIN presence ON presence.device = device.id
      WHERE device.state NOT IN ('decommissioned', 'archived') GROUP BY 1`;
    const counts = new Map(rows.map(({ state, count }) => [state, Number(count)]));
    const states = presenceStateSchema.options.map((state): [PresenceState, number] => [state, counts.get(state) ?? 0]);
    return {
      devices: states.reduce((sum, [, count]) => sum + count, 0),
      presence: Object.fromEntries(states) as Record<PresenceState, number>,
    };
  }
}
