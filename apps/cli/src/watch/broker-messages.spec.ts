import { defaultTopicMap } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventOf, type BrokerMessage } from './broker-messages.ts';

const AT = Date.parse('2026-11-22T14:32:15.000Z');

function message(topic: string, payload: string | Uint8Array, other: Partial<BrokerMessage> = {}): BrokerMessage {
  const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  return { topic, payload: bytes, qos: 1, retain: false, receivedAtMs: AT, ...other };
}

function valuesOf(topic: string, payload: string): unknown {
  const event = eventOf(message(topic, payload), defaultTopicMap);
  if (event.kind !== 'readings') return event.kind;
  return [event.device, Object.fromEntries(event.readings.map(({ metric, value, unit }) => [metric, [value, unit]]))];
}

describe('the readings of a message', () => {
  it.each([
    ['iotclass/lab1/temperature', ' 22.50', ['lab1', { temperature: [22.5, '°C'] }]],
    ['devices/lab1/telemetry', '{"temp":22.5,"rssi":-60}', ['lab1', { temp: [22.5, '°C'], rssi: [-60, null] }]],
    ['home/hall/motion', 'true', ['hall-motion', { motion: [true, null] }]],
    ['home/hall/light/command', 'ON', ['hall-light', { command: ['ON', null] }]],
    ['devices/lab1/info', '{"model":"DHT22"}', ['lab1', { info: ['{"model":"DHT22"}', null] }]],
    ['garage/door', 'open', ['garage', { door: ['open', null] }]],
    ['garage/temp', '-4.5e0', ['garage', { temp: [-4.5, null] }]],
    ['garage', '0x10', ['garage', { garage: ['0x10', null] }]],
    ['/door', '1', ['/door', { door: [1, null] }]],
    ['garage/', '1', ['garage', { 'garage/': [1, null] }]],
    ['zigbee/plug', '{"power":12,"on":true,"x y":1}', ['zigbee/plug', { power: [12, null], on: [true, null] }]],
    ['zigbee/plug', '{"x y":1}', ['zigbee', { plug: ['{"x y":1}', null] }]],
    ['zigbee/plug', '{oops', ['zigbee', { plug: ['{oops', null] }]],
    ['zigbee/plug', '[1,2]', ['zigbee', { plug: ['[1,2]', null] }]],
    ['garage/log', 'x'.repeat(5_000), ['garage', { log: ['x'.repeat(256), null] }]],
    ['devices/not an id/telemetry', '{"temp":1}', ['devices/not an id/telemetry', { temp: [1, '°C'] }]],
  ])('%s %s', (topic, payload, expected) => {
    expect(valuesOf(topic, payload)).toEqual(expected);
  });

  it('have QoS, the time of the device where it tells one, and whether they are a replay', () => {
    const [ofClock, withoutClock] = ['{"temp":1,"ts":1698765432123}', '{"temp":1}'].map((payload) =>
      eventOf(message('devices/lab1/telemetry', payload, { qos: 2, retain: true }), defaultTopicMap),
    );
    const common = { metric: 'temp', qos: 2, replay: 'retained', receivedAtMs: AT };
    expect(ofClock).toMatchObject({ readings: [{ ...common, atMs: 1_698_765_432_123 }] });
    expect(withoutClock).toMatchObject({ readings: [{ ...common, atMs: AT }] });
  });
});

describe('the presence of a message', () => {
  it.each([
    ['status', 'online', 'online', 'birth', null],
    ['status', '{"status":"online","session":7}', 'online', 'birth', 7],
    ['lwt', 'offline', 'lost', 'will', null],
    ['status', '{"status":"offline","session":7,"reason":"unexpected"}', 'lost', 'will', 7],
    ['status', '{"status":"offline","session":7,"reason":"shutdown"}', 'offline', 'shutdown', 7],
    ['status', '{"status":"offline","reason":"update"}', 'offline', 'update', null],
    ['status', '{"status":"offline","reason":"sleep","wake_in":300}', 'asleep', 'sleep', null],
  ])('%s %s', (topic, payload, state, reason, session) => {
    expect(eventOf(message(`devices/lab1/${topic}`, payload), defaultTopicMap)).toMatchObject({
      kind: 'presence',
      device: 'lab1',
      presence: { state, reason, session, sinceMs: AT, replay: null },
    });
  });

  it('has no beginning where it is a replay, and says for how long a device sleeps', () => {
    const payload = '{"status":"offline","reason":"sleep","wake_in":300}';
    expect(eventOf(message('devices/lab1/status', payload, { retain: true }), defaultTopicMap)).toMatchObject({
      presence: { sinceMs: null, replay: 'retained', explanation: 'said that it goes to sleep for 300 s' },
    });
  });
});

describe('a message', () => {
  it.each([
    ['devices/lab1/status', '', { kind: 'cleared', device: 'lab1', what: 'presence' }],
    ['garage/door', '', { kind: 'cleared', device: 'garage/door', what: 'nothing' }],
    ['devices/lab1/status', 'maybe', { kind: 'unreadable', device: 'lab1', topic: 'devices/lab1/status' }],
    ['iotclass/lab1/temperature', 'nan', { kind: 'unreadable', why: expect.stringContaining('decimal number') }],
    ['devices/lab1/telemetry', 'x'.repeat(70_000), { kind: 'unreadable', why: expect.stringContaining('65536') }],
  ])('on %s that says %.20s is %o', (topic, payload, expected) => {
    expect(eventOf(message(topic, payload), defaultTopicMap)).toMatchObject(expected);
  });

  it('is one event, whatever its topic and bytes', () => {
    const topic = fc.oneof(
      fc.constantFrom('devices/a/telemetry', 'devices/a/status', 'devices/a/info', 'home/hall/motion'),
      fc.string({ unit: 'binary', minLength: 1 }),
    );
    const payload = fc.oneof(
      fc.uint8Array(),
      fc.json().map((text) => new TextEncoder().encode(text)),
    );
    fc.assert(
      fc.property(topic, payload, (name, bytes) => {
        const event = eventOf(message(name, bytes), defaultTopicMap);
        expect(['readings', 'presence', 'cleared', 'unreadable']).toContain(event.kind);
      }),
    );
  });
});
