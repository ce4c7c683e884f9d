import { decodeTelemetry, deviceId, TopicMap } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { readMessage, refusedParts } from './telemetry-message.ts';

const topicMap = TopicMap.from({
  topics: [
    { pattern: 'plant/{device}/number', role: 'telemetry', decoder: 'number', metric: 'number' },
    { pattern: 'plant/{device}/all', role: 'telemetry', decoder: 'json' },
    { pattern: 'plant/{device}/status', role: 'status' },
  ],
});
const valve = deviceId('valve');

describe('a message', () => {
  it.each([
    ['is read where the map has an entry that fits', 'plant/valve/number', '7', { kind: 'telemetry', device: valve }],
    [
      'is refused where no entry matches',
      'field/valve/number',
      '7',
      { refusal: { device: '', reason: 'not-in-topic-map' } },
    ],
    [
      'is refused where its entry is no telemetry',
      'plant/valve/status',
      'x',
      { refusal: { device: '', reason: 'not-in-topic-map' } },
    ],
    [
      'is refused where the id is none',
      'plant/a b/number',
      '7',
      { refusal: { device: '', reason: 'invalid-device-id' } },
    ],
    [
      'is refused where it cannot be decoded',
      'plant/valve/number',
      'x',
      { refusal: { device: valve, reason: 'not-a-number' } },
    ],
    [
      'is not looked at where its device is tombstoned',
      'plant/gone/number',
      'x',
      { kind: 'tombstoned', device: 'gone' },
    ],
  ])('%s', (_, topic, payload, expected) => {
    const tombstones = new Set([deviceId('gone')]);
    expect(readMessage(topicMap.match(topic), Buffer.from(payload), tombstones)).toMatchObject(expected);
  });

  it.each<[string, string, readonly string[], readonly (readonly [reason: string, detail: string])[]]>([
    ['has no refused part where all was used', '{"temp":1}', [], []],
    ['is refused a bad field', '{"temp":1,"a b":2}', [], [['bad-name', 'fields a b']]],
    ['is refused metrics beyond the limit', '{"temp":1}', ['hum'], [['too-many-metrics', 'metrics hum']]],
    [
      'is refused parts by their reasons',
      '{"temp":1,"a b":2,"x":{},"c d":3}',
      ['hum', 'co2'],
      [
        ['bad-name', 'fields a b, c d'],
        ['bad-value', 'fields x'],
        ['too-many-metrics', 'metrics hum, co2'],
      ],
    ],
  ])('%s', (_, payload, excess, expected) => {
    const match = topicMap.match('plant/valve/all');
    if (match?.entry.role !== 'telemetry') throw new Error('the topic map has the topic');
    const parts = refusedParts(valve, decodeTelemetry(Buffer.from(payload), match.entry), excess);
    expect(parts).toEqual(expected.map(([reason, detail]) => ({ device: valve, reason, detail })));
  });
});
