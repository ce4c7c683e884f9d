import { CLOCK_TOLERANCE_MS } from './hearing.ts';

/** A window keeps at most so many samples; those that come closer together replace each other. */
const MAX_SAMPLES = 48;

interface Sample {
  readonly atMs: number;
  readonly value: number;
}

/** Adds a sample and leaves out those that are not needed: all but one of those before the window, and crowds. */
function withSample(samples: readonly Sample[], sample: Sample, lengthMs: number): readonly Sample[] {
  const startMs = sample.atMs - lengthMs;
  const firstInside = samples.findIndex(({ atMs }) => atMs > startMs);
  const kept = samples.slice(firstInside < 0 ? -1 : Math.max(0, firstInside - 1));
  const [previous, last] = kept.slice(-2);
  const isCrowd = previous !== undefined && last !== undefined && last.atMs - previous.atMs < lengthMs / MAX_SAMPLES;
  return [...(isCrowd ? kept.slice(0, -1) : kept), sample];
}

/** How fast a metric changes, from its newest readings; times are the device's. */
export class RateWindow {
  #samples: readonly Sample[] = [];

  constructor(private readonly perMs: number) {}

  /**
   * Takes a reading; answers the change over the time of the window, or undefined while less than half of that has been
   * seen.
   */
  add(value: number, atMs: number): number | undefined {
    const last = this.#samples.at(-1);
    if (last !== undefined && atMs <= last.atMs) {
      // A clock that was set back: what came before cannot be compared.
      if (last.atMs - atMs > Math.min(this.perMs, CLOCK_TOLERANCE_MS)) this.#samples = [{ atMs, value }];
      return undefined;
    }
    // Silence is no change: over a gap nothing is known.
    if (last !== undefined && atMs - last.atMs > this.perMs) this.#samples = [];
    this.#samples = withSample(this.#samples, { atMs, value }, this.perMs);
    const first = this.#samples.find((sample) => sample.atMs >= atMs - this.perMs);
    if (first === undefined) return undefined;
    const spanMs = atMs - first.atMs;
    return spanMs * 2 < this.perMs ? undefined : ((value - first.value) * this.perMs) / spanMs;
  }
}

/** By how much a counter has grown within a time; one that falls has begun anew. */
export class IncreaseWindow {
  #samples: readonly Sample[] = [];
  #total = 0;
  #raw: number | undefined;
  #firstAtMs: number | undefined;

  constructor(private readonly withinMs: number) {}

  /** Takes the counter; answers its growth, and whether it has been watched for all of the time. */
  add(raw: number, nowMs: number): { readonly increase: number; readonly isComplete: boolean } {
    if (this.#raw !== undefined) this.#total += raw < this.#raw ? raw : raw - this.#raw;
    this.#raw = raw;
    this.#firstAtMs ??= nowMs;
    this.#samples = withSample(this.#samples, { atMs: nowMs, value: this.#total }, this.withinMs);
    const isComplete = nowMs - this.#firstAtMs >= this.withinMs;
    return { increase: this.#total - (this.#samples[0]?.value ?? this.#total), isComplete };
  }
}
