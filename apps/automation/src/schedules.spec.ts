import { describe, expect, it } from 'vitest';
import { nextSunTime } from './schedules.ts';

const berlin = { latitude: 52.52, longitude: 13.405 };
const at = (text: string): number => Date.parse(text);

describe('the next sunrise or sunset', () => {
  // As almanacs print them for Berlin, to the minute.
  it.each<[string, 'sunrise' | 'sunset', string, string]>([
    ['of midsummer', 'sunrise', '2026-06-21T00:00Z', '2026-06-21T02:43Z'],
    ['of midsummer', 'sunset', '2026-06-21T00:00Z', '2026-06-21T19:33Z'],
    ['of midwinter', 'sunset', '2026-12-21T00:00Z', '2026-12-21T14:54Z'],
  ])('%s in Berlin: %s', (_, sun, after, expected) => {
    const found = nextSunTime({ sun, offset: 0 }, berlin, at(after)) ?? 0;
    expect(Math.abs(found - at(expected))).toBeLessThanOrEqual(120_000);
  });

  it('comes before by its offset, and is never the one that has just been', () => {
    const sunset = nextSunTime({ sun: 'sunset', offset: 0 }, berlin, at('2026-06-21T00:00Z')) ?? 0;
    expect(nextSunTime({ sun: 'sunset', offset: -1_800_000 }, berlin, at('2026-06-21T00:00Z'))).toBe(
      sunset - 1_800_000,
    );
    const next = nextSunTime({ sun: 'sunset', offset: 0 }, berlin, sunset) ?? 0;
    expect(next - sunset).toBeGreaterThan(86_000_000);
  });

  it('waits for the end of the polar night', () => {
    const found =
      nextSunTime({ sun: 'sunrise', offset: 0 }, { latitude: 69.65, longitude: 18.96 }, at('2026-12-01T00:00Z')) ?? 0;
    expect(new Date(found).toISOString().slice(0, 7)).toBe('2027-01');
  });

  it('is unknown at the pole, where no day has one', () => {
    const pole = { latitude: 90, longitude: 0 };
    expect(nextSunTime({ sun: 'sunrise', offset: 0 }, pole, at('2026-12-01T00:00Z'))).toBeUndefined();
  });
});
