import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memoryTrend, slopeOf, stretchesOf, type Stretch } from './memory-trend.ts';

const MINUTE_MS = 60_000;

function minutes(medians: readonly number[]): readonly Stretch[] {
  return medians.map((median, index) => ({ fromMs: index * MINUTE_MS, least: median - 5, median, most: median + 5 }));
}

describe('samples by stretches', () => {
  it('give the least, the median and the most of each', () => {
    const samples = [5, 1, 3, 10, 30, 20].map((value, index) => ({ atMs: 1_000 + index * 20_000, value }));
    expect(stretchesOf(samples, 1_000, 121_000, MINUTE_MS)).toEqual([
      { fromMs: 1_000, least: 1, median: 3, most: 5 },
      { fromMs: 61_000, least: 10, median: 20, most: 30 },
    ]);
  });

  it('leave out what was before, what comes after, and what nobody looked at', () => {
    const samples = [0, 999, 1_000, 3_500, 3_999, 4_000].map((atMs) => ({ atMs, value: atMs }));
    const found = stretchesOf(samples, 1_000, 4_000, 1_000);
    expect(found.map(({ fromMs, least, most }) => [fromMs, least, most])).toEqual([
      [1_000, 1_000, 1_000],
      [3_000, 3_500, 3_999],
    ]);
  });

  it('count each sample within the time once', () => {
    const times = fc.array(fc.integer({ min: -50, max: 250 }), { maxLength: 50 });
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 90 }), (atMs, lengthMs) => {
        const samples = atMs.map((at) => ({ atMs: at, value: at }));
        for (const { fromMs, least, most } of stretchesOf(samples, 0, 200, lengthMs)) {
          expect(least).toBeGreaterThanOrEqual(fromMs);
          expect(most).toBeLessThan(Math.min(fromMs + lengthMs, 200));
        }
      }),
    );
  });
});

describe('a slope', () => {
  it.each([
    ['no point', [], 0],
    ['one point', [7], 0],
    ['a constant', [4, 4, 4, 4], 0],
    ['a line', [1, 3, 5, 7, 9], 2],
    ['a line that falls', [9, 6, 3], -3],
    ['a line with one point far off it', [1, 2, 3, 100, 5, 6, 7], 1],
    ['a saw', [1, 5, 1, 5, 1, 5, 1], 0],
  ])('of %s', (_, values, slope) => {
    expect(slopeOf(values.map((y, x) => ({ x, y })))).toBe(slope);
  });

  it('is that of the line, whatever line it is', () => {
    const whole = fc.integer({ min: -1_000, max: 1_000 });
    fc.assert(
      fc.property(whole, whole, fc.integer({ min: 2, max: 20 }), (slope, start, count) => {
        const points = Array.from({ length: count }, (_, x) => ({ x, y: start + slope * x }));
        expect(slopeOf(points)).toBe(slope);
      }),
    );
  });
});

describe('the trend of memory', () => {
  it.each([
    ['stays', [200, 201, 199, 200, 200], 0, 0],
    ['grows by ten a minute', [200, 210, 220, 230, 240], 10, 40 / 220],
    ['shrinks', [220, 210, 200], -10, -20 / 210],
    ['stays, with one minute of much', [200, 200, 400, 200, 200, 200], 0, 0],
  ])('that %s', (_, medians, perMinute, growthShare) => {
    const trend = memoryTrend(minutes(medians));
    expect(trend.bytesPerMinute).toBeCloseTo(perMinute, 0);
    expect(trend.growthShare).toBeCloseTo(growthShare, 2);
    expect(trend.mostBytes).toBe(Math.max(...medians) + 5);
  });
});
