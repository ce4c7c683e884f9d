import type {
  Device,
  DeviceId,
  DevicePage,
  DevicePatch,
  DeviceQuery,
  Evidence,
  FleetSummary,
  Incident,
  IncidentPage,
  PresenceHistory,
  PresenceQuery,
  PresenceReason,
  PresenceState,
} from '@muster/contract';
import { isDeviceId } from '@muster/contract';
import { appendEvents, Prisma, type PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';
import { BROKER_OF_DEVICE, SEARCHED_TABLES, searchCondition } from './device-search-sql.ts';
import { deviceOf, explanationOf, summaryOf, type CountRow, type DeviceRow } from './device-view.ts';

/** Everything that a device's view needs, in one query: no row costs a query of its own. */
const DEVICE_VIEW = Prisma.sql`
  SELECT device.id, device.state, device.name, device.description, device.info, device.discovered_at, device.updated_at,
         device.replaced_at, device.replacements,
         device.tags, array(SELECT own."group" FROM device_group_member AS own WHERE own.device = device.id
                            ORDER BY own."group" COLLATE "C") AS groups,
         device_activity.last_seen_at AS last_telemetry_at,
         CASE WHEN device_activity.device IS NULL THEN NULL ELSE jsonb_build_object(
           'broker', device_activity.broker, 'messages', device_activity.messages, 'bytes', device_activity.bytes,
           'lost', device_activity.lost, 'duplicates', device_activity.duplicates, 'dropped', device_activity.dropped,
           'runaway_ms', extract(epoch FROM device_activity.runaway_since) * 1000,
           'clockOffsetMs', device_activity.clock_offset_ms) END AS traffic,
         (SELECT max(at) FROM presence_transition
          WHERE presence_transition.device = device.id AND reason IN ('birth', 'shutdown', 'sleep', 'update') AND evidence -> 'retained' = 'false') AS last_status_at,
         CASE WHEN presence.device IS NULL THEN NULL ELSE jsonb_build_object(
           'state', presence.state, 'reason', presence.reason,
           'since_ms', extract(epoch FROM presence.since) * 1000, 'session', presence.session,
           'wake_ms', extract(epoch FROM presence.wake_expected_at) * 1000, 'evidence', presence.evidence,
           'flags', presence.flags) END AS presence,
         coalesce((SELECT jsonb_object_agg(metric, jsonb_build_object(
             'value', coalesce(to_jsonb(number), to_jsonb(boolean), to_jsonb(text)), 'unit', unit,
             'at_ms', extract(epoch FROM at) * 1000))
           FROM last_reading WHERE last_reading.device = device.id), '{}'::jsonb) AS readings
  FROM ${SEARCHED_TABLES}`;

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

  /**
   * One page, in the order of ids; decommissioned and archived devices only where they are asked for.
   * @throws ProblemError 422; ContractError `invalid-search`
   */
  async page(query: DeviceQuery): Promise<DevicePage> {
    const after = query.cursor === undefined ? '' : idOf(query.cursor);
    const conditions = [
      Prisma.sql`device.id COLLATE "C" > ${after}`,
      searchCondition(query.q ?? '', query.state),
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

  /** Brokers that were lost or started anew, the newest first. */
  async incidents({ limit, cursor }: PresenceQuery): Promise<IncidentPage> {
    const rows = await this.database.incident.findMany({
      ...(cursor === undefined ? {} : { where: { id: { lt: BigInt(cursor) } } }),
      ...{ orderBy: { id: 'desc' }, take: limit + 1 },
    });
    const page = rows.slice(0, limit);
    return {
      items: page.map(({ id, broker, kind, from, until, devices, lost }) => ({
        ...{ id: Number(id), broker, kind: kind as Incident['kind'], devices, lost },
        ...{ from: from.toISOString(), until: until?.toISOString() ?? null },
      })),
      next: rows.length > limit ? String(page.at(-1)?.id) : null,
    };
  }

  /**
   * Changes what an operator may change; a discovered device becomes a registered one.
   * @throws ProblemError 404; 409 for a device that is gone
   */
  async patch(id: DeviceId, patch: DevicePatch): Promise<Device> {
    const data = {
      ...(patch.name === undefined ? {} : { name: patch.name }),
      ...(patch.description === undefined ? {} : { description: patch.description }),
      ...(patch.tags === undefined ? {} : { tags: patch.tags }),
      state: 'registered',
    };
    const isChanged = await this.database.$transaction(async (transaction) => {
      const changed = await transaction.device.updateMany({ where: { id, state: 'registered' }, data });
      const registered =
        changed.count > 0 ? changed : await transaction.device.updateMany({ where: { id, state: 'discovered' }, data });
      if (registered.count === 0) return false;
      const change = changed.count > 0 ? 'changed' : 'registered';
      await appendEvents(transaction, [{ kind: 'device', device: id, data: { change } }]);
      return true;
    });
    if (!isChanged) {
      const { state } = await this.find(id);
      throw new ProblemError(409, `${id} is ${state} and can no longer be changed`);
    }
    return this.find(id);
  }

  /** Counts over all devices that are not decommissioned or archived, by their presence, groups and brokers. */
  async summary(): Promise<FleetSummary> {
    const [byBroker, byGroup] = await Promise.all([
      this.database.$queryRaw<CountRow[]>`
        SELECT ${BROKER_OF_DEVICE} AS name, coalesce(presence.state, 'unknown') AS state, count(*)::int AS count
        FROM ${SEARCHED_TABLES} WHERE device.state NOT IN ('decommissioned', 'archived') GROUP BY 1, 2`,
      this.database.$queryRaw<CountRow[]>`
        SELECT device_group.name, counted.state, coalesce(counted.count, 0)::int AS count
        FROM device_group FULL JOIN (
          SELECT own."group", coalesce(presence.state, 'unknown') AS state, count(*) AS count
          FROM ${SEARCHED_TABLES} LEFT JOIN device_group_member AS own ON own.device = device.id
          WHERE device.state NOT IN ('decommissioned', 'archived') GROUP BY 1, 2) AS counted
        ON counted."group" = device_group.name`,
    ]);
    return summaryOf(byBroker, byGroup);
  }
}
