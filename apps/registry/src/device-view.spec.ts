import { deviceId, deviceSchema } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { deviceOf, type DeviceRow } from './device-view.ts';

const row: DeviceRow = {
  id: deviceId('lab1'),
  state: 'discovered',
  name: null,
  description: null,
  info: null,
  discovered_at: new Date(0),
  updated_at: new Date(0),
  last_telemetry_at: null,
  last_status_at: null,
  presence: null,
  readings: {},
};
const evidence = {
  broker: 'mosquitto-0',
  topic: 'devices/lab1/status',
  payload: 'offline',
  retained: false,
  rule: 'x',
};

describe('a device of the API', () => {
  it('keeps to its schema', () => {
    const full: DeviceRow = {
      ...row,
      last_telemetry_at: new Date(2_000),
      presence: { state: 'asleep', reason: 'sleep', since_ms: 1_000, session: 7, wake_ms: 9_000, evidence },
      readings: { temp: { value: 22.5, unit: '°C', at_ms: 1_500 }, door: { value: false, unit: null, at_ms: 1_500 } },
    };
    expect(deviceSchema.parse(deviceOf(full))).toMatchObject({
      presence: { wakeExpectedAt: '1970-01-01T00:00:09.000Z', session: 7 },
      readings: { temp: { value: 22.5, at: '1970-01-01T00:00:01.500Z' }, door: { value: false } },
    });
  });

  it('is unknown, with the reason, as long as it has sent no status', () => {
    expect(deviceSchema.parse(deviceOf(row)).presence).toMatchObject({
      state: 'unknown',
      reason: 'never-heard',
      since: null,
    });
  });

  it('was last seen with its telemetry or its own last word, whichever is newer', () => {
    const heard = { ...row, last_telemetry_at: new Date(2_000), last_status_at: new Date(5_000) };
    expect(deviceOf(heard).lastSeenAt).toBe('1970-01-01T00:00:05.000Z');
    expect(deviceOf({ ...heard, last_status_at: null }).lastSeenAt).toBe('1970-01-01T00:00:02.000Z');
    expect(deviceOf(row).lastSeenAt).toBeNull();
  });
});
