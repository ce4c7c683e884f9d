import { isDataError, NOTICE_CHANNEL, type Prisma, type PrismaClient } from '@muster/database';
import type { Logger } from '@muster/service';
import pRetry from 'p-retry';
import { subjectOf } from './values.ts';
import { timerKey, type Effect, type Reaction, type Timer, type TimerName, type TriggerEvent } from './reaction.ts';

/** A publication of a run, and the broker that it is for. */
export interface AddressedEffect {
  readonly broker: string;
  /** Another broker gets it too: this one counts as carried over from there. */
  readonly isCopy: boolean;
  readonly effect: Extract<Effect, { kind: 'publish' }>;
}

/** What a timer led to, on record before it is done: so that a restart neither loses nor repeats it. */
export interface Run {
  readonly number: number;
  readonly rule: string;
  /** The part of the timer that led to it. */
  readonly part: string;
  readonly subject: string;
  readonly trigger: TriggerEvent;
  readonly effects: readonly AddressedEffect[];
}

/** Something to be written. */
export interface Entry {
  readonly timers?: readonly Timer[];
  readonly dropped?: readonly TimerName[];
  readonly overrides?: Reaction['overrides'];
  readonly effects?: readonly Effect[];
  readonly stops?: Reaction['stops'];
  readonly begun?: readonly Run[];
  readonly ended?: readonly Run[];
}

/** What was on record when automation ended. */
export interface Remembered {
  readonly timers: readonly Timer[];
  readonly overrides: Reaction['overrides'];
  readonly runs: readonly Run[];
  /** How often automation was started, this time too. */
  readonly starts: number;
  readonly mode: string | undefined;
}

interface Row extends TimerName {
  readonly state: string;
  readonly due_ms: number | null;
  readonly trigger: TriggerEvent;
  readonly effects: readonly AddressedEffect[] | null;
  readonly run: number | null;
}

const GATHER_MS = 2;
const NOTE_DELAY_MS = 250;
/** A rule that acts all the time is not written down each time, nor are all rules together. */
const MAX_NOTED_A_MINUTE = 60;
const MAX_NOTED_IN_ALL = 3_000;
const KEEP_RUNS_MS = 7 * 86_400_000;
const KEEP_STATES_MS = 90 * 86_400_000;
const PRUNE_INTERVAL_MS = 3_600_000;

/**
 * What automation must not forget, in PostgreSQL: what waits, what is being carried out, who had the last word, what
 * was done. Entries that come together are written together, in their order.
 */
export class Journal {
  #pending: { readonly entry: Entry; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  #working: Promise<void> | undefined;
  #pruneTimer: NodeJS.Timeout | undefined;
  readonly #abort = new AbortController();
  #notes: Reaction['runs'][number][] = [];
  #noteTimer: NodeJS.Timeout | undefined;
  readonly #noted = new Map<string, number>();
  #notedInAll = 0;
  #minute = 0;

  constructor(
    private readonly database: PrismaClient,
    private readonly logger: Logger,
  ) {}

  /** What is on record; that there was a start is put on record with it. */
  async load(): Promise<Remembered> {
    const [rows, overrides, mode, [start]] = await Promise.all([
      this.database.ruleTimer.findMany({ orderBy: { id: 'asc' } }),
      this.database.ruleOverride.findMany({ where: { until: { gt: new Date() } } }),
      this.database.mode.findUnique({ where: { id: 1 } }),
      this.database.$queryRaw<{ starts: number }[]>`
        INSERT INTO automation_start (id, starts) VALUES (1, 1)
        ON CONFLICT (id) DO UPDATE SET starts = automation_start.starts + 1 RETURNING starts`,
    ]);
    this.#pruneTimer = setInterval(() => void this.#prune(), PRUNE_INTERVAL_MS);
    return {
      timers: rows.flatMap((row) =>
        row.run === null
          ? [
              {
                rule: row.rule,
                part: row.part,
                subject: row.subject,
                state: row.state as Timer['state'],
                dueMs: row.dueAt?.getTime() ?? 0,
                trigger: row.trigger as unknown as TriggerEvent,
              },
            ]
          : [],
      ),
      runs: rows.flatMap((row) =>
        row.run === null
          ? []
          : [
              {
                number: Number(row.run),
                rule: row.rule,
                part: row.part.split(':').slice(2).join(':'),
                subject: row.subject,
                trigger: row.trigger as unknown as TriggerEvent,
                effects: row.effects as unknown as readonly AddressedEffect[],
              },
            ],
      ),
      overrides: overrides.map(({ rule, subject, until }) => ({ rule, subject, untilMs: until.getTime() })),
      mode: mode?.mode,
      starts: start?.starts ?? 1,
    };
  }

