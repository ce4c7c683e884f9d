import type { DeviceId, FleetEvent } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { verificationText } from './audit-command.ts';
import { eventLine } from './events-command.ts';

const device = 'lab1' as DeviceId;
const place = { id: '7-1', at: '2027-01-31T12:00:00.000Z' };

describe('an event as a line', () => {
  it.each<[FleetEvent, string]>([
    [
      {
        ...{ ...place, kind: 'presence', device },
        data: {
          ...{
            from: 'online',
            to: 'lost',
            reason: 'will',
            explanation: 'The connection broke.',
            broker: 'mosquitto-0',
          },
          ...{ since: place.at, rule: 'will' },
        },
      },
      'presence      lab1: online -> lost (will, mosquitto-0): The connection broke.',
    ],
    [{ ...place, kind: 'device', device, data: { change: 'registered' } }, 'device        lab1 registered'],
    [{ ...place, kind: 'decommission', device, data: { state: 'verified' } }, 'decommission  lab1 verified'],
    [
      {
        ...{ ...place, kind: 'alert', device },
        data: {
          ...{ alert: 'a1', change: 'acknowledged', rule: 'device-lost', severity: 'warning', subject: 'lab1' },
          ...{ broker: null, summary: 'lab1 is lost', actor: 'ada' },
        },
      },
      'alert         warning device-lost acknowledged by ada: lab1 is lost (a1)',
    ],
    [{ ...place, kind: 'command', device, data: { id: 'c1', state: 'acked' } }, 'command       lab1 c1 acked'],
    [{ ...place, kind: 'config', device, data: { id: '3', state: 'applied' } }, 'config        lab1 3 applied'],
    [
      { ...place, kind: 'incident', device: null, data: { broker: 'mosquitto-0', kind: 'lost', devices: 1 } },
      'incident      mosquitto-0 lost: 1 device',
    ],
    [
      { ...place, kind: 'incident', device: null, data: { broker: 'b\u001b[2J', kind: 'back', devices: 20 } },
      'incident      b\uFFFD[2J back: 20 devices',
    ],
  ])('%j', (event, line) => {
    expect(eventLine(event)).toBe(`${place.at}  ${line}`);
  });
});

describe('what was found in the audit log, as a sentence', () => {
  it.each([
    [{ entries: 0, head: '00', broken: null }, '0 entries, each as it was written; the hash of the last is 00'],
    [{ entries: 1, head: 'ab', broken: null }, '1 entry, each as it was written; the hash of the last is ab'],
    [
      { entries: 2, head: 'ab', broken: { id: 3, why: 'it was changed' } },
      'broken at entry 3: it was changed; the 2 entries before are as they were written',
    ],
  ])('%j', (found, text) => {
    expect(verificationText(found)).toBe(text);
  });
});
