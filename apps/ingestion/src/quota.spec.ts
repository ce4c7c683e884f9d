import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeviceQuota, FULL_BUCKET, runawayAfter, settledBucket, takeToken, type Quota } from './quota.ts';

const START_MS = 1_800_000_000_000;
const quota: Quota = { perSecond: 10, burst: 5 };

/** Which of some messages are taken; each comes so many milliseconds after the start. */
function taken(afterMs: readonly number[], limit = quota): readonly boolean[] {
  const device = new DeviceQuota();
  return afterMs.map((after) => device.take(limit, START_MS + after).isTaken);
}

describe('the quota of a device', () => {
  it.each<[string, readonly number[], readonly boolean[]]>([
    ['takes a burst at once, and no more', [0, 0, 0, 0, 0, 0, 0], [true, true, true, true, true, false, false]],
    [
      'takes one more for each interval',
      [0, 0, 0, 0, 0, 0, 100, 100],
      [true, true, true, true, true, false, true, false],
    ],
    [
      'has no more than a burst after any silence',
      [0, ...Array.from({ length: 6 }, () => 1e9)],
      [true, true, true, true, true, true, false],
    ],
    [
      'does not count what was dropped',
      [0, 0, 0, 0, 0, 0, 0, 0, 100],
      [true, true, true, true, true, false, false, false, true],
    ],
  ])('%s', (_, afterMs, expected) => {
    expect(taken(afterMs)).toEqual(expected);
  });

  it('takes what a bucket of tokens would take', () => {
    const limit = fc.record({ perSecond: fc.constantFrom(1, 2, 5, 10, 100), burst: fc.integer({ min: 1, max: 8 }) });
    fc.assert(
      fc.property(limit, fc.array(fc.nat(400), { maxLength: 200 }), ({ perSecond, burst }, pausesMs) => {
        const device = new DeviceQuota();
        const tokenMs = 1_000 / perSecond;
        // What is in the bucket, in milliseconds of its filling.
        let filledMs = burst * tokenMs;
        let nowMs = START_MS;
        let dropped = 0;
        for (const pauseMs of pausesMs) {
          nowMs += pauseMs;
          filledMs = Math.min(burst * tokenMs, filledMs + pauseMs);
          const hasToken = filledMs >= tokenMs - 1;
          if (hasToken) filledMs -= tokenMs;
          else dropped += 1;
          expect(device.take({ perSecond, burst }, nowMs).isTaken).toBe(hasToken);
        }
        expect(device.dropped).toBe(dropped);
      }),
    );
  });

  it('never takes more than burst and rate together, in any stretch of time', () => {
    const limit = fc.record({
      perSecond: fc.double({ min: 0.01, max: 500, noNaN: true }),
      burst: fc.integer({ min: 1, max: 20 }),
    });
    fc.assert(
      fc.property(limit, fc.array(fc.nat(300), { minLength: 1, maxLength: 100 }), (limits, pausesMs) => {
        let nowMs = 0;
        const times = pausesMs.map((pauseMs) => (nowMs += pauseMs));
        const isTaken = taken(times, limits);
        const accepted = times.filter((_, index) => isTaken[index]);
        for (const [first, from] of accepted.entries()) {
          for (const [last, to] of accepted.entries()) {
            if (last < first) continue;
            // Receipts are known to a millisecond.
            const most = limits.burst + ((to - from + 1) * limits.perSecond) / 1_000;
            expect(last - first + 1).toBeLessThanOrEqual(most + 1e-3);
          }
        }
      }),
    );
  });

  it.each([0.3, 1, 3, 7, 30, 700])(
    'drops nothing of a device that sends %d a second, as much as it may',
    (perSecond) => {
      const times = Array.from({ length: 2_000 }, (_, index) => Math.floor((index * 1_000) / perSecond));
      expect(taken(times, { perSecond, burst: 1 })).not.toContain(false);
    },
  );

  it('is not closed for longer than a burst takes to fill when our clock is set back', () => {
    const device = new DeviceQuota();
    for (let index = 0; index < 5; index += 1) device.take(quota, START_MS);
    const backMs = START_MS - 3_600_000;
    expect(device.take(quota, backMs).isTaken).toBe(false);
    expect(device.take(quota, backMs + 101).isTaken).toBe(true);
    expect(settledBucket(START_MS, quota, backMs)).toBe(backMs + 501);
    expect(takeToken(FULL_BUCKET, quota, backMs)).toBe(backMs + 100);
  });
});

describe('a runaway', () => {
  it.each<[string, Parameters<typeof runawayAfter>, ReturnType<typeof runawayAfter>]>([
    [
      'begins with the first message that is dropped',
      [undefined, { isDropped: true, isFull: false, nowMs: 7 }],
      { sinceMs: 7, dropped: 1 },
    ],
    [
      'goes on with the next',
      [
        { sinceMs: 7, dropped: 1 },
        { isDropped: true, isFull: false, nowMs: 9 },
      ],
      { sinceMs: 7, dropped: 2 },
    ],
    [
      'goes on while its bucket fills',
      [
        { sinceMs: 7, dropped: 1 },
        { isDropped: false, isFull: false, nowMs: 9 },
      ],
      { sinceMs: 7, dropped: 1 },
    ],
    [
      'ends when its bucket is full',
      [
        { sinceMs: 7, dropped: 1 },
        { isDropped: false, isFull: true, nowMs: 9 },
      ],
      undefined,
    ],
    ['does not begin while nothing is dropped', [undefined, { isDropped: false, isFull: false, nowMs: 9 }], undefined],
  ])('%s', (_, [before, event], after) => {
    expect(runawayAfter(before, event)).toEqual(after);
  });

  it('is told of once when it begins, and once when it ends, though it sends on within its quota', () => {
    const device = new DeviceQuota();
    const changes = [0, 0, 0, 0, 0, 0, 0, 100, 200, 1_200, 1_300].map(
      (after) => device.take(quota, START_MS + after).change,
    );
    expect(changes.flatMap((change, index) => (change === undefined ? [] : [[index, change]]))).toEqual([
      [5, 'begun'],
      [9, 'ended'],
    ]);
    expect(device).toMatchObject({ dropped: 2, runaway: undefined });
  });

  it('does not end while it sends a little more than it may', () => {
    const device = new DeviceQuota();
    const changes = Array.from({ length: 500 }, (_, index) => device.take(quota, START_MS + index * 95).change);
    expect(changes.filter((change) => change !== undefined)).toEqual(['begun']);
    expect(device.runaway?.dropped).toBe(device.dropped);
  });

  it('ends when it has fallen silent and is looked at', () => {
    const device = new DeviceQuota();
    expect(device.look(quota, START_MS)).toBeUndefined();
    for (let index = 0; index < 6; index += 1) device.take(quota, START_MS);
    expect(device.runaway).toEqual({ sinceMs: START_MS, dropped: 1 });
    expect(device.look(quota, START_MS + 499)).toBeUndefined();
    expect(device.look(quota, START_MS + 500)).toBe('ended');
    expect(device.look(quota, START_MS + 501)).toBeUndefined();
  });
});
