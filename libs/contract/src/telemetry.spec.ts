import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { decodeTelemetry, MAX_TELEMETRY_BYTES, type Telemetry } from './telemetry.ts';
import { defaultTopicMap, TopicMap, type TelemetryEntry } from './topic-map.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function entryOf(topic: string, map = defaultTopicMap): TelemetryEntry {
  const entry = map.match(topic)?.entry;
  if (entry?.role !== 'telemetry') throw new Error(`${topic} is no telemetry`);
  return entry;
}

const json = entryOf('devices/a/telemetry');
const number = entryOf('iotclass/a/temperature');
const boolean = entryOf('home/a/motion');
const text = entryOf('home/a/light/state');
const decodeJson = (payload: string): Telemetry => decodeTelemetry(bytes(payload), json);

describe('a JSON telemetry payload', () => {
  it('gives readings with units, time, session and sequence number', () => {
    expect(
      decodeJson('{"temp":22.5,"hum":45.3,"door":true,"mode":"eco","ts":1698765432123,"session":7,"seq":1204}'),
    ).toEqual({
      readings: [
        { metric: 'temp', value: 22.5, unit: '°C' },
        { metric: 'hum', value: 45.3, unit: '%' },
        { metric: 'door', value: true, unit: undefined },
        { metric: 'mode', value: 'eco', unit: undefined },
      ],
      time: { kind: 'clock', epochMs: 1_698_765_432_123 },
      session: 7,
      seq: 1204,
      rejected: [],
    });
  });

  it('takes a small ts for seconds', () => {
    expect(decodeJson('{"temp":1,"ts":1698765432}').time).toEqual({ kind: 'clock', epochMs: 1_698_765_432_000 });
  });

  it('knows the time since boot where there is no clock', () => {
    expect(decodeJson('{"temp":1,"up":5300}').time).toEqual({ kind: 'uptime', uptimeMs: 5300 });
  });

  it.each([
    ['{"temp":1e999,"hum":40}', 'temp', 'bad-value'],
    ['{"temp":[1],"hum":40}', 'temp', 'bad-value'],
    ['{"temp":{"a":1},"hum":40}', 'temp', 'bad-value'],
    ['{"a b":1,"hum":40}', 'a b', 'bad-name'],
    ['{"a,b=c":1,"hum":40}', 'a,b=c', 'bad-name'],
    ['{"__proto__":1,"hum":40}', '__proto__', 'bad-name'],
    ['{"label":"nul\\u0000","hum":40}', 'label', 'bad-value'],
    ['{"label":"\\ud800","hum":40}', 'label', 'bad-value'],
    ['{"up":1e15,"hum":40}', 'up', 'bad-time'],
    ['{"up":-1,"hum":40}', 'up', 'bad-time'],
    ['{"ts":"yesterday","hum":40}', 'ts', 'bad-time'],
    ['{"ts":-5,"hum":40}', 'ts', 'bad-time'],
    ['{"seq":"one","hum":40}', 'seq', 'bad-value'],
    ['{"session":1.5,"hum":40}', 'session', 'bad-value'],
  ])('%s loses the bad field and keeps the good one', (payload, field, reason) => {
    const telemetry = decodeJson(payload);
    expect(telemetry.rejected).toEqual([{ field, reason }]);
    expect(telemetry.readings).toEqual([{ metric: 'hum', value: 40, unit: '%' }]);
  });

  it('leaves out null and takes at most 64 metrics', () => {
    expect(decodeJson('{"temp":null}')).toMatchObject({ readings: [], rejected: [] });
    const many = Object.fromEntries(Array.from({ length: 70 }, (_, index) => [`m${index}`, index]));
    const telemetry = decodeJson(JSON.stringify(many));
    expect(telemetry.readings).toHaveLength(64);
    expect(telemetry.rejected).toHaveLength(6);
  });

  it.each(['[1,2]', '5', '"x"', 'null', 'NaN', '{"temp":', '['.repeat(5_000)])('refuses %.20j', (payload) => {
    expect(() => decodeJson(payload)).toThrow(ContractError);
  });

  it('takes nested fields where the topic map names them', () => {
    const map = TopicMap.from({
      topics: [
        {
          pattern: 'tele/{device}/SENSOR',
          role: 'telemetry',
          decoder: 'json',
          fields: { 'ENERGY.Power': { metric: 'power', unit: 'W' } },
          others: 'drop',
        },
      ],
    });
    const telemetry = decodeTelemetry(bytes('{"Time":"x","ENERGY":{"Power":5}}'), entryOf('tele/p/SENSOR', map));
    expect(telemetry).toMatchObject({ readings: [{ metric: 'power', value: 5, unit: 'W' }], rejected: [] });
  });
});

describe('a plain telemetry payload', () => {
  it.each([
    ['22.50', 22.5],
    ['  22.50', 22.5],
    ['-1e3', -1000],
    ['.5', 0.5],
  ])('%j is the number %d', (payload, value) => {
    expect(decodeTelemetry(bytes(payload), number).readings).toEqual([{ metric: 'temperature', value, unit: '°C' }]);
  });

  it.each(['', 'NaN', 'nan', 'Infinity', '1e999', '0x10', '22,5', '22.5C', '--1'])('%j is no number', (payload) => {
    expect(() => decodeTelemetry(bytes(payload), number)).toThrow(ContractError);
  });

  it.each([
    ['true', true],
    ['OFF', false],
    ['1', true],
  ])('%j is the boolean %s', (payload, value) => {
    expect(decodeTelemetry(bytes(payload), boolean).readings[0]?.value).toBe(value);
  });

  it('is a text of at most 256 characters', () => {
    expect(decodeTelemetry(bytes('ON'), text).readings[0]?.value).toBe('ON');
    expect(() => decodeTelemetry(bytes('x'.repeat(257)), text)).toThrow(ContractError);
  });
});

describe('any telemetry payload', () => {
  it('is decoded or refused with its own error, and what is decoded can be stored', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json().map(bytes)),
        fc.constantFrom(json, number, boolean, text),
        (payload, entry) => {
          try {
            for (const { value } of decodeTelemetry(payload, entry).readings) {
              if (typeof value === 'number') expect(Number.isFinite(value)).toBe(true);
            }
          } catch (error) {
            expect(error).toBeInstanceOf(ContractError);
          }
        },
      ),
    );
  });

  it('is not decoded at all when it is too large or not UTF-8', () => {
    expect(() => decodeTelemetry(new Uint8Array(MAX_TELEMETRY_BYTES + 1), json)).toThrow(/at most 65536/);
    expect(() => decodeTelemetry(new Uint8Array([0xff, 0xfe]), json)).toThrow(/UTF-8/);
  });
});
