import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { deviceId } from './device-id.ts';
import { defaultTopicMap, isMetricName, TopicMap } from './topic-map.ts';

describe('the default topic map', () => {
  it.each([
    ['devices/sensor42/status', 'status', 'sensor42'],
    ['devices/sensor42/lwt', 'lwt', 'sensor42'],
    ['devices/sensor42/telemetry', 'telemetry', 'sensor42'],
    ['home/living_room/motion', 'telemetry', 'living_room-motion'],
    ['home/hall/light/command', 'command', 'hall-light'],
    ['home/hall/light/state', 'telemetry', 'hall-light'],
    ['iotclass/lab1/temperature', 'telemetry', 'lab1'],
    ['iotclass/lab1/status', 'status', 'lab1'],
  ])('%s is %s of %s', (topic, role, device) => {
    const match = defaultTopicMap.match(topic);
    expect(match?.entry.role).toBe(role);
    expect(match?.device).toEqual({ valid: true, id: device });
  });

  it('says so where a topic has no valid device id', () => {
    expect(defaultTopicMap.match('devices/a b/telemetry')?.device).toEqual({ valid: false, text: 'a b' });
    expect(defaultTopicMap.match('devices//telemetry')?.device).toEqual({ valid: false, text: '' });
    expect(defaultTopicMap.match(`devices/${'x'.repeat(65)}/status`)?.device.valid).toBe(false);
  });

  it('knows nothing of other topics, however deep', () => {
    expect(defaultTopicMap.match('tele/plug/SENSOR')).toBeUndefined();
    expect(defaultTopicMap.match('x/'.repeat(200))).toBeUndefined();
  });

  it('subscribes to no filter that another one covers', () => {
    const filters = defaultTopicMap.filters('status', 'lwt');
    expect(filters).toEqual(['devices/+/status', 'devices/+/lwt', 'iotclass/+/status']);
  });

  it('looks for retained messages in the whole subtree of an id, and exactly where only the name is the device', () => {
    expect(defaultTopicMap.deviceFilters(deviceId('lab1'))).toEqual(['devices/lab1/#', 'iotclass/lab1/#']);
    expect(defaultTopicMap.deviceFilters(deviceId('hall-motion'))).toEqual([
      'devices/hall-motion/#',
      'home/hall/motion',
      'iotclass/hall-motion/#',
    ]);
  });
});

describe('a topic map of an operator', () => {
  it('maps fields of a foreign payload', () => {
    const map = TopicMap.from({
      topics: [
        {
          pattern: 'tele/{device}/SENSOR',
          role: 'telemetry',
          decoder: 'json',
          fields: { 'ENERGY.Power': { metric: 'power', unit: 'W' } },
        },
      ],
    });
    expect(map.match('tele/plug/SENSOR')?.device).toEqual({ valid: true, id: 'plug' });
  });

  it.each<[string, unknown]>([
    ['an empty map', { topics: [] }],
    ['an unknown key', { topics: [{ pattern: 'a/{device}', role: 'status', rolle: 'x' }] }],
    ['a bad pattern', { topics: [{ pattern: 'a/+', role: 'status' }] }],
    ['a device that the pattern does not have', { topics: [{ pattern: 'a/{x}', role: 'status' }] }],
    ['the namespace of Muster', { topics: [{ pattern: 'muster/{device}', role: 'status' }] }],
    [
      'two entries for the same topics',
      {
        topics: [
          { pattern: 'a/{device}', role: 'status' },
          { pattern: 'a/{id}', device: '{id}', role: 'lwt' },
        ],
      },
    ],
    ['a reserved metric', { topics: [{ pattern: 'a/{device}', role: 'telemetry', decoder: 'number', metric: 'seq' }] }],
    ['no object', 'topics'],
  ])('refuses %s', (_, map) => {
    expect(() => TopicMap.from(map)).toThrow(ContractError);
  });

  it('refuses filters that overlap without one covering the other: messages would come twice', () => {
    const map = TopicMap.from({
      topics: [
        { pattern: 'a/{device}', role: 'telemetry', decoder: 'number', metric: 'x' },
        { pattern: '{device}/b', role: 'telemetry', decoder: 'number', metric: 'y' },
      ],
    });
    expect(() => map.filters('telemetry')).toThrow(/overlap/);
  });
});

describe('a topic that comes again', () => {
  const topics = ['a', 'b', 'c', 'd'].flatMap((id) => [`x/${id}/y`, `x/${id}`, `y/${id}/x/z`, `n/${id}/x`]);
  const source = {
    topics: [
      { pattern: 'x/{device}/y', role: 'status' },
      { pattern: 'x/{room}', device: '{room}-light', role: 'command' },
      { pattern: '{device}/c/y', role: 'lwt' },
      { pattern: 'y/{device}/{part}/z', role: 'telemetry', decoder: 'number', metric: 'm' },
    ],
  };

  it('is the same as the first time, whatever came between and however little is remembered', () => {
    const topic = fc.oneof(fc.constantFrom(...topics, 'x/a b/y', 'x//y', `x/${'d'.repeat(64)}/y`), fc.string());
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(topic, { maxLength: 60 }), (remembered, heard) => {
        const map = TopicMap.from(source, remembered);
        for (const one of heard) expect(map.match(one)).toStrictEqual(TopicMap.from(source).match(one));
      }),
    );
  });

  it('is remembered where its device is valid and it is not too long, and only there', () => {
    const map = TopicMap.from(source);
    expect(map.match('x/a/y')).toBe(map.match('x/a/y'));
    expect(map.match('x/a b/y')).not.toBe(map.match('x/a b/y'));
    const long = `y/a/${'p'.repeat(300)}/z`;
    expect(map.match(long)?.device).toEqual({ valid: true, id: 'a' });
    expect(map.match(long)).not.toBe(map.match(long));
  });
});

describe('a metric name', () => {
  it.each(['temp', 'ENERGY.Power', 'pm2_5', 'a'.repeat(64)])('may be %s', (name) =>
    expect(isMetricName(name)).toBe(true),
  );
  it.each(['', '1st', 'a b', 'a,b', 'a=b', 'seq', 'time', 'door_bool', 'label_text', '__proto__', 'a'.repeat(65)])(
    'may not be %j',
    (name) => expect(isMetricName(name)).toBe(false),
  );
});
