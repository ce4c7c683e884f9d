import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextKillAtMs, victimOf } from './kill-plan.ts';

describe('kills at random moments', () => {
  it.each([
    ['the first, soon', [], 1_000, 0, 1_500],
    ['the first, late', [], 1_000, 1, 26_000],
    ['while there were few', [1_000, 2_000, 3_000], 4_000, 0, 4_500],
    ['while there were many, a minute after the fourth before', [1_000, 2_000, 3_000, 4_000], 5_000, 0, 62_000],
    ['once those are long ago', [1_000, 2_000, 3_000, 4_000], 100_000, 0, 100_500],
  ])('%s', (_, earlierMs, nowMs, random, atMs) => {
    expect(nextKillAtMs(earlierMs, nowMs, random)).toBe(atMs);
  });

  it('are never as many within a minute as the supervisor takes for hopeless', () => {
    const randoms = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 5, maxLength: 40 });
    fc.assert(
      fc.property(randoms, (chances) => {
        const killsMs: number[] = [];
        for (const chance of chances) killsMs.push(nextKillAtMs(killsMs, killsMs.at(-1) ?? 0, chance));
        for (const atMs of killsMs)
          expect(killsMs.filter((other) => other > atMs - 60_000 && other <= atMs).length).toBeLessThanOrEqual(4);
      }),
    );
  });

  it('hit the broker as well, and ingestion more often', () => {
    expect(Array.from({ length: 8 }, (_, earlier) => victimOf(earlier))).toEqual([
      ...['ingestion', 'mosquitto-0', 'ingestion', 'ingestion'],
      ...['ingestion', 'mosquitto-0', 'ingestion', 'ingestion'],
    ]);
  });
});
