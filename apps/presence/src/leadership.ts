import { setTimeout as delay } from 'node:timers/promises';
import { ADVISORY_LOCKS, AdvisoryLock, Prisma, type PrismaClient } from '@muster/database';
import pRetry from 'p-retry';

/** Another presence process has become active: what this one decides is void. */
export class DeposedError extends Error {
  override readonly name = 'DeposedError';
  readonly code = 'deposed';

  constructor() {
    super('another presence process has become active; this one writes nothing more');
  }
}

/** While the lock is not held, it is asked so often whether another process has become active. */
const ASK_EVERY_MS = 1_000;

/** What happens to the active process. */
export interface LeadershipOptions {
  readonly url: string;
  readonly database: PrismaClient;
  /** Called when another process has become active. */
  readonly onDeposed: () => void;
  /** Called when the database cannot be asked; the active process goes on deciding meanwhile. */
  readonly onUncertain: (error: Error) => void;
}

/**
 * Which presence process is active: the one that holds an advisory lock, on a connection of its own. Each that becomes
 * active gets an epoch, on which its writes depend: one that was replaced without noticing writes nothing.
 */
export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #lock: AdvisoryLock;
  readonly #abort = new AbortController();
  #epoch: bigint | undefined;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#lock = new AdvisoryLock({
      ...{ url: options.url, key: ADVISORY_LOCKS.presenceLeader, name: 'muster-presence-leader' },
      onLost: () => void this.#lost(),
      onUnreachable: options.onUncertain,
    });
  }

  /** Whether this process is the active one, as far as it knows. */
  get isActive(): boolean {
    return this.#epoch !== undefined;
  }

  /** Waits, however long, until this process is the active one; false when it is closed first. */
  async acquire(): Promise<boolean> {
    try {
      await this.#lock.hold();
    } catch (error) {
      if (this.#abort.signal.aborted) return false;
      throw error;
    }
    const [row] = await this.#options.database.$queryRaw<{ epoch: bigint }[]>`
      INSERT INTO presence_leader (id, epoch, since) VALUES (1, 1, now())
      ON CONFLICT (id) DO UPDATE SET epoch = presence_leader.epoch + 1, since = now() RETURNING epoch`;
    if (row === undefined) throw new Error('PostgreSQL gave no epoch');
    this.#epoch = row.epoch;
    return true;
  }

  /**
   * Gives a row while this process is the active one, for a statement to depend on: a process that becomes active takes
   * its epoch behind this lock, or before it, and then there is no row. Each is a transaction of its own: whoever hangs
   * amid one would hold up its successor.
   */
  get held(): Prisma.Sql {
    return Prisma.sql`SELECT 1 FROM presence_leader WHERE epoch = ${this.#epoch ?? 0n} FOR SHARE`;
  }

  /** Takes that a write found {@link held} without a row, and answers what it ends with. */
  deposed(): DeposedError {
    this.#options.onDeposed();
    return new DeposedError();
  }

  /** Makes way: a process that stands by becomes active at once. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#lock.close();
  }

  /** The lock went with its connection. It is taken again, and holds if nobody else has become active meanwhile. */
  async #lost(): Promise<void> {
    const { onDeposed, onUncertain } = this.#options;
    onUncertain(new Error('the connection that makes this process the active one was lost'));
    const { signal } = this.#abort;
    const held = this.#lock.hold().then(() => true);
    held.catch(() => undefined);
    try {
      let isHeld = false;
      while (!(await this.#isDeposed())) {
        if (isHeld) return;
        // Whoever has become active holds the lock as long as it lives: it is not waited for.
        isHeld = await Promise.race([held, delay(ASK_EVERY_MS, false, { signal })]);
      }
      onDeposed();
    } catch (error) {
      if (!signal.aborted) onUncertain(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #isDeposed(): Promise<boolean> {
    const { database, onUncertain } = this.#options;
    const leader = await pRetry(() => database.presenceLeader.findUnique({ where: { id: 1 } }), {
      ...{ retries: Number.POSITIVE_INFINITY, minTimeout: 200, maxTimeout: 2_000, signal: this.#abort.signal },
      onFailedAttempt: ({ error }) => onUncertain(error),
    });
    return leader?.epoch !== this.#epoch;
  }
}
