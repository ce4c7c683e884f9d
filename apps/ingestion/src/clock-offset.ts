/** A period lasts at least so long, and has at least so many readings: whoever sends rarely is judged by fewer a day. */
const PERIOD_MS = 300_000;
const PERIOD_READINGS = 8;
/** Before that a clock that is slow cannot be told from an outbox that is emptied. */
const TRUSTED_AFTER_MS = 60_000;
const TRUSTED_READINGS = 4;

/**
 * What is known of a device's clock. A reading's time less its receipt is the clock's offset less the time that the reading
 * took; no reading takes less than no time, so the largest of these differences are the truest, however late others come.
 * Of two periods the two largest are kept; times are milliseconds, all of our clock.
 */
export interface ClockOffset {
  /** First receipt of all, and of this period. */
  readonly firstMs: number;
  readonly periodMs: number;
  /** Readings in this period, and before it. */
  readonly readings: number;
  readonly readingsBefore: number;
  readonly largestMs: number;
  readonly secondMs: number;
  /** Those of the period before. */
  readonly largestBeforeMs: number;
  readonly secondBeforeMs: number;
}

const NOTHING = Number.NEGATIVE_INFINITY;

/**
 * What is known of a device's clock after a reading that says its time by that clock. Readings that had waited at the broker,
 * or come again, do no harm; they only say less.
 */
export function clockOffsetAfter(
  before: ClockOffset | undefined,
  claimedMs: number,
  receivedAtMs: number,
): ClockOffset {
  const differenceMs = claimedMs - receivedAtMs;
  if (before === undefined) {
    return {
      firstMs: receivedAtMs,
      periodMs: receivedAtMs,
      readings: 1,
      readingsBefore: 0,
      largestMs: differenceMs,
      secondMs: NOTHING,
      largestBeforeMs: NOTHING,
      secondBeforeMs: NOTHING,
    };
  }
  const isOver = before.readings >= PERIOD_READINGS && receivedAtMs - before.periodMs >= PERIOD_MS;
  const largestMs = isOver ? NOTHING : before.largestMs;
  const secondMs = isOver ? NOTHING : before.secondMs;
  return {
    firstMs: before.firstMs,
    periodMs: isOver ? receivedAtMs : before.periodMs,
    readings: isOver ? 1 : before.readings + 1,
    readingsBefore: isOver ? before.readings : before.readingsBefore,
    largestMs: Math.max(largestMs, differenceMs),
    secondMs: Math.max(secondMs, Math.min(largestMs, differenceMs)),
    largestBeforeMs: isOver ? before.largestMs : before.largestBeforeMs,
    secondBeforeMs: isOver ? before.secondMs : before.secondBeforeMs,
  };
}

/**
 * How far a device's clock is ahead of ours, in milliseconds; negative where it is slow, undefined before enough is known.
 * It is the second largest difference, so that one reading with a wild time does not count; it is too small by what the
 * second fastest reading took. A clock that is set forward shows with its second reading, one that is set back after two
 * periods: of five minutes, or of eight readings where those take longer.
 * @param nowMs of the last reading, or later
 */
export function clockOffsetMs(known: ClockOffset | undefined, nowMs: number): number | undefined {
  if (known === undefined || nowMs - known.firstMs < TRUSTED_AFTER_MS) return undefined;
  if (known.readings + known.readingsBefore < TRUSTED_READINGS) return undefined;
  return Math.max(Math.min(known.largestMs, known.largestBeforeMs), known.secondMs, known.secondBeforeMs);
}
