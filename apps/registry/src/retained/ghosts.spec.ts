import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { appeared, FIRST_PACE, isForgotten, likelyCause, tried } from './ghosts.ts';

const NOW = Date.UTC(2026, 10, 23);

describe('why a ghost is there', () => {
  const evidence = {
    ...{ isReplay: true, seenAtMs: NOW, clearSinceMs: NOW - 3_600_000 },
    ...{ bootedAtMs: NOW - 86_400_000, bridges: [] },
  };

  it.each([
    ['R10 the broker was restarted after the clearing', { bootedAtMs: NOW - 1_000 }, 'broker-restart'],
    ['it started just when it was last heard', { bootedAtMs: NOW - 3_601_000 }, 'broker-restart'],
    ['it was there, and the broker runs since before', {}, 'found'],
    ['it was there, and the broker tells nothing', { bootedAtMs: undefined }, 'found'],
    [
      'R11 a bridge has just connected',
      { isReplay: false, bridges: [{ name: 'leaf', sinceMs: NOW - 3_000 }] },
      'bridge',
    ],
    [
      'the bridge has been there for long',
      { isReplay: false, bridges: [{ name: 'leaf', sinceMs: NOW - 600_000 }] },
      'live-publish',
    ],
    ['somebody published it', { isReplay: false }, 'live-publish'],
  ])('%s', (_, change, cause) => {
    const found = likelyCause({ ...evidence, ...change });
    expect(found.cause).toBe(cause);
    expect(found.explanation).not.toBe('');
  });

  it('names the bridge', () => {
    const bridges = [{ name: 'leaf.to-hub', sinceMs: NOW }];
    expect(likelyCause({ ...evidence, isReplay: false, bridges }).explanation).toContain('leaf.to-hub');
  });
});

describe('the pace of clearing', () => {
  it('clears at once what appears for the first time', () => {
    expect(appeared(FIRST_PACE, NOW).dueMs).toBe(NOW);
  });

  it('clears what appears again later and later: after 1, 2, 4 s, up to 5 minutes', () => {
    let pace = FIRST_PACE;
    const pauses: number[] = [];
    let nowMs = NOW;
    for (let round = 0; round < 12; round += 1) {
      pace = appeared(pace, nowMs);
      pauses.push((pace.dueMs ?? 0) - nowMs);
      nowMs = pace.dueMs ?? 0;
      pace = tried(pace, nowMs, true);
      expect(pace.dueMs).toBeUndefined();
    }
    expect(pauses.map((ms) => ms / 1_000)).toEqual([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
  });

  it('tries again what is not clear, and begins anew after ten quiet minutes', () => {
    const failed = tried(appeared(FIRST_PACE, NOW), NOW, false);
    expect(failed.dueMs).toBe(NOW + 1_000);
    const done = tried(failed, NOW + 1_000, true);
    expect([isForgotten(done, NOW + 2_000), isForgotten(done, NOW + 601_000)]).toEqual([false, true]);
    expect(appeared(done, NOW + 601_000)).toEqual({ dueMs: NOW + 601_000, lastClearMs: undefined, pauseMs: 0 });
  });

  it('never clears a topic more than 21 times in an hour, however often it is published', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 100, maxLength: 2_000 }), (gaps) => {
        let pace = FIRST_PACE;
        let nowMs = NOW;
        let clears = 0;
        for (const gap of gaps) {
          nowMs += gap;
          if (nowMs - NOW > 3_600_000) break;
          pace = appeared(pace, nowMs);
          if (pace.dueMs === undefined || pace.dueMs > nowMs) continue;
          clears += 1;
          pace = tried(pace, nowMs, true);
        }
        expect(clears).toBeLessThanOrEqual(21);
      }),
      { numRuns: 200 },
    );
  });
});
