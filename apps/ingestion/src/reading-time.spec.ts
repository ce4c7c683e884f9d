import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_CLOCK_AHEAD_MS, readingTime } from './reading-time.ts';

const context = { receivedAtMs: 1_800_000_000_000, bootedAtMs: undefined, lastReceiptMs: 0 };

describe('the time of a reading', () => {
  it('is the time of the device where it has a clock', () => {
    expect(readingTime({ kind: 'clock', epochMs: 1_698_765_432_123 }, context)).toEqual({
      epochMs: 1_698_765_432_123,
      source: 'device',
      clockRefused: false,
    });
  });

  it.each([0, 1, 946_684_799_999, context.receivedAtMs + MAX_CLOCK_AHEAD_MS + 1])(
    'is the receipt where the clock says %d',
    (epochMs) => {
      expect(readingTime({ kind: 'clock', epochMs }, context)).toEqual({
        epochMs: context.receivedAtMs,
        source: 'receipt',
        clockRefused: true,
      });
    },
  );

  it('is boot time and uptime where the device has no clock, so redelivery gives the same', () => {
    const booted = { ...context, bootedAtMs: 1_799_999_000_000 };
    const claimed = { kind: 'uptime', uptimeMs: 5_000 } as const;
    expect(readingTime(claimed, booted).epochMs).toBe(1_799_999_005_000);
    expect(readingTime(claimed, { ...booted, receivedAtMs: booted.receivedAtMs + 60_000 }).epochMs).toBe(
      1_799_999_005_000,
    );
  });

  it('is the receipt where boot time and uptime lead to the future', () => {
    const booted = { ...context, bootedAtMs: context.receivedAtMs };
    expect(readingTime({ kind: 'uptime', uptimeMs: MAX_CLOCK_AHEAD_MS + 1 }, booted)).toMatchObject({
      source: 'receipt',
      clockRefused: true,
    });
  });

  it('is at least 1 ms after the one before at receipt, so a burst does not overwrite itself', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 100 }), (steps) => {
        let receivedAtMs = context.receivedAtMs;
        let lastReceiptMs = 0;
        for (const step of steps) {
          receivedAtMs += step - 1;
          const { epochMs } = readingTime({ kind: 'none' }, { receivedAtMs, bootedAtMs: undefined, lastReceiptMs });
          expect(epochMs).toBeGreaterThan(lastReceiptMs);
          lastReceiptMs = epochMs;
        }
      }),
    );
  });
});
