import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { ChannelFollower } from './channel.ts';
import type { PrismaClient } from './client/client.ts';

/** The channel on which the registry tells of new tombstones. */
export const TOMBSTONE_CHANNEL = 'muster_tombstone';

/** A service that has not told for so long what it has applied does not run; they tell at least every 5 s. */
const LIVE_SECONDS = 15;
const WAIT_POLL_MS = 50;

/** The tombstoned ids in memory, so that no message costs a query; it tells the registry what it has applied. */
export class TombstoneSet {
  readonly #devices = new Set<string>();
  readonly #follower: ChannelFollower;
  /** Resolves when all tombstones have been read for the first time; never rejects. */
  readonly whenKnown: Promise<void>;
  #tellKnown = (): void => undefined;
  #version = 0n;

  constructor(
    private readonly service: string,
    private readonly database: PrismaClient,
    url: string,
    onError: (error: Error) => void,
  ) {
    this.whenKnown = new Promise((resolve) => (this.#tellKnown = resolve));
    this.#follower = new ChannelFollower({ url, channel: TOMBSTONE_CHANNEL, refresh: () => this.#load(), onError });
  }

  /** Whether the device must stay silent. */
  has(device: string): boolean {
    // Asked for every message, and most fleets have none.
    return this.#devices.size > 0 && this.#devices.has(device);
  }

  /** The newest tombstone that has been applied. */
  get version(): bigint {
    return this.#version;
  }

  /** Loads all tombstones and begins to follow them; resolves when they are known. */
  async start(): Promise<void> {
    await this.#load();
    await this.#follower.start();
  }

  /** Stops following; nobody waits for this service any more. */
  async close(): Promise<void> {
    await this.#follower.close();
    // Where that fails it is waited for until it has been silent for long enough.
    await this.database.tombstoneConsumer.deleteMany({ where: { consumer: this.#consumer } }).catch(() => undefined);
  }

  get #consumer(): string {
    return `${this.service}@${hostname()}`;
  }

  /** Everything each time: an undone decommissioning takes its tombstone away, and the set is small. */
  async #load(): Promise<void> {
    const [clock] = await this.database.$queryRaw<{ now: string }[]>`SELECT clock_timestamp()::text AS now`;
    const rows = await this.database.tombstone.findMany({ select: { device: true, version: true } });
    const present = new Set(rows.map(({ device }) => device));
    for (const device of this.#devices) if (!present.has(device)) this.#devices.delete(device);
    for (const { device, version } of rows) {
      this.#devices.add(device);
      if (version > this.#version) this.#version = version;
    }
    this.#tellKnown();
    // Behind the reading: what was committed before it began is applied now.
    await this.database.$executeRaw`
      INSERT INTO tombstone_consumer (consumer, applied_at) VALUES (${this.#consumer}, ${clock?.now}::timestamptz)
      ON CONFLICT (consumer) DO UPDATE SET applied_at = excluded.applied_at`;
  }
}

/** Whether a service that runs has applied a tombstone. */
export interface TombstoneConsumer {
  readonly service: string;
  readonly applied: boolean;
}

/**
 * Which services that run have applied all tombstones that are committed by now; waits for those that have not, for so
 * long.
 */
export async function whenTombstonesApplied(
  database: PrismaClient,
  limitMs: number,
): Promise<readonly TombstoneConsumer[]> {
  const [clock] = await database.$queryRaw<{ now: string }[]>`SELECT clock_timestamp()::text AS now`;
  // Who has heard of them at their commit has begun to read before now, and would tell so only with the next poll.
  await database.$executeRaw`SELECT pg_notify(${TOMBSTONE_CHANNEL}, '')`;
  const deadlineMs = Date.now() + limitMs;
  for (;;) {
    const consumers = await database.$queryRaw<TombstoneConsumer[]>`
      SELECT consumer AS service, applied_at >= ${clock?.now}::timestamptz AS applied FROM tombstone_consumer
      WHERE applied_at > clock_timestamp() - make_interval(secs => ${LIVE_SECONDS}) ORDER BY consumer`;
    if (consumers.every(({ applied }) => applied) || Date.now() >= deadlineMs) return consumers;
    await delay(WAIT_POLL_MS);
  }
}
