import { deviceId, MAX_METRICS_PER_DEVICE } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { admittedReadings, Fleet, KnownDevice, MAX_NEW_DEVICES_PER_MINUTE } from './fleet.ts';

describe('the fleet in memory', () => {
  it('takes in so many new devices a minute and no more, and goes on the next minute', () => {
    const fleet = new Fleet();
    for (let index = 0; index < MAX_NEW_DEVICES_PER_MINUTE; index += 1)
      expect(fleet.meet(deviceId(`d${index}`), 0)).toBeDefined();
    expect(fleet.meet(deviceId('one-more'), 59_999)).toBeUndefined();
    expect(fleet.known('one-more')).toBeUndefined();
    expect(fleet.known('d0')).toBeDefined();
    expect(fleet.meet(deviceId('one-more'), 60_000)).toBe(fleet.known('one-more'));
  });

  it('knows again what it is told at start, and forgets what is gone', () => {
    const fleet = new Fleet();
    fleet.restore(deviceId('a'), ['temp']);
    expect(fleet.known('a')?.metrics).toEqual(['temp']);
    fleet.forget('a');
    expect(fleet.known('a')).toBeUndefined();
  });

  it('admits 64 metrics of a device', () => {
    const device = new Fleet().meet(deviceId('a'), 0);
    if (device === undefined) throw new Error('the first device is taken in');
    const readings = Array.from({ length: MAX_METRICS_PER_DEVICE }, (_, index) => ({
      metric: `m${index}`,
      value: index,
      unit: undefined,
    }));
    expect(admittedReadings(device, readings).excess).toEqual([]);
    const late = { metric: 'late', value: 1, unit: undefined };
    expect(admittedReadings(device, [late, ...readings])).toEqual({ admitted: readings, excess: ['late'] });
  });

  it('finds the newest reading of a metric, in whichever order a message has them', () => {
    const device = new KnownDevice(deviceId('a'), ['temp', 'hum']);
    const orders = [['temp', 'hum'], ['hum', 'temp'], ['co2', 'hum', 'temp'], ['temp'], ['hum', 'co2']];
    const found = orders.map((order) => order.map((metric, place) => device.newest(metric, place)));
    expect(found.map((those) => those.map((one) => one?.metric))).toEqual(orders);
    expect(new Set(found.flat()).size).toBe(3);
    expect(device.metrics.toSorted()).toEqual(['co2', 'hum', 'temp']);
  });
});
