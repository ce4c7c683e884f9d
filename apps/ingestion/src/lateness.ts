/** A reading older than this when it comes is news of the past: an outbox, a queue, a replay. */
const LATE_AFTER_MS = 10_000;
/** Readings whose ages differ by no more than this, over at least that time, are as fresh as their device's clock is slow. */
const STEADY_WITHIN_MS = 1_000;
const STEADY_AFTER_MS = 10_000;
/** A clock that was steady for so long may drift by so much: crystals do, by a second or two a day. */
const TRUSTED_AFTER_MS = 600_000;
const DRIFT_MS = 5_000;

/** How old the readings of a device have been when they came, without a change; times are milliseconds. */
export interface UsualAge {
  readonly ageMs: number;
  readonly sinceMs: number;
}

/**
 * Whether a reading is news of the past, and what that says of its device. A clock that is slow makes all readings old by
 * the same: they are news all the same. An outbox that is emptied comes faster than it was filled, so its readings become
 * younger.
 */
export function latenessOf(
  usual: UsualAge | undefined,
  ageMs: number,
  receivedAtMs: number,
): { readonly isLate: boolean; readonly usual: UsualAge } {
  const differenceMs = usual === undefined ? Number.POSITIVE_INFINITY : Math.abs(ageMs - usual.ageMs);
  const steadyMs = usual === undefined ? 0 : receivedAtMs - usual.sinceMs;
  const isDrift = steadyMs >= TRUSTED_AFTER_MS && differenceMs <= DRIFT_MS;
  const isSteady = differenceMs <= STEADY_WITHIN_MS || isDrift;
  return {
    isLate: ageMs > LATE_AFTER_MS && !(isSteady && steadyMs >= STEADY_AFTER_MS),
    usual:
      usual !== undefined && isSteady
        ? { ageMs: isDrift ? ageMs : usual.ageMs, sinceMs: usual.sinceMs }
        : { ageMs, sinceMs: receivedAtMs },
  };
}
