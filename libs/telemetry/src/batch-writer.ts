import pRetry from 'p-retry';
import type { WriteOutcome } from './influx.ts';

/** One line on its way, and who waits for it. */
export interface PendingLine {
  readonly line: string;
  /**
   * Whether the line need not be written any more: its message has gone back to the broker, which delivers it again. Such
   * a line is dropped, so that an outage with many reconnects does not gather the same lines many times.
   */
  readonly isObsolete?: () => boolean;
  /** Called when the line is stored, or will never be: then with the reason. */
  readonly done: (refusal: string | undefined) => void;
}

/** How lines are gathered and written. */
export interface BatchWriterOptions {
  readonly write: (lines: readonly string[]) => Promise<WriteOutcome>;
  readonly maxLines: number;
  /** A line waits at most so long for others. */
  readonly maxDelayMs: number;
  /** Writes under way at once. */
  readonly concurrency: number;
  readonly onUnavailable: (reason: string, attempt: number) => void;
  readonly onWritten: (lines: number, durationMs: number) => void;
}

class Unavailable extends Error {}

interface Answer {
  readonly outcome: Exclude<WriteOutcome, { kind: 'unavailable' }>;
  readonly written: readonly PendingLine[];
}

/**
 * Gathers lines into batches and writes them until InfluxDB has taken them: an outage is waited out, a batch with a bad
 * line is halved until the bad line stands alone, and only that one is given up (lines older than the retention are told
 * by their times at once). Writing a line twice is harmless: the
 * same series and time is the same point.
 */
export class BatchWriter {
  readonly #options: BatchWriterOptions;
  readonly #abort = new AbortController();
  #gathering: PendingLine[] = [];
  #sealed: (readonly PendingLine[])[] = [];
  #underWay = 0;
  #waitingLines = 0;
  #timer: NodeJS.Timeout | undefined;
  #idle: (() => void) | undefined;

  constructor(options: BatchWriterOptions) {
    this.#options = options;
  }

  /** Lines that have been added and are not done. */
  get depth(): number {
    return this.#waitingLines;
  }

  /** Takes a line. */
  add(line: PendingLine): void {
    this.#waitingLines += 1;
    this.#gathering.push(line);
    if (this.#gathering.length >= this.#options.maxLines) this.#seal();
    else this.#timer ??= setTimeout(() => this.#seal(), this.#options.maxDelayMs);
  }

  /**
   * Writes what is gathered and waits until nothing is under way, at most `timeoutMs`; then gives up what is left
   * without calling its `done`, so it stays unacknowledged. Answers the lines left.
   */
  async close(timeoutMs: number): Promise<number> {
    this.#seal();
    if (this.#underWay > 0 || this.#sealed.length > 0) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        new Promise<void>((resolve) => (this.#idle = resolve)),
        new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs))),
      ]);
      clearTimeout(timer);
    }
    this.#abort.abort();
    return this.#waitingLines;
  }

  #seal(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#gathering.length > 0) this.#sealed.push(this.#gathering);
    this.#gathering = [];
    this.#pump();
  }

  #pump(): void {
    while (this.#underWay < this.#options.concurrency) {
      const batch = this.#sealed.shift();
      if (batch === undefined) {
        if (this.#underWay === 0) this.#idle?.();
        return;
      }
      this.#underWay += 1;
      void this.#store(batch).finally(() => {
        this.#underWay -= 1;
        this.#pump();
      });
    }
  }

  async #store(batch: readonly PendingLine[]): Promise<void> {
    const answer = await this.#writeUntilAnswered(batch);
    if (answer === undefined) return;
    const { outcome, written } = answer;
    if (outcome.kind === 'stored' || written.length <= 1) {
      this.#finish(written, outcome.kind === 'stored' ? undefined : outcome.reason);
      return;
    }
    if (outcome.kind === 'too-old') {
      const oldestFirst = [...written].sort((left, right) => timeOf(left) - timeOf(right));
      this.#finish(oldestFirst.slice(0, outcome.lines), outcome.reason);
      this.#finish(oldestFirst.slice(outcome.lines), undefined);
      return;
    }
    const middle = Math.ceil(written.length / 2);
    await this.#store(written.slice(0, middle));
    await this.#store(written.slice(middle));
  }

  #finish(lines: readonly PendingLine[], refusal: string | undefined): void {
    this.#waitingLines -= lines.length;
    for (const pending of lines) pending.done(refusal);
  }

  /** The answer that is about the lines, and which they were; undefined when the writer was closed before there was one. */
  async #writeUntilAnswered(batch: readonly PendingLine[]): Promise<Answer | undefined> {
    const startedAt = performance.now();
    let pending = batch;
    try {
      const answer = await pRetry(
        async (): Promise<Answer> => {
          const current = pending.filter((line) => line.isObsolete?.() !== true);
          this.#waitingLines -= pending.length - current.length;
          pending = current;
          if (current.length === 0) return { outcome: { kind: 'stored' }, written: [] };
          const outcome = await this.#options.write(current.map(({ line }) => line));
          if (outcome.kind === 'unavailable') throw new Unavailable(outcome.reason);
          return { outcome, written: current };
        },
        {
          retries: Number.POSITIVE_INFINITY,
          minTimeout: 100,
          maxTimeout: 5_000,
          randomize: true,
          signal: this.#abort.signal,
          onFailedAttempt: ({ error, attemptNumber }) => this.#options.onUnavailable(error.message, attemptNumber),
        },
      );
      this.#options.onWritten(answer.written.length, performance.now() - startedAt);
      return answer;
    } catch (error) {
      if (this.#abort.signal.aborted) return undefined;
      throw error;
    }
  }
}

/** The timestamp at the end of a line of line protocol. */
function timeOf({ line }: PendingLine): number {
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}
