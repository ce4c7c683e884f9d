import { setTimeout as delay } from 'node:timers/promises';
import { Cron } from 'croner';
import { Prisma, type PrismaClient } from './client/client.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Rows of one statement: what is removed at once holds up nobody. */
const MAX_ROWS = 5_000;
/** Between two statements, so that others come first. */
const PAUSE_MS = 50;
/** When little happens (UTC), and not all services at the same second. */
const DAILY = '17 3 * * *';
const HOURLY = '47 * * * *';
/** The share of a period after which it is time again: no day has exactly 24 hours between two turns. */
const ALMOST = 0.75;
const JITTER_MS = 10 * 60_000;
/** After a start, when everything else is on its feet. */
const START_DELAY_MS = 60_000;

/** How long events can be resumed. */
export const EVENTS_RESUMABLE_MS = DAY_MS;

/** The services that own tables with rows that get old. */
export type RetentionOwner = 'presence' | 'ingestion' | 'alerting' | 'registry';

/** Rows that are removed when they are old. */
export interface RetentionRule {
  readonly table: string;
  /** How long rows are kept; as long as the operator says where it is left out. */
  readonly keptMs?: number;
  /** How often; daily where it is left out. */
  readonly everyMs?: number;
  /** Which rows are old, by the instant before which they are. */
  readonly old: (before: Date) => Prisma.Sql;
}

/**
 * What each service removes of its own tables, in this order. The audit log and the reports of decommissionings are not
 * here: they stay. What automation notes for a week it forgets by itself.
 */
export const RETENTION: Readonly<Record<RetentionOwner, readonly RetentionRule[]>> = {
  presence: [
    {
      table: 'presence_transition',
      // The newest of each device stays, however old: it says since when the device is as it is. So does its own last
      // word: it says when the device was last heard.
      old: (before) => Prisma.sql`at < ${before} AND EXISTS (
        SELECT 1 FROM presence_transition AS newer
        WHERE newer.device = presence_transition.device AND newer.id > presence_transition.id
          AND (presence_transition.reason NOT IN ('birth', 'shutdown', 'sleep', 'update')
               OR presence_transition.evidence -> 'retained' <> 'false'
               OR (newer.reason IN ('birth', 'shutdown', 'sleep', 'update') AND newer.evidence -> 'retained' = 'false')))`,
    },
    { table: 'incident', old: (before) => Prisma.sql`until < ${before}` },
  ],
  ingestion: [
    {
      table: 'boot_time',
      // The session that a device is in may last for years.
      old: (before) => Prisma.sql`booted_at < ${before} AND EXISTS (
        SELECT 1 FROM boot_time AS newer
        WHERE newer.device = boot_time.device AND newer.session > boot_time.session)`,
    },
    { table: 'dead_letter_message', old: (before) => Prisma.sql`received_at < ${before}` },
    {
      table: 'dead_letter_replay_progress',
      // When the registry has removed what was asked.
      old: (before) => Prisma.sql`ended_at < ${before} AND NOT EXISTS (
        SELECT 1 FROM dead_letter_replay WHERE dead_letter_replay.id = dead_letter_replay_progress.replay)`,
    },
  ],
  alerting: [
    {
      table: 'alert_event',
      old: (before) => Prisma.sql`alert IN (
        SELECT id FROM alert WHERE state = 'resolved' AND resolved_at < ${before}
          AND id NOT IN (SELECT alert FROM alert_told))`,
    },
    {
      table: 'alert',
      // One of whom somebody is yet to be told that it is over stays; its history goes first.
      old: (before) => Prisma.sql`state = 'resolved' AND resolved_at < ${before}
        AND id NOT IN (SELECT alert FROM alert_told)
        AND NOT EXISTS (SELECT 1 FROM alert_event WHERE alert_event.alert = alert.id)`,
    },
    { table: 'silence', old: (before) => Prisma.sql`until < ${before}` },
    { table: 'broker_outage', old: (before) => Prisma.sql`until < ${before}` },
    { table: 'delivery', old: (before) => Prisma.sql`at < ${before}` },
    { table: 'notification', old: (before) => Prisma.sql`created_at < ${before} AND due_at IS NULL` },
  ],
  registry: [
    {
      table: 'dead_letter_replay',
      // The newest one is shown, however old.
      old: (before) => Prisma.sql`requested_at < ${before} AND id < (SELECT max(id) FROM dead_letter_replay)
        AND EXISTS (SELECT 1 FROM dead_letter_replay_progress AS progress
                    WHERE progress.replay = dead_letter_replay.id AND progress.ended_at < ${before})`,
    },
    { table: 'device_command', old: (before) => Prisma.sql`created_at < ${before} AND ended_at < ${before}` },
    { table: 'ghost', old: (before) => Prisma.sql`last_seen_at < ${before} AND cleared_at IS NOT NULL` },
    {
      table: 'event',
      // An hour more than can be resumed: who reads behind one that is young enough misses none. The newest one stays.
      keptMs: EVENTS_RESUMABLE_MS + HOUR_MS,
      everyMs: HOUR_MS,
      old: (before) => Prisma.sql`at < ${before} AND id < (SELECT max(id) FROM event)`,
    },
  ],
};

