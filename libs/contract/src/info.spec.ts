import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { deviceId, isDeviceId } from './device-id.ts';
import { decodeInfo, ownableTopics } from './info.ts';
import { defaultTopicMap } from './topic-map.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('a device info', () => {
  it('keeps what it knows and leaves out the rest', () => {
    expect(decodeInfo(bytes('{"model":"DHT22","keep_alive":60,"topics":["home/hall/motion"],"colour":"red"}'))).toEqual(
      {
        model: 'DHT22',
        keep_alive: 60,
        topics: ['home/hall/motion'],
      },
    );
  });

  it('keeps which configuration the device goes by, and what was wrong with the last', () => {
    const config = { version: 3, unknown: 1, error: 'heartbeat is out of its limits' };
    expect(decodeInfo(bytes(JSON.stringify({ config: { ...config, colour: 'red' } })))).toEqual({ config });
  });

  it.each([
    '',
    '[]',
    '{"config":{"version":-1}}',
    '{"keep_alive":-1}',
    '{"topics":"home/hall/motion"}',
    '{"model":"\\u0000"}',
    '{"model":"\\ud800"}',
  ])('refuses %j', (payload) => {
    expect(() => decodeInfo(bytes(payload))).toThrow(ContractError);
  });

  it('lets a device own no topic of another device, of the broker or of Muster', () => {
    const topics = [
      'home/hall/motion',
      'devices/hall-node/extra',
      'devices/other/status',
      'iotclass/other/notes',
      '$SYS/x',
      'muster/services/x',
      'a/+',
      '',
      'a/'.repeat(201),
      'ctl\u0001',
      'non-character\ufffe',
    ];
    expect(ownableTopics(deviceId('hall-node'), topics, defaultTopicMap)).toEqual([
      'home/hall/motion',
      'devices/hall-node/extra',
    ]);
  });
});

describe('a device id', () => {
  it.each(['a', 'lab1', 'ESP32_DHT22_001', 'living_room-motion', 'x'.repeat(64)])('may be %s', (id) =>
    expect(isDeviceId(id)).toBe(true),
  );
  it.each(['', 'a b', 'a,b', 'a=b', 'a/b', 'a+', '#', 'ü', 'a\n', 'x'.repeat(65)])('may not be %j', (id) => {
    expect(() => deviceId(id)).toThrow(ContractError);
  });
});
