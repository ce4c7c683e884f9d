import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReconnectPace, reconnectDelayMs, SHORT_LIVED_MS } from './reconnect-delay.ts';

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

describe('the pace of a client', () => {
  it('gives way at once to a client that is said to have taken its id', () => {
    const pace = new ReconnectPace();
    pace.connected(0);
    expect(pace.lost(60_000, 0, true)).toBe(5_000);
    pace.connected(70_000);
    expect(pace.lost(170_000, 0)).toBe(50);
  });

  it('slows down with each attempt that fails, and begins anew when a connection stood', () => {
    const pace = new ReconnectPace();
    expect([1, 2, 3].map((nowMs) => pace.lost(nowMs, 0))).toEqual([100, 200, 400]);
    pace.connected(10);
    expect(pace.lost(10 + SHORT_LIVED_MS, 0)).toBe(50);
  });

  it('B13 gives way when two connections in a row were short, and not when one of them lasted', () => {
    const pace = new ReconnectPace();
    const waits = [SHORT_LIVED_MS - 1, SHORT_LIVED_MS - 1, SHORT_LIVED_MS, SHORT_LIVED_MS - 1].map((livedMs) => {
      pace.connected(1_000);
      return pace.lost(1_000 + livedMs, 0);
    });
    expect(waits).toEqual([50, 5_000, 50, 50]);
  });

  it('goes by attempts again when nobody answers after a short connection', () => {
    const pace = new ReconnectPace();
    pace.connected(0);
    expect([1, 2, 3].map((nowMs) => pace.lost(nowMs, 0))).toEqual([50, 100, 200]);
  });
});