/** What is removed how, and who hears of it. */
export interface RetentionOptions {
  readonly database: PrismaClient;
  readonly rules: readonly RetentionRule[];
  /** How long rows are kept where their rule does not say. */
  readonly keptDays: number;
  readonly onRemoved: (table: string, rows: number, tookMs: number) => void;
  readonly onError: (table: string, error: unknown) => void;
}

/**
 * Removes what is old: every day at a quiet time, and soon after the start where that was missed. Of several processes
 * of a service one does it.
 */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #stop = new AbortController();
  #jobs: Cron[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Begins. */
  start(): void {
    const { rules } = this.#options;
    this.#timer = setTimeout(() => this.#queue(rules, 1), START_DELAY_MS);
    const daily = rules.filter(({ everyMs = DAY_MS }) => everyMs === DAY_MS);
    const hourly = rules.filter((rule) => !daily.includes(rule));
    this.#jobs = [
      new Cron(DAILY, { timezone: 'UTC' }, () => {
        this.#timer = setTimeout(() => this.#queue(daily, ALMOST), Math.random() * JITTER_MS);
      }),
      new Cron(HOURLY, { timezone: 'UTC' }, () => this.#queue(hourly, ALMOST)),
    ];
  }

  /** Stops, after the statement that runs. */
  async close(): Promise<void> {
    for (const job of this.#jobs) job.stop();
    clearTimeout(this.#timer);
    this.#stop.abort();
    await this.#sweeping;
  }

  /** Removes what is old at an instant, of every table whose turn it is; resolves when that is done, or was broken off. */
  async sweep(now: Date): Promise<void> {
    await this.#sweep(this.#options.rules, now, 1);
  }

  #queue(rules: readonly RetentionRule[], share: number): void {
    this.#sweeping = this.#sweeping.then(() => this.#sweep(rules, new Date(), share));
  }

  async #sweep(rules: readonly RetentionRule[], now: Date, share: number): Promise<void> {
    for (const rule of rules) {
      if (this.#stop.signal.aborted) return;
      try {
        if (await this.#isTurn(rule, now, share)) await this.#remove(rule, now);
      } catch (error) {
        this.#options.onError(rule.table, error);
      }
    }
  }

  /** Whether so much of the period has passed, and no other process has begun; one that did not come to an end counts for an hour. */
  async #isTurn({ table, everyMs = DAY_MS }: RetentionRule, now: Date, share: number): Promise<boolean> {
    const lastBefore = new Date(now.getTime() - share * everyMs);
    const brokenOffBefore = new Date(now.getTime() - HOUR_MS);
    const claimed = await this.#options.database.$executeRaw`
      INSERT INTO retention_run ("table", started_at) VALUES (${table}, ${now})
      ON CONFLICT ("table") DO UPDATE SET started_at = excluded.started_at, ended_at = NULL
      WHERE retention_run.started_at <= ${lastBefore}
        OR (retention_run.ended_at IS NULL AND retention_run.started_at < ${brokenOffBefore})`;
    return claimed > 0;
  }

  async #remove({ table, keptMs, old }: RetentionRule, now: Date): Promise<void> {
    const { database, keptDays, onRemoved } = this.#options;
    const before = new Date(now.getTime() - (keptMs ?? keptDays * DAY_MS));
    const name = Prisma.raw(`"${table}"`);
    const startedMs = performance.now();
    let removed = 0;
    for (let rows = MAX_ROWS; rows === MAX_ROWS && !this.#stop.signal.aborted;) {
      // Rows that somebody else is removing, or has in hand, are left to them.
      rows = await database.$executeRaw`
        DELETE FROM ${name} WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM ${name} WHERE ${old(before)} LIMIT ${MAX_ROWS} FOR UPDATE SKIP LOCKED))`;
      removed += rows;
      if (rows > 0) onRemoved(table, removed, performance.now() - startedMs);
      // Its only error is that it was ended.
      await delay(PAUSE_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
    if (this.#stop.signal.aborted) return;
    await database.$executeRaw`
      UPDATE retention_run SET ended_at = now(), removed = ${removed} WHERE "table" = ${table}`;
  }
}
