import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '@muster/service';
import type { Counter, Gauge } from 'prom-client';
import type { NotificationRecord } from './alert-record.ts';
import type { Attempt, DeliveryStore, WaitingNotification } from './delivery-store.ts';
import { DeliveryError, type Sender } from './senders.ts';

/** What the outbox counts. */
export interface OutboxMetrics {
  readonly deliveries: Counter<'receiver' | 'outcome'>;
  readonly waiting: Gauge<'receiver'>;
}

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 5 * 60_000;
/** What could not be told for a day is told by the list of alerts. */
const GIVE_UP_MS = 24 * 3_600_000;
/** Groups of one receiver that are told at the same time. */
const AT_ONCE = 4;

/**
 * How long to wait after a failed attempt, in milliseconds: twice as long each time up to five minutes, with jitter, and
 * never less than the receiver asks for within reason.
 * @param random a number in [0, 1)
 */
export function retryDelayMs(attempt: number, random: number, retryAfterMs = 0): number {
  const exponential = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempt - 1)) * (0.5 + random / 2);
  return Math.round(Math.max(exponential, Math.min(retryAfterMs, LONGEST_RETRY_MS)));
}

/** Notifications of one group, told one after the other. */
interface Line {
  readonly waiting: WaitingNotification[];
  isRunning: boolean;
}

/** The groups of one receiver. */
interface Lane {
  readonly sender: Sender;
  readonly lines: Map<string, Line>;
  readonly ready: Line[];
  running: number;
}

/**
 * Delivers notifications that are on record: in order within a group, again and again until the receiver has taken them
 * or a day has passed. Every attempt is on record too.
 */
export class Outbox {
  readonly #lanes: ReadonlyMap<string, Lane>;
  readonly #abort = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(
    private readonly store: DeliveryStore,
    senders: ReadonlyMap<string, Sender>,
    private readonly metrics: OutboxMetrics,
    private readonly logger: Logger,
  ) {
    this.#lanes = new Map(
      [...senders].map(([receiver, sender]) => [receiver, { sender, lines: new Map(), ready: [], running: 0 }]),
    );
  }

  /** Goes on with what waited when the service stopped. */
  async start(): Promise<void> {
    const waiting = await this.store.waiting();
    for (const notification of waiting) {
      if (this.#lanes.has(notification.receiver)) this.#take(notification);
      else await this.#giveUp(notification, 'the receiver is no longer configured');
    }
  }

  /** Takes notifications that have just been put on record. */
  add(notifications: readonly NotificationRecord[]): void {
    for (const notification of notifications) this.#take({ ...notification, attempts: 0, dueMs: 0 });
  }

  /**
   * Tells a receiver something once, now; answers the attempt, which is on record.
   * @throws Error for a receiver that there is not
   */
  async once(notification: NotificationRecord): Promise<Attempt> {
    const lane = this.#lanes.get(notification.receiver);
    if (lane === undefined) throw new Error(`there is no receiver ${notification.receiver}`);
    const attempt = await this.#attempt(lane, { ...notification, attempts: 0, dueMs: 0 });
    const once: Attempt = { ...attempt, retryAtMs: null };
    await this.store.record(once);
    return once;
  }

  /** Whether nothing waits for a receiver. */
  isIdle(receiver: string): boolean {
    return this.#lanes.get(receiver)?.lines.size === 0;
  }

  /** Stops; what is under way is waited for, what waits stays on record. */
  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
    for (const { sender } of this.#lanes.values()) sender.close();
  }

  #take(notification: WaitingNotification): void {
    const { receiver, group } = notification;
    const lane = this.#lanes.get(receiver);
    if (lane === undefined || this.#abort.signal.aborted) return;
    this.metrics.waiting.inc({ receiver });
    const line = lane.lines.get(group) ?? { waiting: [], isRunning: false };
    lane.lines.set(group, line);
    line.waiting.push(notification);
    if (line.isRunning) return;
    line.isRunning = true;
    lane.ready.push(line);
    this.#next(lane);
  }

  #next(lane: Lane): void {
    while (lane.running < AT_ONCE) {
      const line = lane.ready.shift();
      if (line === undefined) return;
      lane.running += 1;
      const run = this.#run(lane, line)
        .catch((error: unknown) => {
          if (!this.#abort.signal.aborted) this.logger.error({ err: error }, 'a line of deliveries has stopped');
        })
        .finally(() => {
          lane.running -= 1;
          this.#running.delete(run);
          this.#next(lane);
        });
      this.#running.add(run);
    }
  }

  async #run(lane: Lane, line: Line): Promise<void> {
    for (let head = line.waiting[0]; head !== undefined; head = line.waiting[0]) {
      const waitMs = head.dueMs - Date.now();
      if (waitMs > 0) {
        // Others of the receiver go on meanwhile.
        this.#later(lane, line, waitMs);
        return;
      }
      if (this.#abort.signal.aborted) return;
      const attempt = await this.#attempt(lane, head);
      await this.#record(attempt);
      if (attempt.retryAtMs === null) {
        line.waiting.shift();
        this.metrics.waiting.dec({ receiver: head.receiver });
      } else line.waiting[0] = { ...head, attempts: attempt.number, dueMs: attempt.retryAtMs };
    }
    line.isRunning = false;
    for (const [group, known] of lane.lines) if (known === line) lane.lines.delete(group);
  }

  #later(lane: Lane, line: Line, waitMs: number): void {
    void delay(waitMs, undefined, { signal: this.#abort.signal }).then(
      () => {
        lane.ready.push(line);
        this.#next(lane);
      },
      // Stopped meanwhile; the next start finds it on record.
      () => undefined,
    );
  }

  async #attempt(lane: Lane, notification: WaitingNotification): Promise<Attempt> {
    const { receiver, createdMs } = notification;
    const number = notification.attempts + 1;
    const atMs = Date.now();
    const attempted = { notification, number, atMs };
    try {
      const detail = await lane.sender.send(notification);
      this.metrics.deliveries.inc({ receiver, outcome: 'delivered' });
      return { ...attempted, outcome: 'delivered', detail, durationMs: Date.now() - atMs, retryAtMs: null };
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      const retryAfterMs = error instanceof DeliveryError ? error.retryAfterMs : undefined;
      const retryAtMs = Date.now() + retryDelayMs(number, Math.random(), retryAfterMs);
      const isOver = retryAtMs - createdMs > GIVE_UP_MS;
      const outcome = isOver ? 'given-up' : 'failed';
      this.metrics.deliveries.inc({ receiver, outcome });
      this.logger.warn({ receiver, notification: notification.id, number, outcome, reason: detail }, 'not delivered');
      return { ...attempted, outcome, detail, durationMs: Date.now() - atMs, retryAtMs: isOver ? null : retryAtMs };
    }
  }

  /** A receiver that has taken it must not get it again because PostgreSQL is away: that is waited for. */
  async #record(attempt: Attempt): Promise<void> {
    for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 5_000)) {
      try {
        await this.store.record(attempt);
        return;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.logger.warn({ reason, notification: attempt.notification.id }, 'an attempt could not be put on record');
        await delay(pauseMs, undefined, { signal: this.#abort.signal });
      }
    }
  }

  async #giveUp(notification: WaitingNotification, detail: string): Promise<void> {
    const number = notification.attempts + 1;
    await this.store.record({
      ...{ notification, number, detail, atMs: Date.now() },
      ...{ outcome: 'given-up', durationMs: 0, retryAtMs: null },
    });
    this.logger.warn({ receiver: notification.receiver, notification: notification.id, reason: detail }, 'given up');
  }
}
