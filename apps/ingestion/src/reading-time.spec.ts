import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { believedTimeMs, claimedTimeMs, EARLIEST_EPOCH_MS, MAX_CLOCK_AHEAD_MS, receiptTimeMs } from './reading-time.ts';

const receivedAtMs = 1_800_000_000_000;

describe('the time of a reading', () => {
  it.each([EARLIEST_EPOCH_MS, 1_698_765_432_123, receivedAtMs + MAX_CLOCK_AHEAD_MS])(
    'is the time of the device where its clock says %d',
    (epochMs) => {
      expect(believedTimeMs({ kind: 'clock', epochMs }, receivedAtMs, undefined)).toBe(epochMs);
    },
  );

  it.each([0, 1, EARLIEST_EPOCH_MS - 1, receivedAtMs + MAX_CLOCK_AHEAD_MS + 1])(
    'is not that of the clock where it says %d, though it was claimed',
    (epochMs) => {
      const claimed = { kind: 'clock', epochMs } as const;
      expect(believedTimeMs(claimed, receivedAtMs, undefined)).toBeUndefined();
      expect(claimedTimeMs(claimed, undefined)).toBe(epochMs);
    },
  );

  it('is boot time and uptime where the device has no clock, so redelivery gives the same', () => {
    const claimed = { kind: 'uptime', uptimeMs: 5_000 } as const;
    for (const laterMs of [0, 60_000])
      expect(believedTimeMs(claimed, receivedAtMs + laterMs, 1_799_999_000_000)).toBe(1_799_999_005_000);
  });

  it('is not that where boot time and uptime lead to the future', () => {
    const claimed = { kind: 'uptime', uptimeMs: MAX_CLOCK_AHEAD_MS + 1 } as const;
    expect(believedTimeMs(claimed, receivedAtMs, receivedAtMs)).toBeUndefined();
    expect(claimedTimeMs(claimed, receivedAtMs)).toBeDefined();
  });

  it.each([{ kind: 'none' }, { kind: 'uptime', uptimeMs: 5_000 }] as const)(
    'is not claimed by %j where no boot time is known',
    (claimed) => {
      expect(believedTimeMs(claimed, receivedAtMs, undefined)).toBeUndefined();
      expect(claimedTimeMs(claimed, undefined)).toBeUndefined();
    },
  );

  it('is at least 1 ms after the one before at receipt, so a burst does not overwrite itself', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 100 }), (steps) => {
        let nowMs = receivedAtMs;
        let lastReceiptMs = 0;
        for (const step of steps) {
          nowMs += step - 1;
          const epochMs = receiptTimeMs(nowMs, lastReceiptMs);
          expect(epochMs).toBeGreaterThan(lastReceiptMs);
          lastReceiptMs = epochMs;
        }
      }),
    );
  });
});
