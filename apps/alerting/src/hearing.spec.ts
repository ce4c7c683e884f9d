import { describe, expect, it } from 'vitest';
import { countedSinceMs, isNewer, type DeafTime } from './hearing.ts';

const MINUTE = 60_000;
const NOW = 1_800_000_000_000;

describe('silence', () => {
  const deaf = (...times: readonly (readonly [number, number])[]): readonly DeafTime[] =>
    times.map(([fromMs, untilMs]) => ({ fromMs, untilMs }));

  it.each<[string, readonly DeafTime[], number]>([
    ['where somebody listened', deaf(), 100],
    ['before which nobody listened', deaf([0, 90]), 100],
    ['in which nobody listened for a while', deaf([150, 180]), 130],
    ['that began while nobody listened', deaf([50, 120]), 120],
    ['in which nobody listened for two reasons at the same time', deaf([150, 180], [140, 170]), 140],
    ['in which nobody listened twice', deaf([150, 180], [200, 210]), 140],
    ['in which nobody listens', deaf([150, Number.POSITIVE_INFINITY]), Number.POSITIVE_INFINITY],
  ])('%s counts from %j: %j', (_, times, countedMs) => {
    expect(countedSinceMs(100, times)).toBe(countedMs);
  });
});

describe('a last value', () => {
  const hoursAhead = 20 * 60 * MINUTE;
  it.each<[string, number, number | undefined, boolean]>([
    ['is news where none is known', -60 * MINUTE, undefined, true],
    ['is news when it is newer', -MINUTE, -2 * MINUTE, true],
    ['is no news when it is older, however much', -60 * MINUTE, -2 * MINUTE, false],
    ['is no news when it is the same', -MINUTE, -MINUTE, false],
    ['is news after one of a clock that is set right since', -MINUTE, hoursAhead, true],
    ['of a clock that is set right since is no news', hoursAhead, -MINUTE, false],
    ['is news when it is newer by a clock that is still wrong', hoursAhead + 1, hoursAhead, true],
  ])('%s', (_, atMs, knownMs, isNews) => {
    expect(isNewer(NOW + atMs, knownMs === undefined ? undefined : NOW + knownMs, NOW)).toBe(isNews);
  });
});
