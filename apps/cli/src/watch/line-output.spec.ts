import { describe, expect, it } from 'vitest';
import { jsonLine, plainLine } from './line-output.ts';
import { parseThreshold } from './thresholds.ts';
import type { WatchChange, WatchedReading } from './watch-model.ts';

const AT = Date.parse('2026-11-22T14:32:15.123Z');
const thresholds = [parseThreshold('temp>30:critical')];

function reading(other: Partial<WatchedReading>): WatchChange {
  const usual = { metric: 'temp', value: 22.5, unit: '°C', atMs: AT - 60_000, receivedAtMs: AT } as const;
  return { kind: 'reading', device: 'lab1', reading: { ...usual, qos: 1, replay: null, late: false, ...other } };
}

const presence: WatchChange = {
  kind: 'presence',
  device: 'lab1',
  presence: {
    ...{ state: 'lost', reason: 'will', explanation: 'the connection broke', session: 7, replay: null },
    sinceMs: AT - 1_000,
  },
  atMs: AT,
};

const alert: WatchChange = {
  kind: 'alert',
  isFiring: true,
  alert: {
    ...{ id: 'a1', rule: 'hot', severity: 'critical', subject: 'lab1', summary: 'too hot', state: 'firing' },
    ...{ startedAt: '2026-11-22T14:00:00.000Z', acknowledgedAt: null },
  },
  atMs: AT,
};

describe('a line', () => {
  it.each<[WatchChange, string | undefined]>([
    [reading({}), '2026-11-22T14:32:15.123Z lab1 temp 22.5 °C QoS 1'],
    [reading({ value: 41, qos: 0 }), '2026-11-22T14:32:15.123Z lab1 temp 41 °C QoS 0 critical'],
    [reading({ value: 'a\n\u001b[2Jb', unit: null }), '2026-11-22T14:32:15.123Z lab1 temp a\uFFFD\uFFFD[2Jb QoS 1'],
    [reading({ replay: 'retained' }), '2026-11-22T14:32:15.123Z lab1 temp 22.5 °C QoS 1 retained'],
    [reading({ replay: 'stored', qos: null }), '2026-11-22T14:31:15.123Z lab1 temp 22.5 °C QoS - stored'],
    [reading({ late: true }), '2026-11-22T14:31:15.123Z lab1 temp 22.5 °C QoS 1 late'],
    [reading({ late: true, atMs: 1e300 }), '- lab1 temp 22.5 °C QoS 1 late'],
    [presence, '2026-11-22T14:32:15.123Z lab1 lost (will): the connection broke'],
    [{ kind: 'removed', device: 'lab1', atMs: AT }, '2026-11-22T14:32:15.123Z lab1 removed'],
    [
      { kind: 'unreadable', device: 'lab1', topic: 'devices/lab1/status', why: 'not a status', atMs: AT },
      '2026-11-22T14:32:15.123Z lab1 unreadable devices/lab1/status: not a status',
    ],
    [alert, '2026-11-22T14:32:15.123Z lab1 alert critical: too hot'],
    [{ ...alert, isFiring: false }, '2026-11-22T14:32:15.123Z lab1 alert ended critical: too hot'],
    [{ kind: 'feed', feed: { state: 'away', text: 'gone' } }, undefined],
  ])('for people of %o', (change, line) => {
    expect(plainLine(change, thresholds)).toBe(line);
  });

  it.each<[WatchChange, object | undefined]>([
    [
      reading({ value: 41 }),
      {
        ...{
          event: 'reading',
          device: 'lab1',
          metric: 'temp',
          value: 41,
          unit: '°C',
          qos: 1,
          replay: null,
          late: false,
        },
        ...{ at: '2026-11-22T14:31:15.123Z', receivedAt: '2026-11-22T14:32:15.123Z', level: 'critical' },
      },
    ],
    [
      presence,
      {
        ...{ event: 'presence', device: 'lab1', state: 'lost', reason: 'will', explanation: 'the connection broke' },
        ...{ session: 7, since: '2026-11-22T14:32:14.123Z', receivedAt: '2026-11-22T14:32:15.123Z', replay: null },
      },
    ],
    [
      alert,
      {
        ...{ event: 'alert', firing: true, id: 'a1', rule: 'hot', severity: 'critical', subject: 'lab1' },
        ...{ summary: 'too hot', state: 'firing', startedAt: '2026-11-22T14:00:00.000Z', acknowledgedAt: null },
      },
    ],
    [{ kind: 'feed', feed: { state: 'away', text: 'gone' } }, undefined],
  ])('as JSON of %o', (change, object) => {
    const line = jsonLine(change, thresholds);
    expect(line === undefined ? undefined : JSON.parse(line)).toEqual(object);
    expect(line ?? '').not.toContain('\n');
  });
});
