import { setTimeout as delay } from 'node:timers/promises';
import { ADVISORY_LOCKS, AdvisoryLock, type Prisma, type PrismaClient } from '@muster/database';
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

/**
 * What a transaction of the active process begins with: a process that becomes active takes its epoch behind this lock,
 * or before it, and then nothing of the transaction is done.
 * @throws DeposedError
 */
export async function requireActive(transaction: Prisma.TransactionClient, epoch: bigint): Promise<void> {
  const held = await transaction.$queryRaw<unknown[]>`
    SELECT 1 FROM presence_leader WHERE epoch = ${epoch} FOR SHARE`;
  if (held.length === 0) throw new DeposedError();
}

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

  /** Waits, however long, until this process is the active one, and answers its epoch; undefined when it is closed first. */
  async acquire(): Promise<bigint | undefined> {
    try {
      await this.#lock.hold();
    } catch (error) {
      if (this.#abort.signal.aborted) return undefined;
      throw error;
    }
    const [row] = await this.#options.database.$queryRaw<{ epoch: bigint }[]>`
      INSERT INTO presence_leader (id, epoch, since) VALUES (1, 1, now())
      ON CONFLICT (id) DO UPDATE SET epoch = presence_leader.epoch + 1, since = now() RETURNING epoch`;
    if (row === undefined) throw new Error('PostgreSQL gave no epoch');
    this.#epoch = row.epoch;
    return row.epoch;
  }

  /** Makes way: a process that stands by becomes active at once. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#lock.close();
  }

  /** The lock went with its connection. It is taken again, and holds if nobody else has become active meanwhile. */
  async #lost(): Promise<void> {
    const { database, onDeposed, onUncertain } = this.#options;
    onUncertain(new Error('the connection that makes this process the active one was lost'));
    const { signal } = this.#abort;
    try {
      const held = this.#lock.hold().then(() => true);
      // Whoever has become active holds the lock as long as it lives: it is not waited for.
      for (let isHeld = false; ; isHeld = await Promise.race([held, delay(ASK_EVERY_MS, false, { signal })])) {
        const leader = await pRetry(() => database.presenceLeader.findUnique({ where: { id: 1 } }), {
          ...{ retries: Number.POSITIVE_INFINITY, minTimeout: 200, maxTimeout: 2_000, signal },
          onFailedAttempt: ({ error }) => onUncertain(error),
        });
        if (leader?.epoch !== this.#epoch) onDeposed();
        if (isHeld || leader?.epoch !== this.#epoch) return;
      }
    } catch (error) {
      if (!signal.aborted) onUncertain(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
