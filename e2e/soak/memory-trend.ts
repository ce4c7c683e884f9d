import { quantile } from '../bench/figures.ts';

/** A value at a moment, in milliseconds since 1970. */
export interface Sample {
  readonly atMs: number;
  readonly value: number;
}

/** What was seen within a stretch of time. */
export interface Stretch {
  readonly fromMs: number;
  readonly least: number;
  readonly median: number;
  readonly most: number;
}

/** How memory went. */
export interface MemoryTrend {
  readonly medianBytes: number;
  readonly mostBytes: number;
  readonly bytesPerMinute: number;
  /** What it grew by from the first stretch to the last, along the trend, to its median; negative where it shrank. */
  readonly growthShare: number;
}

/** Sums samples up by stretches of one length, the first from `fromMs`; one without a sample is left out. */
export function stretchesOf(
  samples: readonly Sample[],
  fromMs: number,
  toMs: number,
  lengthMs: number,
): readonly Stretch[] {
  const count = Math.ceil((toMs - fromMs) / lengthMs);
  return Array.from({ length: count }, (_, index) => fromMs + index * lengthMs).flatMap((startMs) => {
    const endMs = Math.min(startMs + lengthMs, toMs);
    const values = samples.filter(({ atMs }) => atMs >= startMs && atMs < endMs).map(({ value }) => value);
    if (values.length === 0) return [];
    return [{ fromMs: startMs, least: quantile(values, 0), median: quantile(values, 0.5), most: quantile(values, 1) }];
  });
}

/**
 * The slope of some points: the median of the slopes between any two (Theil–Sen), which one collection of garbage more
 * or less does not move. 0 where there are fewer than two.
 */
export function slopeOf(points: readonly { readonly x: number; readonly y: number }[]): number {
  const slopes = points.flatMap((one, index) =>
    points.slice(index + 1).flatMap((other) => (other.x === one.x ? [] : [(other.y - one.y) / (other.x - one.x)])),
  );
  if (slopes.length === 0) return 0;
  const sorted = slopes.sort((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

/** The trend of resident memory over the medians of some stretches. */
export function memoryTrend(stretches: readonly Stretch[]): MemoryTrend {
  const medians = stretches.map(({ median }) => median);
  const medianBytes = quantile(medians, 0.5);
  const bytesPerMs = slopeOf(stretches.map(({ fromMs, median }) => ({ x: fromMs, y: median })));
  const spanMs = (stretches.at(-1)?.fromMs ?? 0) - (stretches[0]?.fromMs ?? 0);
  return {
    medianBytes,
    mostBytes: Math.max(...stretches.map(({ most }) => most)),
    bytesPerMinute: bytesPerMs * 60_000,
    growthShare: (bytesPerMs * spanMs) / medianBytes,
  };
}
