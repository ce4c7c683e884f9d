import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClockOffset } from './clock-offset.ts';

const START_MS = 1_800_000_000_000;

/** A reading: when it comes, in seconds, how far the clock is ahead then, and how long it took, in milliseconds. */
interface Heard {
  readonly atSeconds: number;
  readonly aheadMs: number;
  readonly delayMs: number;
}

function offsetAfter(heard: readonly Heard[]): number | undefined {
  const clock = new ClockOffset();
  let nowMs = START_MS;
  for (const { atSeconds, aheadMs, delayMs } of heard) {
    nowMs = START_MS + atSeconds * 1_000;
    clock.take(nowMs - delayMs + aheadMs, nowMs);
  }
  return clock.offsetMs(nowMs);
}

/** Readings every so many seconds. */
function steady(
  count: number,
  everySeconds: number,
  fromSeconds: number,
  aheadMs: (index: number) => number,
  delayMs: (index: number) => number = () => 0,
): readonly Heard[] {
  return Array.from({ length: count }, (_, index) => ({
    atSeconds: fromSeconds + index * everySeconds,
    aheadMs: aheadMs(index),
    delayMs: delayMs(index),
  }));
}

describe('the offset of a device’s clock', () => {
  it.each<[string, readonly Heard[], number | undefined]>([
    ['is not known from nothing', [], undefined],
    ['is not known from three readings', steady(3, 60, 0, () => 500), undefined],
    ['is not known before a minute', steady(600, 0.09, 0, () => 500), undefined],
    ['is what the clock is ahead', steady(20, 10, 0, () => 35_000), 35_000],
    ['is negative where the clock is slow', steady(20, 10, 0, () => -3_600_000), -3_600_000],
    [
      'counts the readings that took the least time',
      steady(
        50,
        10,
        0,
        () => 2_000,
        (index) => (index % 10) * 700,
      ),
      2_000,
    ],
    ['takes no heed of one wild time', steady(50, 10, 0, (index) => (index === 20 ? 80_000_000 : 5)), 5],
    [
      'follows a clock that is set forward with the second reading',
      [...steady(100, 10, 0, () => -9_000), ...steady(2, 10, 1_000, () => 40)],
      40,
    ],
    [
      'follows a clock that is set back after two periods',
      [...steady(100, 10, 0, () => 9_000), ...steady(62, 10, 1_000, () => 40)],
      40,
    ],
    [
      'follows the clock of a device that sleeps after two periods of eight readings',
      [...steady(16, 3_600, 0, () => 9_000), ...steady(9, 3_600, 72_000, () => 40)],
      40,
    ],
    ['does not follow it before', [...steady(16, 3_600, 0, () => 9_000), ...steady(8, 3_600, 72_000, () => 40)], 9_000],
    [
      'is what the period before has told while readings take longer',
      steady(
        25,
        20,
        0,
        () => 300,
        (index) => (index < 15 ? 0 : 5_000),
      ),
      300,
    ],
    [
      'does not count what an outbox held while the device was away',
      [
        ...steady(100, 10, 0, () => 70),
        ...steady(
          400,
          0.01,
          8_200,
          () => 70,
          (index) => 7_200_000 - index * 10_000,
        ),
      ],
      70,
    ],
    [
      'is not what an outbox says that comes first of all',
      steady(
        400,
        0.1,
        0,
        () => 70,
        (index) => 7_200_000 - index * 10_000,
      ),
      undefined,
    ],
  ])('%s', (_, heard, offsetMs) => {
    expect(offsetAfter(heard)).toBe(offsetMs);
  });

  it('is never ahead of the clock, and behind it by no more than the second shortest delay since the last period', () => {
    const heard = fc.array(fc.record({ pause: fc.integer({ min: 1, max: 900 }), delayMs: fc.nat(100_000) }), {
      minLength: 4,
      maxLength: 100,
    });
    fc.assert(
      fc.property(fc.integer({ min: -1e8, max: 1e8 }), heard, (aheadMs, pauses) => {
        let atSeconds = 0;
        const readings = pauses.map(({ pause, delayMs }) => ({ atSeconds: (atSeconds += pause), aheadMs, delayMs }));
        const first = readings[0]?.atSeconds ?? 0;
        const offsetMs = offsetAfter(readings);
        if (atSeconds - first < 60) {
          expect(offsetMs).toBeUndefined();
          return;
        }
        const [, second = 0] = readings
          .slice(-8)
          .map(({ delayMs }) => delayMs)
          .sort((one, other) => one - other);
        expect(offsetMs).toBeLessThanOrEqual(aheadMs);
        expect(offsetMs).toBeGreaterThanOrEqual(aheadMs - second);
      }),
    );
  });

  it('is no number of an earlier time after two periods, whatever the clock did before', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1e9, max: 1e9 }), { maxLength: 40 }), (before) => {
        const wild = steady(before.length, 20, 0, (index) => before[index] ?? 0);
        expect(offsetAfter([...wild, ...steady(40, 20, 1_000, () => 123)])).toBe(123);
      }),
    );
  });
});
