import type { AuditEntry, AuditPage, AuditQuery, AuditVerification, Scope } from '@muster/contract';
import { isConflict, isDataError, type Prisma, type PrismaClient } from '@muster/database';
import type { Logger } from '@muster/service';
import pRetry from 'p-retry';
import { CHAIN_START, sealed, verifyChain, type ChainEnd } from './audit-chain.ts';

/** An entry that is to be added; its place in the chain follows from when. */
export type NewAuditEntry = Omit<AuditEntry, 'id' | 'at' | 'previousHash' | 'hash'>;

/** An entry could not be added; what it would have told of must not be done. */
export class AuditError extends Error {
  override readonly name = 'AuditError';
  readonly code = 'audit-unavailable';
}

interface Waiting {
  readonly entry: NewAuditEntry;
  readonly resolve: (entry: AuditEntry) => void;
  readonly reject: (error: AuditError) => void;
}

const MAX_BATCH = 200;
const MAX_WAITING = 1_000;
/** Of registries that write at the same time one is always first. */
const MAX_CONFLICTS = 50;
const VERIFY_PAGE = 2_000;
const CLOSE_LIMIT_MS = 5_000;

function entryOf(row: Prisma.AuditEntryGetPayload<object>): AuditEntry {
  return {
    ...row,
    id: Number(row.id),
    at: row.at.toISOString(),
    scope: row.scope as Scope | null,
    outcome: row.outcome as AuditEntry['outcome'],
    begun: row.begun === null ? null : Number(row.begun),
    detail: row.detail as AuditEntry['detail'],
  };
}

/**
 * The audit log: entries are added, each with the hash of the one before, and nothing else ever happens to them. The
 * key of the table keeps order among several registries: an entry follows the newest one, or is not taken.
 */
