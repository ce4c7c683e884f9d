import { describe, expect, it } from 'vitest';
import { BrokerWaits } from './broker-waits.ts';

/** After how many seconds each of so many attempts follows, where none of them helps. */
function pausesOf(waits: BrokerWaits<number>, attempts: number, brokers: readonly string[]): readonly number[] {
  let nowMs = 0;
  return Array.from({ length: attempts }, () => {
    waits.tried(1, brokers, nowMs, nowMs);
    const beganMs = nowMs;
    while (!waits.isDue(1, nowMs)) nowMs += 1_000;
    return (nowMs - beganMs) / 1_000;
  });
}

describe('work that a broker has left undone', () => {
  it('is tried again later each time, after a minute at the latest', () => {
    expect(pausesOf(new BrokerWaits(), 10, ['a'])).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
  });

  it('is due at once when a broker that it waits for is back, and then waits as at first', () => {
    const waits = new BrokerWaits<number>();
    pausesOf(waits, 9, ['a', 'b']);
    waits.tried(1, ['a', 'b'], 1_000_000, 1_000_000);
    waits.back('c', 1_001_000);
    expect(waits.isDue(1, 1_001_000)).toBe(false);
    waits.back('b', 1_002_000);
    expect(waits.isDue(1, 1_002_000)).toBe(true);
    waits.tried(1, ['a'], 1_003_000, 1_004_000);
    expect(waits.isDue(1, 1_004_999)).toBe(false);
    expect(waits.isDue(1, 1_005_000)).toBe(true);
  });

  it('is due at once when a broker has come back while it was tried', () => {
    const waits = new BrokerWaits<number>();
    waits.back('a', 1_000);
    waits.tried(1, ['a'], 500, 5_500);
    expect(waits.isDue(1, 5_500)).toBe(true);
    waits.tried(1, ['a'], 5_500, 6_000);
    expect(waits.isDue(1, 6_000)).toBe(false);
  });

  it('is due where it was never tried, is done, or was forgotten', () => {
    const waits = new BrokerWaits<number>();
    expect(waits.isDue(1, 0)).toBe(true);
    waits.tried(1, ['a'], 0, 0);
    waits.tried(1, [], 0, 0);
    waits.tried(2, ['a'], 0, 0);
    waits.tried(3, ['a'], 0, 0);
    waits.keep(new Set([3]));
    expect([1, 2, 3].map((id) => waits.isDue(id, 0))).toEqual([true, true, false]);
    waits.forget(3);
    expect(waits.isDue(3, 0)).toBe(true);
  });
});
