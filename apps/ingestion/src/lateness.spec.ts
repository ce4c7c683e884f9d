import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsualAge } from './lateness.ts';

/** Which of some readings are late; each is the age that it has when it comes, and the seconds since the one before. */
function late(...readings: readonly (readonly [ageSeconds: number, afterSeconds: number])[]): readonly boolean[] {
  const usual = new UsualAge();
  let nowMs = 1_800_000_000_000;
  return readings.map(([age, after]) => {
    nowMs += after * 1_000;
    return usual.take(age * 1_000, nowMs);
  });
}

describe('a reading', () => {
  it('is news when it is young, also of a clock that is ahead', () => {
    expect(late([0, 0], [9, 60], [-3_600, 60])).toEqual([false, false, false]);
  });

  it('is news of the past when it is older than those before', () => {
    expect(late([0, 0], [60, 60], [0.2, 1])).toEqual([false, true, false]);
  });

  it('is news when its device’s clock is slow, once that has been so for a while', () => {
    expect(late([11, 0], [11, 5], [11.3, 5], [10.9, 60])).toEqual([true, true, false, false]);
    expect(late([3_600, 0], [3_600, 60])).toEqual([true, false]);
  });

  it('is news when a clock drifts slowly, for ever', () => {
    const day = Array.from({ length: 1_440 }, (_, minute) => [20 + minute * 0.0017, 60] as const);
    expect(late(...day).filter(Boolean)).toEqual([true]);
  });

  it('is news of the past while an outbox is emptied, however fast', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1.3, max: 1_000, noNaN: true }),
        fc.integer({ min: 1, max: 600 }),
        (speed, every) => {
          const after = every / speed;
          const waiting = Array.from({ length: 200 }, (_, index) => [7_200 - index * (every - after), after] as const);
          expect(late([0, 0], ...waiting.filter(([age]) => age > 10)).slice(1)).not.toContain(false);
        },
      ),
    );
  });
});