export class Audit {
  #waiting: Waiting[] = [];
  #working: Promise<void> | undefined;
  /** The newest entry, as far as this process knows. */
  #head: ChainEnd | undefined;
  #verifying: Promise<AuditVerification> | undefined;
  readonly #concluding = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(
    private readonly database: PrismaClient,
    private readonly logger: Logger,
  ) {}

  /**
   * Adds an entry; resolves with it when it is committed. Entries that come at the same time are written together.
   * @throws AuditError when it cannot be written
   */
  async append(entry: NewAuditEntry): Promise<AuditEntry> {
    if (this.#waiting.length >= MAX_WAITING)
      throw new AuditError('the audit log takes no more entries: too many wait to be written');
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, resolve, reject });
      this.#working ??= this.#work().finally(() => (this.#working = undefined));
    });
  }

  /**
   * Adds how something ended that was begun, with what only showed on the way; resolves when it is on record, or will be
   * tried again until it is.
   */
  async conclude(begun: AuditEntry, status: number, detail: NewAuditEntry['detail'] = {}): Promise<void> {
    const outcome = status < 400 ? 'done' : status < 500 ? 'refused' : 'failed';
    const { actor, scope, action, subject } = begun;
    const entry: NewAuditEntry = { actor, scope, action, subject, outcome, status, begun: begun.id, detail };
    try {
      await this.append(entry);
    } catch (error) {
      this.logger.error(
        { err: error, begun: begun.id, status },
        'how a change ended is not on record; it is tried again',
      );
      const again = this.#persist(entry).finally(() => this.#concluding.delete(again));
      this.#concluding.add(again);
    }
  }

  /** Writes what waits, for so long. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#stop.abort(new Error('the registry is stopping')), CLOSE_LIMIT_MS);
    await Promise.allSettled([...this.#concluding]);
    await this.#working;
    clearTimeout(timer);
  }

  /** One page, the newest first. */
  async page({ limit, cursor, subject, actor }: AuditQuery): Promise<AuditPage> {
    const rows = await this.database.auditEntry.findMany({
      where: {
        ...(subject === undefined ? {} : { subject }),
        ...(actor === undefined ? {} : { actor }),
        ...(cursor === undefined ? {} : { id: { lt: BigInt(cursor) } }),
      },
      orderBy: { id: 'desc' },
      take: limit + 1,
    });
    const items = rows.slice(0, limit).map(entryOf);
    return { items, next: rows.length > limit ? String(items.at(-1)?.id) : null };
  }

  /** Goes through the whole log, a page at a time; who asks meanwhile gets the same answer. */
  async verify(): Promise<AuditVerification> {
    this.#verifying ??= this.#verify().finally(() => (this.#verifying = undefined));
    return this.#verifying;
  }

  async #verify(): Promise<AuditVerification> {
    let end = CHAIN_START;
    for (;;) {
      const rows = await this.database.auditEntry.findMany({
        where: { id: { gt: end.id } },
        orderBy: { id: 'asc' },
        take: VERIFY_PAGE,
      });
      const verdict = verifyChain(rows.map(entryOf), end);
      end = verdict.end;
      if (verdict.broken !== null || rows.length < VERIFY_PAGE)
        return { entries: end.id, head: end.hash, broken: verdict.broken };
    }
  }

  async #persist(entry: NewAuditEntry): Promise<void> {
    await pRetry(() => this.append(entry), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 200,
      maxTimeout: 5_000,
      randomize: true,
      signal: this.#stop.signal,
    }).catch((error: unknown) =>
      this.logger.error(
        { err: error, begun: entry.begun, status: entry.status },
        'how a change ended stays off the record',
      ),
    );
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        const entries = await this.#write(batch.map(({ entry }) => entry));
        for (const [index, { resolve }] of batch.entries()) {
          const entry = entries[index];
          if (entry !== undefined) resolve(entry);
        }
      } catch (error) {
        // What has become of the newest entry is not known any more.
        this.#head = undefined;
        if (batch.length > 1 && isDataError(error)) {
          // One that PostgreSQL will never take must not cost the others.
          for (const one of batch) await this.#alone(one);
          continue;
        }
        const fault = new AuditError('the audit log cannot be written', { cause: error });
        for (const { reject } of batch) reject(fault);
      }
    }
  }

  async #alone({ entry, resolve, reject }: Waiting): Promise<void> {
    try {
      const [written] = await this.#write([entry]);
      if (written !== undefined) resolve(written);
    } catch (error) {
      reject(new AuditError('the audit log cannot be written', { cause: error }));
    }
  }

  async #write(batch: readonly NewAuditEntry[]): Promise<readonly AuditEntry[]> {
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts += 1) {
      const head = this.#head ?? (await this.#newest());
      const at = new Date().toISOString();
      const entries: AuditEntry[] = [];
      for (const entry of batch) {
        const before = entries.at(-1) ?? head;
        // As it will be read again: what JSON does not have is not in it.
        const detail = JSON.parse(JSON.stringify(entry.detail)) as AuditEntry['detail'];
        entries.push(sealed({ ...entry, detail, id: before.id + 1, at, previousHash: before.hash }));
      }
      if (await this.#insert(entries, head)) {
        this.#head = entries.at(-1) ?? head;
        return entries;
      }
      this.#head = await this.#headAfter(head);
    }
    throw new AuditError('other processes add to the audit log without end');
  }

  /** Whether the entries were taken: not where the newest entry is another one by now. */
  async #insert(entries: readonly AuditEntry[], head: ChainEnd): Promise<boolean> {
    try {
      const inserted = await this.database.$executeRaw`
        INSERT INTO audit_entry (id, at, actor, scope, action, subject, outcome, status, begun, detail, previous_hash, hash)
        SELECT id, at, actor, scope, action, subject, outcome, status, begun, detail, "previousHash", hash
        FROM jsonb_to_recordset(${JSON.stringify(entries)}::jsonb) AS row(id bigint, at timestamptz, actor text, scope text,
          action text, subject text, outcome text, status int, begun bigint, detail jsonb, "previousHash" text, hash text)
        WHERE coalesce((SELECT hash FROM audit_entry ORDER BY id DESC LIMIT 1), ${CHAIN_START.hash}) = ${head.hash}`;
      return inserted === entries.length;
    } catch (error) {
      if (isConflict(error)) return false;
      throw error;
    }
  }

  /** The newest entry, after the one that was taken for it was not; entries do not get fewer, unless somebody takes them away. */
  async #headAfter(before: ChainEnd): Promise<ChainEnd> {
    const head = await this.#newest();
    if (head.id <= before.id)
      this.logger.error({ written: before, found: head }, 'the audit log has lost its newest entries, or was replaced');
    return head;
  }

  async #newest(): Promise<ChainEnd> {
    const row = await this.database.auditEntry.findFirst({ orderBy: { id: 'desc' }, select: { id: true, hash: true } });
    return row === null ? CHAIN_START : { id: Number(row.id), hash: row.hash };
  }
}
