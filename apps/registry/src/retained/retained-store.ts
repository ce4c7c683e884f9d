import {
  type DeviceId,
  type Ghost,
  type GhostCause,
  type Orphan,
  type OrphanQuery,
  type OrphanReason,
  type RetainedPage,
  type RetainedQuery,
  type RetainedTopic,
  type TopicMap,
} from '@muster/contract';
import { Prisma, type PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';
import { topicExpression, type LedgerEntry, type RecordedEntry } from './retained-ledger.ts';
import { ownersInService, type Claim } from './topic-ownership.ts';

/** A decommissioned device that the tombstone watch looks after. */
export interface WatchedDevice {
  readonly device: DeviceId;
  readonly topics: readonly string[];
  readonly verifiedAtMs: number;
}

/** How a ghost goes on record: `times` is added to what is there. */
export interface GhostRecord extends Pick<Ghost, 'device' | 'broker' | 'topic' | 'bytes' | 'sha256' | 'cause'> {
  readonly explanation: string;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly times: number;
  readonly clearedMs: number | null;
  readonly nextClearMs: number | null;
}

/** One orphan as the sweep takes it, whatever page it is on. */
export type OrphanFilter = Partial<Pick<OrphanQuery, 'broker'>> & { readonly allow?: readonly string[] };

interface RetainedRow {
  readonly broker: string;
  readonly topic: string;
  readonly device: string | null;
  readonly bytes: number;
  readonly sha256: string;
  readonly qos: number | null;
  readonly first_seen_at: Date;
  readonly last_seen_at: Date;
  readonly expires_at: Date | null;
}

/** One statement has at most so many rows: a parameter has a largest size. */
const MAX_ROWS = 5_000;
/** The saga has let go of these; before that it clears by itself, and its report says what. */
const LEFT_TO_WATCH = Prisma.sql`('verified', 'done')`;

/** The tables of the ledger and of ghosts, and what has to be known of devices to judge a topic. */
export class RetainedStore {
  constructor(
    private readonly database: PrismaClient,
    private readonly topicMap: TopicMap,
  ) {}

  /** Takes changes of one broker; null stands for a topic that was cleared. */
  async apply(broker: string, changes: ReadonlyMap<string, LedgerEntry | null>): Promise<void> {
    const all = [...changes];
    for (let at = 0; at < all.length; at += MAX_ROWS) {
      const batch = all.slice(at, at + MAX_ROWS);
      const gone = batch.flatMap(([topic, entry]) => (entry === null ? [topic] : []));
      const rows = batch.flatMap(([, entry]) => (entry === null ? [] : [entry]));
      await this.database.$executeRaw`
        WITH gone AS (
          DELETE FROM retained_topic WHERE broker = ${broker} AND topic = ANY(${gone}::text[])
        )
        INSERT INTO retained_topic (broker, topic, device, bytes, sha256, qos, first_seen_at, last_seen_at, expires_at)
        SELECT ${broker}, topic, device, bytes, sha256, qos, to_timestamp("seenAtMs" / 1000), to_timestamp("seenAtMs" / 1000),
               to_timestamp("expiresAtMs" / 1000)
        FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
          AS row(topic text, device text, bytes int, sha256 text, qos int, "seenAtMs" float8, "expiresAtMs" float8)
        ON CONFLICT (broker, topic) DO UPDATE SET
          device = excluded.device, bytes = excluded.bytes, last_seen_at = excluded.last_seen_at,
          expires_at = excluded.expires_at,
          qos = CASE WHEN excluded.qos IS NULL AND retained_topic.sha256 = excluded.sha256 THEN retained_topic.qos
                ELSE excluded.qos END,
          sha256 = excluded.sha256`;
    }
  }

  /** Forgets brokers that are no longer there. */
  async keepBrokers(names: readonly string[]): Promise<void> {
    await this.database.retainedTopic.deleteMany({ where: { broker: { notIn: [...names] } } });
  }

  /** All that is on record of a broker. */
  async recorded(broker: string): Promise<readonly RecordedEntry[]> {
    return this.database.retainedTopic.findMany({
      where: { broker },
      select: { topic: true, device: true, sha256: true },
    });
  }

  /** What is on record of some topics of a broker. */
  async recordedTopics(broker: string, topics: readonly string[]): Promise<readonly RecordedEntry[]> {
    return this.database.$queryRaw<RecordedEntry[]>`
      SELECT topic, device, sha256 FROM retained_topic WHERE broker = ${broker} AND topic = ANY(${[...topics]}::text[])`;
  }

  /** What is on record of a broker under some devices. */
  async recordedOf(broker: string, devices: readonly string[]): Promise<readonly RecordedEntry[]> {
    return this.database.retainedTopic.findMany({
      where: { broker, device: { in: [...devices] } },
      select: { topic: true, device: true, sha256: true },
    });
  }

  /** What is on record of a broker and no device's that is known. */
  async recordedOfNobody(broker: string): Promise<readonly RecordedEntry[]> {
    return this.database.$queryRaw<RecordedEntry[]>`
      SELECT topic, device, sha256 FROM retained_topic
      WHERE broker = ${broker} AND NOT EXISTS (SELECT 1 FROM device WHERE device.id = retained_topic.device)`;
  }

  /** Devices in the order of their ids, behind one. */
  async devicesAfter(id: string, limit: number): Promise<readonly DeviceId[]> {
    const rows = await this.database.$queryRaw<{ id: DeviceId }[]>`
      SELECT id FROM device WHERE id COLLATE "C" > ${id} ORDER BY id COLLATE "C" LIMIT ${limit}`;
    return rows.map((row) => row.id);
  }

  /** Devices that say they own topics. */
  async claims(): Promise<readonly Claim[]> {
    return this.database.$queryRaw<Claim[]>`
      SELECT id AS device, array(SELECT jsonb_array_elements_text(info -> 'topics')) AS topics,
             EXISTS (SELECT 1 FROM tombstone WHERE tombstone.device = device.id) AS "isTombstoned"
      FROM device WHERE jsonb_typeof(info -> 'topics') = 'array' AND info -> 'topics' <> '[]'::jsonb ORDER BY id`;
  }

  /** Decommissioned devices whose decommissioning is verified, with the topics that they said they owned. */
  async watched(): Promise<readonly WatchedDevice[]> {
    return this.database.$queryRaw<WatchedDevice[]>`
      SELECT tombstone.device,
             CASE WHEN jsonb_typeof(device.info -> 'topics') = 'array'
               THEN array(SELECT jsonb_array_elements_text(device.info -> 'topics')) ELSE '{}'::text[] END
             -- What it said of itself goes with its history; the report stays.
             || CASE WHEN jsonb_typeof(decommission.report -> 'filters') = 'array'
               THEN array(SELECT jsonb_array_elements_text(decommission.report -> 'filters')) ELSE '{}'::text[] END AS topics,
             extract(epoch FROM coalesce(decommission.verified_at, tombstone.created_at))::float8 * 1000 AS "verifiedAtMs"
      FROM tombstone
      JOIN decommission ON decommission.device = tombstone.device AND decommission.state IN ${LEFT_TO_WATCH}
      LEFT JOIN device ON device.id = tombstone.device`;
  }

  /** Which of these devices are watched as the database is now: a decommissioning can be undone. */
  async watchedAmong(devices: readonly DeviceId[]): Promise<ReadonlySet<string>> {
    const rows = await this.database.$queryRaw<{ device: string }[]>`
      SELECT tombstone.device FROM tombstone
      JOIN decommission ON decommission.device = tombstone.device AND decommission.state IN ${LEFT_TO_WATCH}
      WHERE tombstone.device = ANY(${[...new Set(devices)]}::text[])`;
    return new Set(rows.map(({ device }) => device));
  }

  /** See {@link ownersInService}. */
  async ownersInService(topics: readonly string[]): Promise<ReadonlyMap<string, readonly DeviceId[]>> {
    return ownersInService(this.database, this.topicMap, topics);
  }

  /** One page of the ledger. */
  async page({ broker, device, topic, limit, cursor }: RetainedQuery): Promise<RetainedPage> {
    const rows = await this.database.$queryRaw<RetainedRow[]>`
      SELECT * FROM retained_topic
      WHERE ${Prisma.join(
        [
          Prisma.sql`true`,
          ...after(cursor),
          ...(broker === undefined ? [] : [Prisma.sql`broker = ${broker}`]),
          ...(device === undefined ? [] : [Prisma.sql`device = ${device}`]),
          ...(topic === undefined ? [] : [Prisma.sql`topic ~ ${topicExpression(topic)}`]),
        ],
        ' AND ',
      )}
      ORDER BY topic COLLATE "C", broker COLLATE "C" LIMIT ${limit + 1}`;
    return { items: rows.slice(0, limit).map(retainedTopic), next: nextCursor(rows, limit) };
  }

  /** Orphans that stand behind a cursor, at most so many; what a device in service owns by name is left out. */
  async orphans(
    { broker, allow }: OrphanFilter,
    { limit, cursor }: Pick<OrphanQuery, 'limit' | 'cursor'>,
  ): Promise<{ readonly items: Orphan[]; readonly next: string | null }> {
    const rows = await this.database.$queryRaw<(RetainedRow & { reason: OrphanReason })[]>`
      SELECT * FROM (
        SELECT retained_topic.*, CASE WHEN retained_topic.device IS NULL THEN 'no-owner'
                 WHEN tombstone.device IS NULL THEN 'no-device' ELSE 'tombstoned' END AS reason
        FROM retained_topic
        LEFT JOIN device ON device.id = retained_topic.device
        LEFT JOIN tombstone ON tombstone.device = retained_topic.device
        LEFT JOIN decommission ON decommission.device = retained_topic.device
        WHERE (expires_at IS NULL OR expires_at > now())
          AND CASE WHEN tombstone.device IS NULL THEN device.id IS NULL
              ELSE decommission.state IN ${LEFT_TO_WATCH} END
      ) AS orphan
      WHERE ${Prisma.join(
        [
          Prisma.sql`true`,
          ...after(cursor),
          ...(broker === undefined ? [] : [Prisma.sql`broker = ${broker}`]),
          ...(allow === undefined ? [] : [Prisma.sql`topic ~ ANY(${allow.map(topicExpression)}::text[])`]),
        ],
        ' AND ',
      )}
      ORDER BY topic COLLATE "C", broker COLLATE "C" LIMIT ${limit + 1}`;
    const page = rows.slice(0, limit);
    const owners = await this.ownersInService(page.map(({ topic }) => topic));
    return {
      items: page
        .filter(({ topic }) => !owners.has(topic))
        .map((row) => ({ ...retainedTopic(row), reason: row.reason })),
      next: nextCursor(rows, limit),
    };
  }

  /** How many topics of each broker the ledger has, and how many of them have expired by our clock. */
  async counts(): Promise<ReadonlyMap<string, { readonly ledger: number; readonly expired: number }>> {
    const rows = await this.database.$queryRaw<{ broker: string; ledger: number; expired: number }[]>`
      SELECT broker, count(*) FILTER (WHERE expires_at IS NULL OR expires_at > now())::int AS ledger,
             count(*) FILTER (WHERE expires_at <= now())::int AS expired
      FROM retained_topic GROUP BY broker`;
    return new Map(rows.map(({ broker, ...counts }) => [broker, counts]));
  }

  /** Puts ghosts on record. */
  async recordGhosts(ghosts: readonly GhostRecord[]): Promise<void> {
    for (let at = 0; at < ghosts.length; at += MAX_ROWS)
      await this.database.$executeRaw`
        INSERT INTO ghost (device, broker, topic, bytes, sha256, first_seen_at, last_seen_at, times, cleared_at, cause,
                           explanation, next_clear_at)
        SELECT device, broker, topic, bytes, sha256, to_timestamp("firstSeenMs" / 1000), to_timestamp("lastSeenMs" / 1000),
               times, to_timestamp("clearedMs" / 1000), cause, explanation, to_timestamp("nextClearMs" / 1000)
        FROM jsonb_to_recordset(${JSON.stringify(ghosts.slice(at, at + MAX_ROWS))}::jsonb)
          AS row(device text, broker text, topic text, bytes int, sha256 text, "firstSeenMs" float8, "lastSeenMs" float8,
                 times int, "clearedMs" float8, cause text, explanation text, "nextClearMs" float8)
        ON CONFLICT (device, broker, topic) DO UPDATE SET
          bytes = excluded.bytes, sha256 = excluded.sha256, last_seen_at = excluded.last_seen_at,
          times = ghost.times + excluded.times, cleared_at = coalesce(excluded.cleared_at, ghost.cleared_at),
          cause = excluded.cause, explanation = excluded.explanation,
          next_clear_at = excluded.next_clear_at`;
  }

  /** Ghosts, those on record last first. */
  async ghosts(
    device: DeviceId | undefined,
    { limit, cursor }: { readonly limit: number; readonly cursor?: string | undefined },
  ): Promise<{ readonly items: Ghost[]; readonly next: string | null }> {
    const [before] = cursor === undefined ? [] : partsOf(cursor, 1);
    if (before !== undefined && !/^\d{1,18}$/.test(before)) throw refusedCursor();
    const rows = await this.database.ghost.findMany({
      where: {
        ...(device === undefined ? {} : { device }),
        ...(before === undefined ? {} : { id: { lt: BigInt(before) } }),
      },
      orderBy: { id: 'desc' },
      take: limit + 1,
    });
    const page = rows.slice(0, limit);
    return {
      items: page.map(({ id: _, firstSeenAt, lastSeenAt, clearedAt, nextClearAt, cause, ...row }) => ({
        ...row,
        device: row.device as DeviceId,
        cause: cause as GhostCause,
        firstSeenAt: firstSeenAt.toISOString(),
        lastSeenAt: lastSeenAt.toISOString(),
        clearedAt: clearedAt?.toISOString() ?? null,
        nextClearAt: nextClearAt?.toISOString() ?? null,
      })),
      next: rows.length > limit ? cursorOf([String(page.at(-1)?.id)]) : null,
    };
  }

  /**
   * That there is such a device.
   * @throws ProblemError 404
   */
  async mustKnow(device: DeviceId): Promise<void> {
    const rows = await this.database.$queryRaw<unknown[]>`
      SELECT 1 FROM device WHERE id = ${device} UNION ALL SELECT 1 FROM tombstone WHERE device = ${device}`;
    if (rows.length === 0) throw new ProblemError(404, `no device ${device} has been heard or registered`);
  }
}

function retainedTopic(row: RetainedRow): RetainedTopic {
  const { broker, topic, device, bytes, sha256, qos, first_seen_at, last_seen_at, expires_at } = row;
  return {
    ...{ broker, topic, device, bytes, sha256, qos },
    firstSeenAt: first_seen_at.toISOString(),
    lastSeenAt: last_seen_at.toISOString(),
    expiresAt: expires_at?.toISOString() ?? null,
    expired: expires_at !== null && expires_at.getTime() <= Date.now(),
  };
}

function after(cursor: string | undefined): readonly Prisma.Sql[] {
  if (cursor === undefined) return [];
  const [topic = '', broker = ''] = partsOf(cursor, 2);
  return [Prisma.sql`(topic COLLATE "C", broker COLLATE "C") > (${topic}, ${broker})`];
}

function nextCursor(rows: readonly Pick<RetainedRow, 'topic' | 'broker'>[], limit: number): string | null {
  const last = rows[limit - 1];
  return rows.length > limit && last !== undefined ? cursorOf([last.topic, last.broker]) : null;
}

function cursorOf(parts: readonly string[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

function refusedCursor(): ProblemError {
  return new ProblemError(422, 'cursor: expected `next` of an earlier page');
}

/** @throws ProblemError 422 */
function partsOf(cursor: string, count: number): readonly string[] {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw refusedCursor();
  }
  if (!Array.isArray(parts) || parts.length !== count) throw refusedCursor();
  if (!parts.every((part) => typeof part === 'string' && !part.includes('\0') && part.isWellFormed()))
    throw refusedCursor();
  return parts as string[];
}
