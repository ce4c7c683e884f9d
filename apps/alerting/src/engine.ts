import { AlertBook, type Route } from './alert-book.ts';
import type { StoredAlerts } from './alert-store.ts';
import type { Condition } from './condition.ts';
import { Evaluator } from './evaluator.ts';
import { FleetView } from './fleet-view.ts';
import type { Journal } from './journal.ts';
import { Mutes } from './mutes.ts';

/** What a timer of Node can wait. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

/** Evaluation and alerts, and the one clock of both: what happens and what is due is done here, one after the other. */
export class Engine {
  readonly fleet: FleetView;
  readonly mutes = new Mutes();
  readonly evaluator: Evaluator;
  readonly book: AlertBook;
  #timer: NodeJS.Timeout | undefined;
  #isOpen = false;

  constructor(journal: Journal, routes: readonly Route[], graceMs: number) {
    this.fleet = new FleetView(graceMs, (outage) => journal.outage(outage));
    this.book = new AlertBook(journal, this.fleet, this.mutes, routes);
    this.evaluator = new Evaluator(this.fleet, (step) => this.book.take(step));
  }

  /** Goes on with what is on record, under these rules. Nothing is told before `open`. */
  restore(stored: StoredAlerts, conditions: readonly Condition[], nowMs: number): void {
    for (const silence of stored.silences) this.mutes.silences.set(silence.id, silence);
    for (const window of stored.windows) this.mutes.setWindow(window);
    for (const outage of stored.outages) this.fleet.restoreOutage(outage);
    this.evaluator.setRules(conditions, nowMs);
    this.book.drop(this.evaluator.restore(this.book.restore(stored, nowMs)), nowMs);
  }

  /** From now on what is due is done: what is known has been looked at. */
  open(): void {
    this.#isOpen = true;
    this.run(() => undefined);
  }

  /** Does something, and then what is due. */
  run(work: (nowMs: number) => void): void {
    const nowMs = Date.now();
    work(nowMs);
    if (!this.#isOpen) return;
    this.evaluator.tick(nowMs);
    this.book.tick(nowMs);
    this.#wait(nowMs);
  }

  /** Stops the clock. */
  close(): void {
    this.#isOpen = false;
    clearTimeout(this.#timer);
  }

  #wait(nowMs: number): void {
    clearTimeout(this.#timer);
    const times = [this.evaluator.nextDueMs, this.book.nextDueMs].filter((atMs) => atMs !== undefined);
    if (times.length === 0) return;
    const waitMs = Math.min(Math.max(0, Math.min(...times) - nowMs), LONGEST_WAIT_MS);
    this.#timer = setTimeout(() => this.run(() => undefined), waitMs);
  }
}
