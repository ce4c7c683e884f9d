import { nextAttemptMs } from './config-sync.ts';

interface Wait {
  readonly attempts: number;
  readonly nextAtMs: number;
  /** The brokers that it waits for. */
  readonly brokers: readonly string[];
}

/**
 * When work is tried again that brokers have left undone: later each time, up to a minute, and at once when one of them
 * is back. Times are milliseconds since 1970.
 */
export class BrokerWaits<Id> {
  readonly #waits = new Map<Id, Wait>();
  readonly #backAtMs = new Map<string, number>();

  /** Whether it is time: also of what was never tried. */
  isDue(id: Id, nowMs: number): boolean {
    return (this.#waits.get(id)?.nextAtMs ?? nowMs) <= nowMs;
  }

  /** Some work was tried from `beganMs` on, and these brokers have not done it; without any it is done. */
  tried(id: Id, brokers: readonly string[], beganMs: number, nowMs: number): void {
    if (brokers.length === 0) {
      this.forget(id);
      return;
    }
    // One that came back meanwhile may have been asked before.
    const isBack = brokers.some((broker) => (this.#backAtMs.get(broker) ?? Number.NEGATIVE_INFINITY) >= beganMs);
    const attempts = isBack ? 0 : (this.#waits.get(id)?.attempts ?? 0);
    const nextAtMs = isBack ? nowMs : nextAttemptMs(attempts, nowMs);
    this.#waits.set(id, { attempts: attempts + 1, nextAtMs, brokers });
  }

  /** A broker is back: what waits for it is due. */
  back(broker: string, nowMs: number): void {
    this.#backAtMs.set(broker, nowMs);
    for (const [id, wait] of this.#waits)
      if (wait.brokers.includes(broker)) this.#waits.set(id, { ...wait, attempts: 0, nextAtMs: nowMs });
  }

  /** Forgets some work, which is due again should it come back. */
  forget(id: Id): void {
    this.#waits.delete(id);
  }

  /** Forgets all other work: another process has done it. */
  keep(ids: ReadonlySet<Id>): void {
    for (const id of this.#waits.keys()) if (!ids.has(id)) this.forget(id);
  }
}
