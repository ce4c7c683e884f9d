import type { Attention } from './fleet-store.ts';

/** It is asked five times a second; more than this between two times is no delay of a busy machine. */
const PAUSE_MS = 5_000;

/**
 * How one connection to a broker is listened to: until when all that was received has been settled. A count is enough:
 * messages are settled nearly in order, and silence is judged in seconds.
 */
export class Listening {
  #received = 0;
  #settled = 0;
  #untilMs: number;
  /** A moment, and how many messages had been received by then. */
  #mark: { readonly atMs: number; readonly received: number };

  #fromMs: number;
  #askedMs: number;

  /** @param fromMs since when it is listened to, in milliseconds since 1970 */
  constructor(fromMs: number) {
    this.#fromMs = fromMs;
    this.#askedMs = fromMs;
    this.#untilMs = fromMs;
    this.#mark = { atMs: fromMs, received: 0 };
  }

  /** Takes that messages came. */
  received(count: number): void {
    this.#received += count;
  }

  /** Takes that a message is durable, or refused for good. */
  settled(): void {
    this.#settled += 1;
  }

  /** From when, and until when, silence is silence. While neither InfluxDB nor the spool takes anything, that does not move. */
  attention(nowMs: number): Attention {
    // Who was stopped for a while, as a laptop that sleeps, has not listened meanwhile.
    if (nowMs - this.#askedMs > PAUSE_MS) this.#fromMs = nowMs;
    this.#askedMs = nowMs;
    if (this.#settled >= this.#mark.received) {
      this.#untilMs = this.#mark.atMs;
      this.#mark = { atMs: nowMs, received: this.#received };
    }
    return { fromMs: this.#fromMs, untilMs: this.#untilMs };
  }
}
