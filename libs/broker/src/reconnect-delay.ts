/** What is known when a connection has been lost. */
export interface LostConnection {
  /** Attempts that failed since the last time a connection stood. */
  readonly failedAttempts: number;
  /** Connections in a row, this one included, that did not live for {@link SHORT_LIVED_MS}. */
  readonly shortLived: number;
  /** Whether the broker said that another client has this id now (reason code 0x8E). */
  readonly isTakenOver?: boolean;
}

/** A connection that lives shorter may have been taken over by another client with the same id. */
export const SHORT_LIVED_MS = 10_000;
const FIRST_MS = 50;
const LONGEST_MS = 30_000;

/**
 * How long to wait before connecting again, in milliseconds. The first attempt comes within 100 ms, because until the
 * consumer is back a restarted broker acknowledges to publishers what it has nobody to keep for (mqtt-pitfalls B7);
 * then exponential with jitter up to 30 s. Two short-lived connections in a row are a takeover that a broker without
 * reason code 0x8E does not tell, and one that is told needs no second: 5 to 30 s, so that two owners of one id do not
 * kick each other for ever.
 * @param random a number in [0, 1)
 */
export function reconnectDelayMs(lost: LostConnection, random: number): number {
  if (lost.isTakenOver === true || lost.shortLived >= 2) return 5_000 + random * 25_000;
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** lost.failedAttempts);
  return ceiling * (1 + random) > LONGEST_MS ? LONGEST_MS * (0.5 + random / 2) : ceiling * (1 + random);
}

/** What has become of a client's connections so far, and so how long to wait before the next. */
export class ReconnectPace {
  #failedAttempts = 0;
  #shortLived = 0;
  #connectedAtMs: number | undefined;

  /** Takes that a connection stands. */
  connected(nowMs: number): void {
    this.#connectedAtMs = nowMs;
    this.#failedAttempts = 0;
  }

  /** Takes that it was lost, or that there was none; answers the time to wait, in milliseconds. See {@link reconnectDelayMs}. */
  lost(nowMs: number, random: number, isTakenOver = false): number {
    if (this.#connectedAtMs === undefined) {
      this.#failedAttempts += 1;
      this.#shortLived = 0;
    } else {
      this.#shortLived = nowMs - this.#connectedAtMs < SHORT_LIVED_MS ? this.#shortLived + 1 : 0;
      this.#connectedAtMs = undefined;
    }
    const lost = { failedAttempts: this.#failedAttempts, shortLived: this.#shortLived, isTakenOver };
    return Math.round(reconnectDelayMs(lost, random));
  }
}
