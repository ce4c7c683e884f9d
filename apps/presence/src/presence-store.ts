import type { DeviceId, Evidence, PresenceReason, PresenceState } from '@muster/contract';
import { discover, isDataError, PRESENCE_CHANNEL, type PrismaClient } from '@muster/database';
import pRetry from 'p-retry';
import type { StoredTransition } from './flags.ts';
import { DeposedError, type Leadership } from './leadership.ts';
import type { Interrupted, PresenceRecord, RaisedFlag } from './presence-record.ts';
import type { Activity, Attention } from './silence.ts';

/** What ingestion has heard of a device. */
export interface StoredActivity extends Activity {
  readonly device: DeviceId;
}

/** What a device says about its own habits. */
export interface Declared {
  readonly keepAliveSeconds: number | undefined;
  /** Between two telemetry messages. */
  readonly intervalMs: number | undefined;
}

/** What other services have written since the last look. */
export interface Observations {
  readonly activities: readonly StoredActivity[];
  readonly declared: ReadonlyMap<string, Declared>;
  readonly attention: ReadonlyMap<string, Attention>;
}

/** A change of presence that is to be written. */
export interface PresenceChange {
  readonly device: DeviceId;
  /** Undefined where the state stays, and only until when it is believed is new. */
  readonly from: PresenceState | undefined;
  /** Whether nothing of the device is on record: then the registry has to know of it first. */
  readonly isNew: boolean;
  readonly record: PresenceRecord;
}

interface Pending {
  readonly change: PresenceChange;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const GATHER_MS = 25;
const MAX_BATCH = 2_000;
/** What another transaction commits late lies at most so far back. */
const LATE_COMMIT_MS = 10_000;

/** Presence in PostgreSQL: the current state of each device, and every transition. */
export class PresenceStore {
  #pending: Pending[] = [];
  #working = false;
  readonly #abort = new AbortController();
  /** By the clock of PostgreSQL: several processes write activity. */
  #seenActivityMs = 0;
  #seenDeclaredMs = 0;

