import type { PrismaClient } from '@muster/database';
import type { Logger } from '@muster/service';
import type { Spool } from '@muster/telemetry';

/** What the spool of one of the processes held when that was last put on record. */
export interface KnownSpool {
  readonly ordinal: number;
  readonly bytes: number;
  /** Since when the oldest of it waits, in milliseconds since 1970; undefined where it is empty. */
  readonly oldestAtMs: number | undefined;
  /** How long ago that was, by the clock of PostgreSQL. */
  readonly seenAgoMs: number;
}

/** Which of the processes this one is, and what becomes of what waits. */
export interface SpoolPlace {
  readonly ordinal: number;
  readonly replicas: number;
  /** What has waited longer is given up. */
  readonly maxAgeDays: number;
}

const INTERVAL_MS = 10_000;
/** A process that is started again, or moved to another node, is back by then. */
const RESTART_MS = 60_000;
/** Of one that nobody is to start again, only its last word may be under way. */
const LAST_WORD_MS = 15_000;
const DAY_MS = 86_400_000;

/**
 * The spools of other processes that do not run and hold something: what waits for its process to be started again, and
 * what would not be delivered even then, because all of it is older than the age limit.
 */
export function stoppedSpools(
  known: readonly KnownSpool[],
  { ordinal: own, replicas, maxAgeDays }: SpoolPlace,
): { readonly waiting: readonly KnownSpool[]; readonly givenUp: readonly KnownSpool[] } {
  const stopped = known.filter(
    ({ ordinal, bytes, seenAgoMs }) =>
      ordinal !== own && bytes > 0 && seenAgoMs > (ordinal < replicas ? RESTART_MS : LAST_WORD_MS),
  );
  const isOver = ({ seenAgoMs }: KnownSpool): boolean => seenAgoMs > maxAgeDays * DAY_MS;
  return { waiting: stopped.filter((spool) => !isOver(spool)), givenUp: stopped.filter(isOver) };
}

/** What is put on record, and who looks. */
export interface SpoolWatchOptions extends SpoolPlace {
  readonly database: PrismaClient;
  readonly spool: Pick<Spool, 'depth'>;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly intervalMs?: number;
}

/**
 * Puts on record what the spool of this process holds, every 10 s and at its end; the first of the processes looks for
 * spools of others that hold something and do not run. Their telemetry is acknowledged and in no database: it is
 * delivered when a process with their ordinal runs again.
 */
export class SpoolWatch {
  readonly #options: SpoolWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #waiting: readonly KnownSpool[] = [];
  readonly #told = new Map<number, 'waiting' | 'given-up'>();
  #isFailing = false;
  #isClosing = false;

  constructor(options: SpoolWatchOptions) {
    this.#options = options;
  }

  /** Whether this process is the one that looks. */
  get isLooking(): boolean {
    return this.#options.ordinal === 0;
  }

  /** Spools that hold something and whose process does not run, as of the last look. */
  get waiting(): readonly KnownSpool[] {
    return this.#waiting;
  }

  /** Begins; returns at once, also where PostgreSQL is away. */
  start(): void {
    this.#working = this.#work().finally(() => {
      if (!this.#isClosing) this.#timer = setTimeout(() => this.start(), this.#options.intervalMs ?? INTERVAL_MS);
    });
  }

  /** Stops, with a last word of the spool: to be called when nothing is appended any more. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#timer);
    await this.#working;
    await this.#attempt(() => this.#record());
  }

  async #work(): Promise<void> {
    await this.#attempt(async () => {
      await this.#record();
      if (this.isLooking) await this.#look();
    });
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing)
        this.#options.logger.warn({ err: error }, 'what the spool holds is not on record; it is tried again');
      this.#isFailing = true;
    }
  }

  async #record(): Promise<void> {
    const { database, ordinal, spool } = this.#options;
    const { bytes, oldestAtMs } = spool.depth;
    const oldestAt = oldestAtMs === undefined ? null : new Date(oldestAtMs);
    await database.$executeRaw`
      INSERT INTO ingestion_spool (ordinal, bytes, oldest_at, seen_at)
      VALUES (${ordinal}::int, ${bytes}::bigint, ${oldestAt}::timestamptz, clock_timestamp())
      ON CONFLICT (ordinal) DO UPDATE
      SET bytes = excluded.bytes, oldest_at = excluded.oldest_at, seen_at = excluded.seen_at`;
  }

  async #look(): Promise<void> {
    const rows = await this.#options.database.$queryRaw<
      { ordinal: number; bytes: bigint; oldest_at: Date | null; ago: number }[]
    >`SELECT ordinal, bytes, oldest_at, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS ago FROM ingestion_spool`;
    const known = rows.map(({ ordinal, bytes, oldest_at: oldestAt, ago }): KnownSpool => ({
      ...{ ordinal, bytes: Number(bytes), oldestAtMs: oldestAt?.getTime(), seenAgoMs: ago * 1_000 },
    }));
    const { waiting, givenUp } = stoppedSpools(known, this.#options);
    this.#waiting = waiting;
    this.#tell(waiting, givenUp);
  }

  /** Each change once. */
  #tell(waiting: readonly KnownSpool[], givenUp: readonly KnownSpool[]): void {
    const { logger } = this.#options;
    for (const { ordinal, bytes, oldestAtMs } of waiting) {
      if (this.#told.get(ordinal) === 'waiting') continue;
      this.#told.set(ordinal, 'waiting');
      const oldest = oldestAtMs === undefined ? undefined : new Date(oldestAtMs).toISOString();
      logger.warn(
        { ordinal, bytes, oldest },
        'an ingestion process that does not run has left telemetry in its spool; run as many processes again until it is delivered',
      );
    }
    for (const { ordinal, bytes } of givenUp) {
      if (this.#told.get(ordinal) === 'given-up') continue;
      this.#told.set(ordinal, 'given-up');
      logger.warn(
        { ordinal, bytes },
        'telemetry in the spool of a process that does not run is too old to be delivered',
      );
    }
    const stopped = new Set([...waiting, ...givenUp].map(({ ordinal }) => ordinal));
    for (const ordinal of this.#told.keys()) {
      if (stopped.has(ordinal)) continue;
      this.#told.delete(ordinal);
      logger.info({ ordinal }, 'no telemetry is left in the spool of a process that does not run');
    }
  }
}
