import type { DigestReading, Evidence, PresenceReason, PresenceState } from '@muster/contract';
import { ChannelFollower } from './channel.ts';
import { Prisma, type PrismaClient } from './client/client.ts';

/** The channel on which presence tells of new rows in presence_transition. */
export const PRESENCE_CHANNEL = 'muster_presence';

/** A change of presence as it is on record. */
export interface PresenceEvent {
  /** Grows with every change of any device. */
  readonly id: bigint;
  readonly device: string;
  readonly atMs: number;
  readonly from: PresenceState;
  readonly to: PresenceState;
  readonly reason: PresenceReason;
  readonly evidence: Evidence;
}

/** How every device stands, and the newest change that this includes. */
export interface PresenceSnapshot {
  readonly position: bigint;
  readonly states: readonly { readonly device: string; readonly state: PresenceState }[];
}

/** How every device stands at one moment: what is changed later comes behind its position. */
export async function presenceSnapshot(database: PrismaClient): Promise<PresenceSnapshot> {
  const [{ _max: newest }, states] = await database.$transaction(
    [
      database.presenceTransition.aggregate({ _max: { id: true } }),
      database.presence.findMany({ select: { device: true, state: true } }),
    ],
    { isolationLevel: 'RepeatableRead' },
  );
  return {
    position: newest.id ?? 0n,
    states: states.map(({ device, state }) => ({ device, state: state as PresenceState })),
  };
}

const PAGE = 5_000;
/** A fleet that comes and goes tells of it some forty times a second. */
const REST_MS = 100;

/** Follows the changes of presence, in the order in which they were recorded, none of them twice. */
export class PresenceFeed {
  readonly #follower: ChannelFollower;
  #last = 0n;

  constructor(
    private readonly database: PrismaClient,
    url: string,
    private readonly onChanges: (changes: readonly PresenceEvent[]) => void,
    onError: (error: Error) => void,
  ) {
    this.#follower = new ChannelFollower({
      ...{ url, channel: PRESENCE_CHANNEL, refresh: () => this.#read(), restMs: REST_MS, onError },
    });
  }

  /** The newest change that has been told. */
  get position(): bigint {
    return this.#last;
  }

  /** The newest change on record; to begin behind it later, when everything else is known. */
  async newest(): Promise<bigint> {
    return (await this.database.presenceTransition.aggregate({ _max: { id: true } }))._max.id ?? 0n;
  }

  /** Begins behind a change. */
  async start(after: bigint): Promise<void> {
    this.#last = after;
    await this.#follower.start();
    this.#follower.refresh();
  }

  /** Stops following. */
  async close(): Promise<void> {
    await this.#follower.close();
  }

  async #read(): Promise<void> {
    for (;;) {
      const rows = await this.database.presenceTransition.findMany({
        where: { id: { gt: this.#last } },
        orderBy: { id: 'asc' },
        take: PAGE,
      });
      const newest = rows.at(-1);
      if (newest === undefined) return;
      this.onChanges(
        rows.map(({ id, device, at, from, to, reason, evidence }) => ({
          id,
          device,
          atMs: at.getTime(),
          from: from as PresenceState,
          to: to as PresenceState,
          reason: reason as PresenceReason,
          evidence: evidence as Evidence,
        })),
      );
      this.#last = newest.id;
      if (rows.length < PAGE) return;
    }
  }
}

/** A last value; what the digest carries without the circumstances of its way. */
export type LastValue = Omit<DigestReading, 'qos' | 'late'>;

/** The last value of some metrics of every device, for whoever has missed readings of the digest. */
export async function lastValues(database: PrismaClient, metrics: readonly string[]): Promise<readonly LastValue[]> {
  if (metrics.length === 0) return [];
  return database.$queryRaw<LastValue[]>`
    SELECT device, metric, coalesce(to_jsonb(number), to_jsonb(boolean), to_jsonb(text)) AS value, unit,
           extract(epoch FROM at)::float8 * 1000 AS "atMs"
    FROM last_reading WHERE metric IN (${Prisma.join(metrics)})`;
}
