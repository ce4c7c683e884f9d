import type { FleetEvent } from '@muster/contract';
import type { Prisma, PrismaClient } from './client/client.ts';

/** The channel on which the database tells of new rows in event. */
export const EVENT_CHANNEL = 'muster_event';

type Described<Event> = Event extends { kind: 'presence' } ? never : Omit<Event, 'id' | 'at'>;

/** An event that is to be put on record; presence writes its own together with the transitions. */
export type NewEvent = Described<FleetEvent>;

/** Puts events on record; part of the transaction that makes the change, in their order. */
export function appendEvents(
  transaction: Pick<PrismaClient, '$executeRaw'>,
  events: readonly NewEvent[],
): Prisma.PrismaPromise<number> {
  return transaction.$executeRaw`
    INSERT INTO event (kind, device, data)
    SELECT kind, device, data
    FROM jsonb_to_recordset(${JSON.stringify(events)}::jsonb) AS row(kind text, device text, data jsonb)`;
}

/** A place in the order in which events are read: behind the event with this transaction and number. */
export interface EventPosition {
  readonly xid: bigint;
  readonly id: bigint;
}

/** An event as it is on record. */
export interface EventRow {
  readonly position: EventPosition;
  readonly at: Date;
  readonly kind: FleetEvent['kind'];
  readonly device: string | null;
  readonly data: Prisma.JsonObject;
}

/** Only events of these kinds and devices; empty sets are everything. */
export interface EventFilter {
  readonly kinds: ReadonlySet<string>;
  readonly devices: ReadonlySet<string>;
}

interface StoredEvent {
  readonly id: bigint;
  readonly xid: string;
  readonly at: Date;
  readonly kind: FleetEvent['kind'];
  readonly device: string | null;
  readonly data: Prisma.JsonObject;
}

// Ordered by event.xid: the name alone means the text that is selected, and there 1000 comes before 999.
function rowOf({ id, xid, ...rest }: StoredEvent): EventRow {
  return { position: { xid: BigInt(xid), id }, ...rest };
}

/** Whether one place is behind another. */
export function isBehind(one: EventPosition, other: EventPosition): boolean {
  return one.xid > other.xid || (one.xid === other.xid && one.id > other.id);
}

/** News of the outbox. */
export interface EventPage {
  readonly rows: readonly EventRow[];
  /** Whether there are events that cannot be read yet, because a transaction that began before them still runs. */
  readonly areMoreHidden: boolean;
}

/**
 * The events behind a place, at most so many, that nothing can come before any more. Numbers are given when a row is
 * written and not when it is committed: who reads by them alone never sees what a slow transaction commits late. So
 * events are read by the horizon: only those of transactions that are older than any that still runs, in their order.
 */
export async function eventsBehind(database: PrismaClient, after: EventPosition, limit: number): Promise<EventPage> {
  // Before they are read: what becomes readable between the two was hidden, and is looked for again.
  const [hidden] = await database.$queryRaw<{ present: boolean }[]>`
    SELECT EXISTS (SELECT 1 FROM event WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())) AS present`;
  const stored = await database.$queryRaw<StoredEvent[]>`
    SELECT id, xid::text, at, kind, device, data FROM event
    WHERE (xid, id) > (${String(after.xid)}::xid8, ${after.id}) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY event.xid, event.id LIMIT ${limit}`;
  return { rows: stored.map(rowOf), areMoreHidden: hidden?.present === true };
}

/** The events between two places (the second one included) that pass a filter, at most so many. */
export async function eventsBetween(
  database: PrismaClient,
  after: EventPosition,
  upTo: EventPosition,
  { kinds, devices }: EventFilter,
  limit: number,
): Promise<readonly EventRow[]> {
  const stored = await database.$queryRaw<StoredEvent[]>`
    SELECT id, xid::text, at, kind, device, data FROM event
    WHERE (xid, id) > (${String(after.xid)}::xid8, ${after.id}) AND (xid, id) <= (${String(upTo.xid)}::xid8, ${upTo.id})
      AND (${kinds.size === 0} OR kind = ANY(${[...kinds]}::text[]))
      AND (${devices.size === 0} OR device = ANY(${[...devices]}::text[]))
    ORDER BY event.xid, event.id LIMIT ${limit}`;
  return stored.map(rowOf);
}

/** The newest event that can be read; the very beginning where there is none. */
export async function newestEvent(database: PrismaClient): Promise<EventPosition> {
  const [newest] = await database.$queryRaw<{ id: bigint; xid: string }[]>`
    SELECT id, xid::text FROM event WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY event.xid DESC, event.id DESC LIMIT 1`;
  return newest === undefined ? { xid: 0n, id: 0n } : { xid: BigInt(newest.xid), id: newest.id };
}

/**
 * Whether everything behind a place is still on record: the event there is, and not so old that later ones may be gone.
 * The very beginning is such a place until something was removed. Where the database was restored from a copy, events
 * of before have numbers of transactions that are yet to come: nothing would ever be behind them.
 */
export async function isOnRecord(database: PrismaClient, { xid, id }: EventPosition, keptMs: number): Promise<boolean> {
  const rows =
    id === 0n
      ? await database.$queryRaw<unknown[]>`SELECT 1 WHERE coalesce((SELECT min(id) FROM event), 1) = 1`
      : await database.$queryRaw<unknown[]>`
          SELECT 1 FROM event
          WHERE id = ${id} AND xid = ${String(xid)}::xid8 AND xid < pg_snapshot_xmin(pg_current_snapshot())
            AND (at > now() - make_interval(secs => ${keptMs / 1_000}::float8) OR id = (SELECT max(id) FROM event))`;
  return rows.length > 0;
}
