import { deviceId, deviceSchema, fleetSummarySchema } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { deviceOf, summaryOf, type DeviceRow } from './device-view.ts';

const row: DeviceRow = {
  id: deviceId('lab1'),
  state: 'discovered',
  name: null,
  description: null,
  tags: [],
  groups: [],
  info: null,
  discovered_at: new Date(0),
  updated_at: new Date(0),
  replaced_at: null,
  replacements: 0,
  last_telemetry_at: null,
  traffic: null,
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
      traffic: {
        ...{ broker: 'mosquitto-0', messages: 9, bytes: 540, lost: 1, duplicates: 2, dropped: 3 },
        ...{ runaway_ms: 1_000, clockOffsetMs: -20 },
      },
      presence: { state: 'asleep', reason: 'sleep', since_ms: 1_000, session: 7, wake_ms: 9_000, flags: [], evidence },
      readings: { temp: { value: 22.5, unit: '°C', at_ms: 1_500 }, door: { value: false, unit: null, at_ms: 1_500 } },
    };
    expect(deviceSchema.parse(deviceOf(full))).toMatchObject({
      presence: { wakeExpectedAt: '1970-01-01T00:00:09.000Z', session: 7 },
      readings: { temp: { value: 22.5, at: '1970-01-01T00:00:01.500Z' }, door: { value: false } },
      traffic: { messages: 9, lost: 1, runawaySince: '1970-01-01T00:00:01.000Z', clockOffsetMs: -20 },
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

describe('the counts of a fleet', () => {
  it('are over each device once, and by group and broker with all states', () => {
    const none = { online: 0, asleep: 0, stale: 0, offline: 0, lost: 0, unknown: 0 };
    const summary = summaryOf(
      [
        { name: null, state: 'unknown', count: 2 },
        { name: 'mosquitto-1', state: 'lost', count: 1 },
        { name: 'mosquitto-0', state: 'online', count: 3 },
        { name: 'mosquitto-0', state: 'lost', count: 4 },
      ],
      [
        { name: 'hall', state: 'online', count: 3 },
        { name: 'empty', state: null, count: 0 },
        { name: null, state: 'lost', count: 5 },
      ],
    );
    expect(fleetSummarySchema.parse(summary)).toEqual({
      ...{ devices: 10, presence: { ...none, online: 3, lost: 5, unknown: 2 } },
      byGroup: [
        { name: 'empty', devices: 0, presence: none },
        { name: 'hall', devices: 3, presence: { ...none, online: 3 } },
        { name: null, devices: 5, presence: { ...none, lost: 5 } },
      ],
      byBroker: [
        { name: 'mosquitto-0', devices: 7, presence: { ...none, online: 3, lost: 4 } },
        { name: 'mosquitto-1', devices: 1, presence: { ...none, lost: 1 } },
        { name: null, devices: 2, presence: { ...none, unknown: 2 } },
      ],
    });
  });
});
