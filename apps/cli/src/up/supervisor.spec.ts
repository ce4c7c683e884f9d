import { describe, expect, it } from 'vitest';
import { restartDelayMs } from './supervisor.ts';

describe('a process that ended', () => {
  it('is started again at once, then later and later', () => {
    expect(restartDelayMs([], 100_000)).toBe(0);
    expect(restartDelayMs([99_000, 99_500], 100_000)).toBe(1_000);
  });

  it('is given up after five restarts within a minute, but not within an hour', () => {
    expect(restartDelayMs([91_000, 92_000, 93_000, 94_000, 95_000], 100_000)).toBeUndefined();
    expect(restartDelayMs([1, 2, 3, 4, 95_000], 100_000)).toBe(500);
  });
});
