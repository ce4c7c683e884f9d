import type { Command } from '@muster/contract';
import { deviceId } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { assignments, outcomeOf, settingsOf } from './downlink-commands.ts';

describe('arguments of a command', () => {
  it.each([
    [['seconds=60'], { seconds: 60 }],
    [['on=true', 'level=12.5', 'room=hall'], { on: true, level: 12.5, room: 'hall' }],
    [['id="60"', 'list=[1,2]', 'none=null'], { id: '60', list: [1, 2], none: null }],
    [['text=a=b', 'empty='], { text: 'a=b', empty: '' }],
    [[], {}],
  ])('%j', (texts, expected) => expect(assignments(texts)).toEqual(expected));

  it.each(['seconds', '=60', ''])('are not %j', (text) => {
    expect(() => assignments([text])).toThrow('expected KEY=VALUE');
  });
});

describe('settings of a file', () => {
  it('are a JSON object', () => expect(settingsOf('{"heartbeat":60}', 'x')).toEqual({ heartbeat: 60 }));

  it.each(['', '[]', 'null', '7', '{"a":'])('are not %j', (text) => {
    expect(() => settingsOf(text, 'file.json')).toThrow('-f file.json: expected a JSON object');
  });
});

describe('what became of a command', () => {
  const at = '2026-11-23T09:00:00.000Z';
  const common = {
    ...{ id: '00000000-0000-4000-8000-000000000000', device: deviceId('lab1'), name: 'report', args: {}, by: 'x' },
    ...{ createdAt: at, expiresAt: at, sentAt: at, brokers: ['mosquitto-0'], late: null },
  };
  it.each<[Command, string]>([
    [{ ...common, state: 'sent' }, 'sent to mosquitto-0, not answered'],
    [{ ...common, sentAt: null, state: 'queued', waitsFor: 'x is away' }, 'waits: x is away'],
    [{ ...common, state: 'queued', waitsFor: 'x is away' }, 'was sent, and waits again: x is away'],
    [{ ...common, state: 'acknowledged', at }, `done at ${at}`],
    [{ ...common, state: 'failed', at, error: 'no lamp' }, 'refused by the device: no lamp'],
    [{ ...common, state: 'expired', at }, `expired at ${at}, not answered`],
    [
      { ...common, sentAt: null, state: 'expired', at },
      `expired at ${at}, and never reached a broker that had somebody for it`,
    ],
    [
      { ...common, state: 'cancelled', at, reason: 'cancelled by me', late: { at, error: null } },
      `cancelled by me; the device answered at ${at}, too late: it has done it`,
    ],
  ])('%o', (command, sentence) => expect(outcomeOf(command)).toBe(sentence));
});
