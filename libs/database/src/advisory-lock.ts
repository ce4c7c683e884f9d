import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { connectionOptions } from './connection.ts';

/** The keys of all advisory locks, in one place so that no two are the same; any constants of our own do. */
export const ADVISORY_LOCKS = {
  migration: 772_231_001,
  automationRules: 772_231_002,
  presenceLeader: 772_231_003,
} as const;

const RETRY_MS = 500;
/** A server that has lost its client without a word (a machine that is gone) finds out within 20 s. */
const FIND_LOST_CLIENT = 'SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2';

/** What is locked, and who is told. */
export interface AdvisoryLockOptions {
  readonly url: string;
  /** Any constant that no other lock has. */
  readonly key: number;
  /** Shows in pg_stat_activity. */
  readonly name: string;
  /** Called when the connection that held the lock is gone, and the lock with it. */
  readonly onLost: () => void;
  /** Called each time the database cannot be asked; it is tried again. */
  readonly onUnreachable: (error: Error) => void;
}

/** A lock that one process at a time holds, as long as a connection of its own to PostgreSQL stands. */
export class AdvisoryLock {
  readonly #options: AdvisoryLockOptions;
  readonly #abort = new AbortController();
  #client: Client | undefined;

  constructor(options: AdvisoryLockOptions) {
    this.#options = options;
  }

  /**
   * Holds the lock; waits as long as another process has it, and as long as PostgreSQL is away.
   * @throws AbortError when it is closed first
   */
  async hold(): Promise<void> {
    const { url, key, name, onLost, onUnreachable } = this.#options;
    for (;;) {
      this.#abort.signal.throwIfAborted();
      // Without a limit of statements: who waits for the lock waits as long as another has it.
      const client = new Client(connectionOptions(url, name));
      // While it waits, the statement fails; afterwards `end` follows.
      client.on('error', () => undefined);
      this.#client = client;
      try {
        await client.connect();
        await client.query(FIND_LOST_CLIENT);
        await client.query('SELECT pg_advisory_lock($1)', [key]);
        client.once('end', () => {
          if (!this.#abort.signal.aborted) onLost();
        });
        return;
      } catch (error) {
        await client.end().catch(() => undefined);
        this.#abort.signal.throwIfAborted();
        onUnreachable(error instanceof Error ? error : new Error(String(error)));
        await delay(RETRY_MS, undefined, { signal: this.#abort.signal });
      }
    }
  }

  /** Lets it go, or gives up waiting for it. */
  async close(): Promise<void> {
    this.#abort.abort();
    // A connection that waits for the lock would answer only when it has it.
    this.#client?.connection.stream.destroy();
    await this.#client?.end().catch(() => undefined);
  }
}
