import { deviceId } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { LastReadings } from './last-readings.ts';

const T0 = 1_800_000_000_000;

describe('the last reading of a metric', () => {
  const reading = { device: deviceId('a'), metric: 'temp', value: 20, atMs: T0, late: false };

  it.each<[string, number, boolean, boolean]>([
    ['newer', 1, false, true],
    ['newer and late', 1, true, true],
    ['of the same time', 0, false, true],
    ['older', -1, false, false],
    ['older by a minute', -60_000, false, false],
    ['older by more, of a clock that was set right', -60_001, false, true],
    ['older by more and late, from an outbox', -60_001, true, false],
  ])('is replaced by one that is %s (%d ms, late: %s): %s', (_, afterMs, late, isTaken) => {
    const readings = new LastReadings();
    expect(readings.take(reading)).toBe(true);
    expect(readings.take({ ...reading, value: 31, atMs: T0 + afterMs, late })).toBe(isTaken);
    expect(readings.of('a', 'temp')).toBe(isTaken ? 31 : 20);
  });

  it('is its own for each device and each metric', () => {
    const readings = new LastReadings();
    readings.take(reading);
    expect([readings.of('a', 'hum'), readings.of('b', 'temp')]).toEqual([undefined, undefined]);
  });
});
