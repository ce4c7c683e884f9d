import type { DigestReading, Interest } from '@muster/contract';

/** A batch has at most so many readings. */
export const MAX_DIGEST_READINGS = 1_000;
/** Beyond so many readings that could not be sent, the oldest are given up: consumers see the gap. */
const MAX_WAITING = 20_000;

/** What consumers want of one broker's readings, and what waits to be told. */
export class DigestQueue {
  readonly #interests = new Map<string, Interest>();
  #wanted: Interest = new Set();
  #waiting: DigestReading[] = [];
  #number = 0;

  /** Metrics that somebody wants. */
  get wanted(): Interest {
    return this.#wanted;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** Takes what a consumer wants; undefined takes it back. */
  interested(consumer: string, interest: Interest | undefined): void {
    if (interest === undefined) this.#interests.delete(consumer);
    else this.#interests.set(consumer, interest);
    const all = [...this.#interests.values()];
    this.#wanted = all.includes('*') ? '*' : new Set(all.flatMap((one) => (one === '*' ? [] : [...one])));
  }

  /** Whether anybody wants anything. */
  get isWanted(): boolean {
    return this.#wanted === '*' || this.#wanted.size > 0;
  }

  /** Whether anybody wants a metric. */
  wants(metric: string): boolean {
    return this.#wanted === '*' || this.#wanted.has(metric);
  }

  /** Takes a reading; answers whether a batch is full. */
  add(reading: DigestReading): boolean {
    this.#waiting.push(reading);
    if (this.#waiting.length > MAX_WAITING) {
      this.#waiting.splice(0, MAX_WAITING / 2);
      this.#number += 1;
    }
    return this.#waiting.length >= MAX_DIGEST_READINGS;
  }

  /** The next batch with its number; undefined when nothing waits. */
  take(): { readonly number: number; readonly readings: readonly DigestReading[] } | undefined {
    if (this.#waiting.length === 0) return undefined;
    this.#number += 1;
    return { number: this.#number, readings: this.#waiting.splice(0, MAX_DIGEST_READINGS) };
  }
}