  /**
   * Writes an entry; resolves when it is committed, however long PostgreSQL is away. Rejects when the journal is closed
   * first, or when PostgreSQL will never take it.
   */
  async write(entry: Entry): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ entry, resolve, reject });
      this.#working ??= this.#work().finally(() => (this.#working = undefined));
    });
  }

  /** Writes what is left, for so long. */
  async close(limitMs: number): Promise<void> {
    clearInterval(this.#pruneTimer);
    const timer = setTimeout(() => this.#abort.abort(new Error('automation is stopping')), limitMs);
    await this.#working;
    clearTimeout(timer);
    clearTimeout(this.#noteTimer);
    if (this.#notes.length > 0) await this.#writeNotes();
  }

  async #work(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0);
      try {
        await this.#attempt(batch.map(({ entry }) => entry));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        if (batch.length === 1 || !isDataError(error)) {
          for (const { reject } of batch) reject(error);
          continue;
        }
        // One entry that PostgreSQL will never take must not cost the others.
        for (const { entry, resolve, reject } of batch) await this.#attempt([entry]).then(resolve, reject);
      }
    }
  }

  async #attempt(entries: readonly Entry[]): Promise<void> {
    await pRetry(() => this.#commit(entries), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 100,
      maxTimeout: 2_000,
      randomize: true,
      signal: this.#abort.signal,
      shouldRetry: ({ error }) => !isDataError(error),
      onFailedAttempt: ({ error }) =>
        this.logger.warn({ reason: error.message }, 'PostgreSQL did not take the journal; it is tried again'),
    });
  }

  async #commit(entries: readonly Entry[]): Promise<void> {
    const statements = [
      ...this.#timerStatements(entries),
      ...this.#overrideStatements(entries),
      ...this.#effectStatements(entries),
      ...this.#stopStatements(entries),
    ];
    if (statements.length > 0) await this.database.$transaction(statements);
  }

  #timerStatements(entries: readonly Entry[]): readonly Prisma.PrismaPromise<unknown>[] {
    const rows = new Map<string, Row | TimerName>();
    for (const { timers = [], dropped = [], begun = [], ended = [] } of entries) {
      for (const { rule, part, subject, state, dueMs, trigger } of timers)
        rows.set(timerKey({ rule, part, subject }), {
          ...{ rule, part, subject, state, trigger, effects: null, run: null },
          due_ms: state === 'armed' ? dueMs : null,
        });
      for (const { rule, part, subject } of dropped)
        rows.set(timerKey({ rule, part, subject }), { rule, part, subject });
      for (const run of begun)
        rows.set(timerKey(nameOf(run)), {
          ...nameOf(run),
          ...{ state: 'claimed', due_ms: null, trigger: run.trigger, effects: run.effects, run: run.number },
        });
      for (const run of ended) rows.set(timerKey(nameOf(run)), nameOf(run));
    }
    const all = [...rows.values()];
    const kept = all.filter((row) => 'state' in row);
    const gone = all.filter((row) => !('state' in row));
    return [
      ...(kept.length === 0
        ? []
        : [
            this.database.$executeRaw`
              INSERT INTO rule_timer (rule, part, subject, state, due_at, trigger, effects, run)
              SELECT rule, part, subject, state, to_timestamp(due_ms / 1000.0), trigger, effects, run
              FROM jsonb_to_recordset(${JSON.stringify(kept)}::jsonb) AS row(rule text, part text, subject text,
                   state text, due_ms float8, trigger jsonb, effects jsonb, run bigint)
              ON CONFLICT (rule, part, subject) DO UPDATE
              SET state = excluded.state, due_at = excluded.due_at, trigger = excluded.trigger,
                  effects = excluded.effects, run = excluded.run`,
          ]),
      ...(gone.length === 0
        ? []
        : [
            this.database.$executeRaw`
              DELETE FROM rule_timer USING jsonb_to_recordset(${JSON.stringify(gone)}::jsonb)
                AS row(rule text, part text, subject text)
              WHERE rule_timer.rule = row.rule AND rule_timer.part = row.part AND rule_timer.subject = row.subject`,
          ]),
    ];
  }

  #overrideStatements(entries: readonly Entry[]): readonly Prisma.PrismaPromise<unknown>[] {
    const newest = new Map(
      entries.flatMap(({ overrides = [] }) => overrides.map((one) => [`${one.rule}\n${one.subject}`, one] as const)),
    );
    if (newest.size === 0) return [];
    const rows = [...newest.values()].map(({ rule, subject, untilMs }) => ({ rule, subject, until_ms: untilMs }));
    return [
      this.database.$executeRaw`
        INSERT INTO rule_override (rule, subject, until)
        SELECT rule, subject, to_timestamp(until_ms / 1000.0)
        FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(rule text, subject text, until_ms float8)
        ON CONFLICT (rule, subject) DO UPDATE SET until = excluded.until`,
    ];
  }

  #effectStatements(entries: readonly Entry[]): readonly Prisma.PrismaPromise<unknown>[] {
    const effects = entries.flatMap((entry) => entry.effects ?? []);
    const at = new Date();
    const notices = effects.flatMap((effect) => {
      if (effect.kind !== 'notify') return [];
      const { kind: _, ...notice } = effect;
      return [{ ...notice, at }];
    });
    const mode = effects.findLast((effect) => effect.kind === 'mode');
    return [
      ...(notices.length === 0
        ? []
        : [
            this.database.notice.createMany({ data: notices }),
            this.database.$executeRaw`SELECT pg_notify(${NOTICE_CHANNEL}, '')`,
          ]),
      ...(mode === undefined
        ? []
        : [
            this.database.mode.upsert({
              where: { id: 1 },
              create: { id: 1, mode: mode.mode, since: at, setBy: mode.setBy },
              update: { mode: mode.mode, since: at, setBy: mode.setBy },
            }),
          ]),
    ];
  }

  #stopStatements(entries: readonly Entry[]): readonly Prisma.PrismaPromise<unknown>[] {
    return entries
      .flatMap(({ stops = [] }) => stops)
      .map(({ rule, reason }) =>
        this.database.rule.updateMany({ where: { id: rule }, data: { stopped: reason, stoppedAt: new Date() } }),
      );
  }

  /** Keeps what rules have done, for people to look at; of a rule that acts all the time not every time. */
  note(runs: Reaction['runs']): void {
    const minute = Math.floor(Date.now() / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#noted.clear();
      this.#notedInAll = 0;
    }
    for (const run of runs) {
      const count = this.#noted.get(run.rule) ?? 0;
      if (count >= MAX_NOTED_A_MINUTE || this.#notedInAll >= MAX_NOTED_IN_ALL) continue;
      this.#noted.set(run.rule, count + 1);
      this.#notedInAll += 1;
      this.#notes.push(run);
    }
    if (this.#notes.length > 0) this.#noteTimer ??= setTimeout(() => void this.#writeNotes(), NOTE_DELAY_MS);
  }

  async #writeNotes(): Promise<void> {
    this.#noteTimer = undefined;
    const rows = this.#notes.splice(0).map(({ rule, version, atMs, event, outcome, detail }) => ({
      ...{ rule, version, outcome, detail: detail ?? null, at_ms: atMs, trigger: event },
      subject: subjectOf(event.captures),
    }));
    try {
      // Not through Prisma's query compiler, which costs more than all the rest of a rule.
      await this.database.$executeRaw`
        INSERT INTO rule_run (rule, version, at, subject, trigger, outcome, detail)
        SELECT rule, version, to_timestamp(at_ms / 1000.0), subject, trigger, outcome, detail
        FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(rule text, version int, at_ms float8,
             subject text, trigger jsonb, outcome text, detail text)`;
    } catch (error) {
      this.logger.warn({ err: error, runs: rows.length }, 'what rules did is not on record; they go on');
    }
  }

  async #prune(): Promise<void> {
    try {
      await this.database.ruleRun.deleteMany({ where: { at: { lt: new Date(Date.now() - KEEP_RUNS_MS) } } });
      await this.database.ruleOverride.deleteMany({ where: { until: { lt: new Date() } } });
      await this.database.notice.deleteMany({ where: { at: { lt: new Date(Date.now() - KEEP_RUNS_MS) } } });
      // Rooms and devices of which nobody has heard for so long are gone; their states begin anew.
      await this.database.$executeRaw`
        DELETE FROM rule_timer
        WHERE state IN ('clear', 'done') AND (trigger ->> 'atMs')::float8 < ${Date.now() - KEEP_STATES_MS}::float8`;
    } catch (error) {
      this.logger.warn({ err: error }, 'old runs were not removed; it is tried again in an hour');
    }
  }
}

function nameOf({ rule, part, number, subject }: Run): TimerName {
  return { rule, part: `run:${number}:${part}`, subject };
}
