import type { DeviceId, Evidence, PresenceReason, PresenceState } from '@muster/contract';
import { discover, isDataError, PRESENCE_CHANNEL, type PrismaClient } from '@muster/database';
import pRetry from 'p-retry';
import type { PresenceRecord } from './presence-machine.ts';

/** A change of presence that is to be written. */
export interface PresenceChange {
  readonly device: DeviceId;
  /** Undefined where the state stays, and only until when it is believed is new. */
  readonly from: PresenceState | undefined;
  readonly record: PresenceRecord;
}

interface Pending {
  readonly change: PresenceChange;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const GATHER_MS = 10;
const MAX_BATCH = 2_000;

/** Presence in PostgreSQL: the current state of each device, and every transition. */
export class PresenceStore {
  #pending: Pending[] = [];
  #working = false;
  readonly #abort = new AbortController();

  constructor(
    private readonly database: PrismaClient,
    private readonly onFailure: (error: Error) => void,
  ) {}

  /** The presence of every device that has one. */
  async load(): Promise<ReadonlyMap<string, PresenceRecord>> {
    const rows = await this.database.presence.findMany();
    return new Map(
      rows.map((row) => [
        row.device,
        {
          state: row.state as PresenceState,
          reason: row.reason as PresenceReason,
          sinceMs: row.since.getTime(),
          session: row.session === null ? null : Number(row.session),
          superseded: row.superseded.map(Number),
          wakeExpectedAtMs: row.wakeExpectedAt?.getTime() ?? null,
          dueAtMs: row.dueAt?.getTime() ?? null,
          evidence: row.evidence as Evidence,
        },
      ]),
    );
  }

  /**
   * Writes a change together with those that come at the same time; resolves when it is committed, however long
   * PostgreSQL is away. Rejects when the store is closed first, or when PostgreSQL will never take it.
   */
  async write(change: PresenceChange): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ change, resolve, reject });
      if (!this.#working) {
        this.#working = true;
        setTimeout(() => void this.#work(), GATHER_MS);
      }
    });
  }

  /** Gives up waiting for PostgreSQL; what is not committed is rejected. */
  close(): void {
    this.#abort.abort(new Error('presence is stopping'));
  }

  async #work(): Promise<void> {
    while (this.#pending.length > 0) await this.#write(this.#pending.splice(0, MAX_BATCH));
    this.#working = false;
  }

  /** Writes a batch, in halves where PostgreSQL will never take some of it: one bad change must not hold up the others. */
  async #write(batch: readonly Pending[]): Promise<void> {
    try {
      await pRetry(() => this.#commit(batch.map(({ change }) => change)), {
        retries: Number.POSITIVE_INFINITY,
        minTimeout: 100,
        maxTimeout: 2_000,
        randomize: true,
        signal: this.#abort.signal,
        shouldRetry: ({ error }) => !isDataError(error),
        onFailedAttempt: ({ error }) => this.onFailure(error),
      });
      for (const { resolve } of batch) resolve();
    } catch (error) {
      if (batch.length === 1 || !isDataError(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await this.#write(batch.slice(0, middle));
      await this.#write(batch.slice(middle));
    }
  }

  async #commit(changes: readonly PresenceChange[]): Promise<void> {
    await discover(this.database, [...new Set(changes.map(({ device }) => device))]);
    const newest = new Map(changes.map((change) => [change.device, change]));
    const current = JSON.stringify(
      [...newest.values()].map(({ device, record }) => ({
        device,
        state: record.state,
        reason: record.reason,
        since_ms: record.sinceMs,
        session: record.session,
        superseded: record.superseded,
        wake_ms: record.wakeExpectedAtMs,
        due_ms: record.dueAtMs,
        evidence: record.evidence,
      })),
    );
    const history = changes.flatMap(({ device, from, record: { sinceMs, state: to, reason, session, evidence } }) =>
      from === undefined ? [] : [{ device, at: new Date(sinceMs), from, to, reason, session, evidence }],
    );
    await this.database.$transaction([
      this.database.$executeRaw`
        INSERT INTO presence (device, state, reason, since, session, superseded, wake_expected_at, due_at, evidence)
        SELECT device, state, reason, to_timestamp(since_ms / 1000.0), session,
               ARRAY(SELECT jsonb_array_elements_text(superseded)::bigint), to_timestamp(wake_ms / 1000.0),
               to_timestamp(due_ms / 1000.0), evidence
        FROM jsonb_to_recordset(${current}::jsonb) AS row(device text, state text, reason text, since_ms float8,
             session bigint, superseded jsonb, wake_ms float8, due_ms float8, evidence jsonb)
        ON CONFLICT (device) DO UPDATE
        SET state = excluded.state, reason = excluded.reason, since = excluded.since, session = excluded.session,
            superseded = excluded.superseded, wake_expected_at = excluded.wake_expected_at, due_at = excluded.due_at,
            evidence = excluded.evidence`,
      this.database.presenceTransition.createMany({ data: history }),
      this.database.$executeRaw`SELECT pg_notify(${PRESENCE_CHANNEL}, '')`,
    ]);
  }
}
