import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { retryDelayMs } from './outbox.ts';

describe('the wait after an attempt that failed', () => {
  it.each([
    [1, 0, undefined, 500],
    [1, 1, undefined, 1_000],
    [4, 1, undefined, 8_000],
    [20, 1, undefined, 300_000],
    [1, 0, 20_000, 20_000],
    [1, 0, 86_400_000, 300_000],
  ])('number %d, with %d of the jitter and Retry-After %s ms: %d ms', (attempt, random, retryAfterMs, delayMs) => {
    expect(retryDelayMs(attempt, random, retryAfterMs)).toBe(delayMs);
  });

  it('is never nothing and never longer than five minutes', () => {
    const random = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        random,
        fc.option(fc.nat(), { nil: undefined }),
        (attempt, jitter, after) => {
          const delayMs = retryDelayMs(attempt, jitter, after);
          expect(delayMs).toBeGreaterThanOrEqual(500);
          expect(delayMs).toBeLessThanOrEqual(300_000);
        },
      ),
    );
  });
});
