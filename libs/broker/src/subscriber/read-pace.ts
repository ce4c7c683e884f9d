/** From so many messages a millisecond on, a read that waits a little has several to fetch. */
const BUSY_PER_MS = 2;
/** So many at once are a burst, after which a connection may be idle again. */
const BURST = 40;
const PAUSE_MS = 5;

/**
 * When to stop reading for a moment. A broker writes each message by itself, so whoever reads at once pays a system call
 * a message, which is ten times what it costs to read the message itself. Below 2,000 messages a second there is never a pause.
 */
export class ReadPace {
  /** What came beyond the rate that is let through without a pause. */
  #excess = 0;
  #lastMs = 0;

  /**
   * Takes note of a read; answers how long to wait with the next one, in milliseconds.
   * @param isEverything whether the read left nothing behind: else there is no use in waiting for more
   */
  pauseAfter(messages: number, isEverything: boolean, nowMs: number): number {
    const spared = (nowMs - this.#lastMs) * BUSY_PER_MS;
    this.#lastMs = nowMs;
    this.#excess = Math.min(Math.max(0, this.#excess - spared) + messages, 2 * BURST);
    return isEverything && this.#excess >= BURST ? PAUSE_MS : 0;
  }
}
