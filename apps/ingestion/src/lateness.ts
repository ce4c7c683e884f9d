/** A reading older than this when it comes is news of the past: an outbox, a queue, a replay. */
const LATE_AFTER_MS = 10_000;
/** Readings whose ages differ by no more than this, over at least that time, are as fresh as their device's clock is slow. */
const STEADY_WITHIN_MS = 1_000;
const STEADY_AFTER_MS = 10_000;
/** A clock that was steady for so long may drift by so much: crystals do, by a second or two a day. */
const TRUSTED_AFTER_MS = 600_000;
const DRIFT_MS = 5_000;

/** Ages are whole milliseconds of 32 bits, which V8 keeps in their object: any other number would be an object of its own. */
const MAX_AGE_MS = 2 ** 31 - 1;

/**
 * How old the readings of a device have been when they came, without a change; times are milliseconds. It is changed in
 * place: every message changes that of its device.
 */
export class UsualAge {
  #ageMs = MAX_AGE_MS;
  #sinceMs = 0;

  /**
   * Takes a reading; answers whether it is news of the past. A clock that is slow makes all readings old by the same: they
   * are news all the same. An outbox that is emptied comes faster than it was filled, so its readings become younger.
   */
  take(exactAgeMs: number, receivedAtMs: number): boolean {
    const ageMs = Math.max(-MAX_AGE_MS, Math.min(MAX_AGE_MS, Math.round(exactAgeMs)));
    const differenceMs = Math.abs(ageMs - this.#ageMs);
    const steadyMs = receivedAtMs - this.#sinceMs;
    const isDrift = steadyMs >= TRUSTED_AFTER_MS && differenceMs <= DRIFT_MS;
    const isSteady = differenceMs <= STEADY_WITHIN_MS || isDrift;
    if (!isSteady) this.#sinceMs = receivedAtMs;
    if (!isSteady || isDrift) this.#ageMs = ageMs;
    return ageMs > LATE_AFTER_MS && !(isSteady && steadyMs >= STEADY_AFTER_MS);
  }
}
