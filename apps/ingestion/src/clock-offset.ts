/** A period lasts at least so long, and has at least so many readings: whoever sends rarely is judged by fewer a day. */
const PERIOD_MS = 300_000;
const PERIOD_READINGS = 8;
/** Before that a clock that is slow cannot be told from an outbox that is emptied. */
const TRUSTED_AFTER_MS = 60_000;
const TRUSTED_READINGS = 4;

const NOTHING = Number.NEGATIVE_INFINITY;
/**
 * Differences are whole milliseconds of 32 bits, which V8 keeps in their object: any other number would be an object of its
 * own, of which there are a hundred thousand times four. A clock that is further off, by 24 days, is off by that much.
 */
const MAX_DIFFERENCE_MS = 2 ** 31 - 1;
const NO_DIFFERENCE = -MAX_DIFFERENCE_MS - 1;

/**
 * How far a device's clock is ahead of ours. A reading's time less its receipt is the clock's offset less the time that the
 * reading took; no reading takes less than no time, so the largest of these differences are the truest, however late
 * others come. Of two periods the two largest are kept; times are milliseconds, all of our clock. It is changed in place:
 * every message changes that of its device.
 */
export class ClockOffset {
  /** First receipt of all, and of this period. */
  #firstMs = NOTHING;
  #periodMs = NOTHING;
  /** Readings in this period, and before it. */
  #readings = 0;
  #readingsBefore = 0;
  #largestMs = NO_DIFFERENCE;
  #secondMs = NO_DIFFERENCE;
  /** Those of the period before. */
  #largestBeforeMs = NO_DIFFERENCE;
  #secondBeforeMs = NO_DIFFERENCE;

  /**
   * Takes a reading that says its time by that clock. Readings that had waited at the broker, or come again, do no harm;
   * they only say less.
   */
  take(claimedMs: number, receivedAtMs: number): void {
    if (this.#firstMs === NOTHING) this.#firstMs = this.#periodMs = receivedAtMs;
    if (this.#readings >= PERIOD_READINGS && receivedAtMs - this.#periodMs >= PERIOD_MS) {
      this.#periodMs = receivedAtMs;
      this.#readingsBefore = this.#readings;
      this.#largestBeforeMs = this.#largestMs;
      this.#secondBeforeMs = this.#secondMs;
      this.#readings = 0;
      this.#largestMs = this.#secondMs = NO_DIFFERENCE;
    }
    this.#readings += 1;
    const exactMs = Math.round(claimedMs - receivedAtMs);
    const differenceMs = Math.max(-MAX_DIFFERENCE_MS, Math.min(MAX_DIFFERENCE_MS, exactMs));
    if (differenceMs > this.#largestMs) {
      this.#secondMs = this.#largestMs;
      this.#largestMs = differenceMs;
    } else if (differenceMs > this.#secondMs) {
      this.#secondMs = differenceMs;
    }
  }

  /**
   * How far the clock is ahead of ours, in whole milliseconds of 32 bits; negative where it is slow, undefined before enough is known. It is
   * the second largest difference, so that one reading with a wild time does not count; it is too small by what the second
   * fastest reading took. A clock that is set forward shows with its second reading, one that is set back after two
   * periods: of five minutes, or of eight readings where those take longer.
   * @param nowMs of the last reading, or later
   */
  offsetMs(nowMs: number): number | undefined {
    if (this.#firstMs === NOTHING || nowMs - this.#firstMs < TRUSTED_AFTER_MS) return undefined;
    if (this.#readings + this.#readingsBefore < TRUSTED_READINGS) return undefined;
    const largestOfBothMs = Math.min(this.#largestMs, this.#largestBeforeMs);
    return Math.max(largestOfBothMs, this.#secondMs, this.#secondBeforeMs);
  }
}
