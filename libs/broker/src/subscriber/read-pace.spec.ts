import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReadPace } from './read-pace.ts';

/** How many of the reads of a second are followed by a pause, at so many messages every so often. */
function pauses(messages: number, everyMs: number, isEverything = true): number {
  const pace = new ReadPace();
  return Array.from({ length: Math.floor(1_000 / everyMs) }, (_, index) =>
    pace.pauseAfter(messages, isEverything, 5_000 + index * everyMs),
  ).filter((pauseMs) => pauseMs > 0).length;
}

describe('the pace of reading', () => {
  it('never makes a message wait below 2,000 a second', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 15, noNaN: true }), (everyMs) => {
        expect(pauses(Math.floor(2 * everyMs), everyMs)).toBe(0);
      }),
    );
  });

  it('waits after each read under load, once it has begun', () => {
    expect(pauses(1, 0.1)).toBeGreaterThan(9_900);
    expect(pauses(200, 5)).toBe(200);
  });

  it('does not wait while more is there already', () => {
    expect(pauses(2_000, 1, false)).toBe(0);
  });

  it('is over with the load within 40 ms', () => {
    const pace = new ReadPace();
    for (let atMs = 0; atMs < 1_000; atMs += 1) pace.pauseAfter(1_000, true, atMs);
    expect(pace.pauseAfter(1, true, 1_001)).toBe(5);
    expect(pace.pauseAfter(1, true, 1_040)).toBe(0);
  });
});
