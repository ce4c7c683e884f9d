/** How long something took, over many times; milliseconds. */
export interface Spread {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** The value that a share of all values does not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/** Sums durations up. */
export function spreadOf(durationsMs: readonly number[]): Spread {
  return {
    count: durationsMs.length,
    p50Ms: rounded(quantile(durationsMs, 0.5)),
    p99Ms: rounded(quantile(durationsMs, 0.99)),
    maxMs: rounded(quantile(durationsMs, 1)),
  };
}

/** What some rounds gave. */
export interface Range {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Sums rounds up. */
export function rangeOf(values: readonly number[]): Range {
  return {
    median: rounded(quantile(values, 0.5)),
    min: rounded(quantile(values, 0)),
    max: rounded(quantile(values, 1)),
  };
}

/** A range as a line of a bench shows it. */
export function told({ median, min, max }: Range): string {
  return `${median} (${min} to ${max})`;
}

/** To two digits behind the point. */
export function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Prints a line of a bench. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Calls back so many times a second, evenly, for so long. */
export async function atRate(perSecond: number, durationMs: number, call: (index: number) => void): Promise<number> {
  const startedAt = performance.now();
  let called = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsedMs = Math.min(performance.now() - startedAt, durationMs);
      const due = Math.floor((elapsedMs * perSecond) / 1000);
      while (called < due) call(called++);
      if (elapsedMs < durationMs) return;
      clearInterval(timer);
      resolve();
    }, 2);
  });
  return called;
}
