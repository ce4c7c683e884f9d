/** A rule that acts more often within the window, for one room or device, goes round in a circle. */
const MAX_FIRINGS = 200;
const WINDOW_MS = 10_000;
const REST_MS = 60_000;
/** Subjects come from outside; beyond so many, those that have been quiet are forgotten. */
const MAX_SUBJECTS = 20_000;

interface Window {
  sinceMs: number;
  count: number;
  restsUntilMs: number;
}

/** How often each rule acts for each room or device: what goes round in a circle rests for a minute. */
export class FiringLimit {
  readonly #windows = new Map<string, Window>();

  /** Takes that a rule is to act; answers whether it may, and why not at the moment when a rest begins. */
  take(rule: string, subject: string, nowMs: number): { readonly mayAct: boolean; readonly reason?: string } {
    const key = `${rule}\n${subject}`;
    const window = this.#windows.get(key);
    if (window === undefined || nowMs - window.sinceMs > WINDOW_MS) {
      if (window !== undefined && window.restsUntilMs > nowMs) return { mayAct: false };
      if (this.#windows.size >= MAX_SUBJECTS) this.#forget(nowMs);
      this.#windows.set(key, { sinceMs: nowMs, count: 1, restsUntilMs: 0 });
      return { mayAct: true };
    }
    if (window.restsUntilMs > nowMs) return { mayAct: false };
    window.count += 1;
    if (window.count <= MAX_FIRINGS) return { mayAct: true };
    window.restsUntilMs = nowMs + REST_MS;
    const about = subject === '' ? 'the same thing' : subject;
    return {
      mayAct: false,
      reason: `it acted more than ${MAX_FIRINGS} times within ${WINDOW_MS / 1000} s for ${about}, and rests there for ${REST_MS / 1000} s`,
    };
  }

  #forget(nowMs: number): void {
    for (const [key, { sinceMs, restsUntilMs }] of this.#windows)
      if (nowMs - sinceMs > WINDOW_MS && restsUntilMs <= nowMs) this.#windows.delete(key);
    if (this.#windows.size >= MAX_SUBJECTS) this.#windows.clear();
  }
}
