import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reconnectDelayMs } from './reconnect-delay.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the wait before connecting again', () => {
  it('B7 is at most 100 ms the first time', () => {
    fc.assert(
      fc.property(random, (value) => {
        expect(reconnectDelayMs({ failedAttempts: 0, shortLived: 0 }, value)).toBeLessThanOrEqual(100);
      }),
    );
  });

  it('grows with failures and never passes 30 s', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2_000 }), random, (failedAttempts, value) => {
        const waitMs = reconnectDelayMs({ failedAttempts, shortLived: 0 }, value);
        expect(waitMs).toBeGreaterThanOrEqual(Math.min(50 * 2 ** failedAttempts, 15_000) * 0.99);
        expect(waitMs).toBeLessThanOrEqual(30_000);
      }),
    );
  });

  it('B13 is 5 to 30 s after two short connections in a row: the id is taken over', () => {
    fc.assert(
      fc.property(random, (value) => {
        const waitMs = reconnectDelayMs({ failedAttempts: 0, shortLived: 2 }, value);
        expect(waitMs).toBeGreaterThanOrEqual(5_000);
        expect(waitMs).toBeLessThan(30_000);
      }),
    );
  });
});