  constructor(
    private readonly database: PrismaClient,
    private readonly leadership: Leadership,
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
          interrupted: row.interrupted as Interrupted | null,
          mirrors: row.mirrors,
          learnedIntervalMs: row.learnedIntervalMs,
          flags: row.flags as unknown as readonly RaisedFlag[],
          evidence: row.evidence as Evidence,
        },
      ]),
    );
  }

  /** The changes of each device since a time, oldest first. */
  async transitionsSince(sinceMs: number): Promise<ReadonlyMap<string, readonly StoredTransition[]>> {
    const rows = await this.database.presenceTransition.findMany({
      where: { at: { gt: new Date(sinceMs) } },
      select: { device: true, at: true, from: true, to: true, reason: true, session: true },
      orderBy: { id: 'asc' },
    });
    const byDevice = new Map<string, StoredTransition[]>();
    for (const { device, at, from, to, reason, session } of rows) {
      const transition = {
        ...{ from: from as PresenceState, state: to as PresenceState, reason: reason as PresenceReason },
        ...{ sinceMs: at.getTime(), session: session === null ? null : Number(session) },
      };
      const known = byDevice.get(device);
      if (known === undefined) byDevice.set(device, [transition]);
      else known.push(transition);
    }
    return byDevice;
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
        shouldRetry: ({ error }) => !isDataError(error) && !(error instanceof DeposedError),
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
    const heardFirst = changes.filter(({ isNew }) => isNew).map(({ device }) => device);
    if (heardFirst.length > 0) await discover(this.database, [...new Set(heardFirst)]);
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
        interrupted: record.interrupted,
        mirrors: record.mirrors,
        interval_ms: record.learnedIntervalMs,
        flags: record.flags,
        evidence: record.evidence,
      })),
    );
    const history = JSON.stringify(
      changes.flatMap(({ device, from, record: { sinceMs, state: to, reason, session, evidence } }) =>
        from === undefined
          ? []
          : [{ device, from, to, reason, session, evidence, at_ms: sinceMs, since: new Date(sinceMs).toISOString() }],
      ),
    );
    // A transition and the event that tells of it come from the same rows: a fleet that is lost at once is one statement.
    const held = await this.database.$queryRaw<unknown[]>`
      WITH held AS MATERIALIZED (${this.leadership.held}), current AS (
        INSERT INTO presence (device, state, reason, since, session, superseded, wake_expected_at, due_at, interrupted,
                              mirrors, learned_interval_ms, flags, evidence)
        SELECT device, state, reason, to_timestamp(since_ms / 1000.0), session,
               ARRAY(SELECT jsonb_array_elements_text(superseded)::bigint), to_timestamp(wake_ms / 1000.0),
               to_timestamp(due_ms / 1000.0), nullif(interrupted, 'null'::jsonb),
               ARRAY(SELECT jsonb_array_elements_text(mirrors)), interval_ms, flags, evidence
        FROM jsonb_to_recordset(${current}::jsonb) AS row(device text, state text, reason text, since_ms float8,
             session bigint, superseded jsonb, wake_ms float8, due_ms float8, interrupted jsonb, mirrors jsonb,
             interval_ms int, flags jsonb, evidence jsonb)
        WHERE EXISTS (SELECT 1 FROM held)
        ON CONFLICT (device) DO UPDATE
        SET state = excluded.state, reason = excluded.reason, since = excluded.since, session = excluded.session,
            superseded = excluded.superseded, wake_expected_at = excluded.wake_expected_at, due_at = excluded.due_at,
            interrupted = excluded.interrupted, mirrors = excluded.mirrors,
            learned_interval_ms = excluded.learned_interval_ms, flags = excluded.flags, evidence = excluded.evidence
      ), change AS (
        SELECT * FROM jsonb_to_recordset(${history}::jsonb) AS row(device text, at_ms float8, since text, "from" text,
          "to" text, reason text, session bigint, evidence jsonb)
        WHERE EXISTS (SELECT 1 FROM held)
      ), kept AS (
        INSERT INTO presence_transition (device, at, "from", "to", reason, session, evidence)
        SELECT device, to_timestamp(at_ms / 1000.0), "from", "to", reason, session, evidence FROM change
      ), told AS (
        INSERT INTO event (kind, device, data)
        SELECT 'presence', device, jsonb_build_object('from', "from", 'to', "to", 'reason', reason, 'since', since,
               'rule', evidence ->> 'rule', 'broker', evidence ->> 'broker')
        FROM change
      )
      SELECT pg_notify(${PRESENCE_CHANNEL}, '')::text FROM held`;
    if (held.length === 0) throw this.leadership.deposed();
  }

  /** What ingestion has heard and the registry was told since the last time that this was asked. */
  async observe(): Promise<Observations> {
    const activitySince = new Date(this.#seenActivityMs - LATE_COMMIT_MS);
    const declaredSince = new Date(this.#seenDeclaredMs - LATE_COMMIT_MS);
    const [attention, activities, declared] = await Promise.all([
      this.database.ingestionAttention.findMany(),
      this.database.$queryRaw<
        { device: DeviceId; heardAtMs: number; writtenMs: number; messages: bigint; broker: string }[]
      >`
        SELECT device, extract(epoch FROM last_seen_at)::float8 * 1000 AS "heardAtMs",
               extract(epoch FROM written_at)::float8 * 1000 AS "writtenMs", messages, broker
        FROM device_activity WHERE written_at > ${activitySince}`,
      this.database.$queryRaw<{ id: string; updatedMs: number; keepAlive: number | null; interval: number | null }[]>`
        SELECT id, extract(epoch FROM updated_at)::float8 * 1000 AS "updatedMs",
               (info ->> 'keep_alive')::float8 AS "keepAlive", (info ->> 'interval')::float8 AS interval
        FROM device WHERE updated_at > ${declaredSince} AND info IS NOT NULL`,
    ]);
    for (const { writtenMs } of activities) this.#seenActivityMs = Math.max(this.#seenActivityMs, writtenMs);
    for (const { updatedMs } of declared) this.#seenDeclaredMs = Math.max(this.#seenDeclaredMs, updatedMs);
    return {
      activities: activities.map((one) => ({ ...one, messages: Number(one.messages) })),
      declared: new Map(
        declared.map(({ id, keepAlive, interval }) => [
          id,
          { keepAliveSeconds: keepAlive ?? undefined, intervalMs: interval === null ? undefined : interval * 1000 },
        ]),
      ),
      attention: new Map(
        attention.map(({ broker, from, until }) => [broker, { fromMs: from.getTime(), untilMs: until.getTime() }]),
      ),
    };
  }
}
