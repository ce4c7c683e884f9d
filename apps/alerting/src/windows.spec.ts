import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IncreaseWindow, RateWindow } from './windows.ts';

describe('the rate of change', () => {
  const ratesOf = (perMs: number, ...readings: readonly (readonly [atMs: number, value: number])[]) => {
    const window = new RateWindow(perMs);
    return readings.map(([atMs, value]) => window.add(value, atMs));
  };

  it('is the change over the time of the rule, however long the readings are apart', () => {
    expect(ratesOf(60, [0, 20], [30, 21], [60, 22], [90, 23])).toEqual([undefined, 2, 2, 2]);
  });

  it('is not known before half of the time has been seen', () => {
    expect(ratesOf(60, [0, 20], [10, 30], [29, 40])).toEqual([undefined, undefined, undefined]);
  });

  it('is not known over a gap', () => {
    expect(ratesOf(60, [0, 20], [40, 20], [200, 90], [240, 90])).toEqual([undefined, 0, undefined, 0]);
  });

  it('begins anew when the clock of the device was set back', () => {
    expect(ratesOf(60, [1000, 5], [1040, 5], [10, 5], [50, 7])).toEqual([undefined, 0, undefined, 3]);
  });

  it('over a long time begins anew as well when a clock that was hours ahead is set right', () => {
    const hour = 3_600_000;
    expect(ratesOf(24 * hour, [20 * hour, 5], [0, 5], [12 * hour, 7])).toEqual([undefined, undefined, 4]);
  });

  it('of a straight line is its slope, however often it is read', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -5, max: 5 }),
        fc.array(fc.integer({ min: 1, max: 900 }), { maxLength: 200 }),
        (slope, steps) => {
          const window = new RateWindow(10_000);
          let atMs = 0;
          for (const step of steps) {
            atMs += step;
            const rate = window.add(slope * atMs, atMs);
            if (rate !== undefined) expect(rate).toBeCloseTo(slope * 10_000, 3);
          }
        },
      ),
    );
  });
});

describe('the growth of a counter', () => {
  const growthOf = (...counts: readonly (readonly [nowMs: number, raw: number])[]) => {
    const window = new IncreaseWindow(60);
    return counts.map(([nowMs, raw]) => window.add(raw, nowMs).increase);
  };

  it('is what was added within the time', () => {
    expect(growthOf([0, 100], [10, 103], [60, 103], [70, 103], [80, 104])).toEqual([0, 3, 3, 0, 1]);
  });

  it('survives that the counter begins anew', () => {
    expect(growthOf([0, 100], [10, 105], [20, 2])).toEqual([0, 5, 7]);
  });

  it('is complete when all of the time was watched', () => {
    const window = new IncreaseWindow(60);
    expect([0, 30, 60].map((nowMs) => window.add(1, nowMs).isComplete)).toEqual([false, false, true]);
  });

  it('is never below 0 and never above what was counted since the beginning', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.nat({ max: 9 })), { maxLength: 300 }),
        (steps) => {
          const window = new IncreaseWindow(100);
          let nowMs = 0;
          let raw = 0;
          for (const [afterMs, added] of steps) {
            nowMs += afterMs;
            raw += added;
            const { increase } = window.add(raw, nowMs);
            expect(increase).toBeGreaterThanOrEqual(0);
            expect(increase).toBeLessThanOrEqual(raw);
          }
        },
      ),
    );
  });
});
