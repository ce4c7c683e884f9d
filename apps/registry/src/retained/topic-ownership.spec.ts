import { defaultTopicMap, deviceId, TopicMap } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { TopicOwners } from './topic-ownership.ts';

const claim = (
  device: string,
  topics: readonly string[],
  isTombstoned = false,
): ConstructorParameters<typeof TopicOwners>[1][number] => ({ device: deviceId(device), topics, isTombstoned });

describe('whose a retained topic is', () => {
  it.each([
    ['devices/a/status', 'a'],
    ['devices/a/anything/else', 'a'],
    ['devices/a b/status', null],
    ['iotclass/b/status', 'b'],
    ['home/hall/motion', 'hall-motion'],
    ['home/hall/light/state', 'hall-light'],
    ['garage/door', null],
    ['home/hall/other', null],
  ])('%s by the topic map alone: %s', (topic, owner) => {
    expect(new TopicOwners(defaultTopicMap, []).ownerOf(topic)).toBe(owner);
  });

  it.each([
    ['what a device claims', [claim('node', ['garage/door'])], 'garage/door', 'node'],
    ['a claim before a name', [claim('node', ['home/hall/motion'])], 'home/hall/motion', 'node'],
    ['no claim in the subtree of another', [claim('node', ['devices/a/status'])], 'devices/a/status', 'a'],
    ['the one in service before a decommissioned one', [claim('a', ['x'], true), claim('b', ['x'])], 'x', 'b'],
    [
      'a name before the claim of a decommissioned one',
      [claim('a', ['home/hall/motion'], true)],
      'home/hall/motion',
      'hall-motion',
    ],
    ['a decommissioned one where nobody else is', [claim('a', ['x'], true)], 'x', 'a'],
  ])('%s', (_, claims, topic, owner) => {
    expect(new TopicOwners(defaultTopicMap, claims).ownerOf(topic)).toBe(owner);
  });
});

describe('what the ledger listens to', () => {
  it('is what the contract retains, and what devices say they retain; never telemetry by a wildcard (B4)', () => {
    const owners = new TopicOwners(defaultTopicMap, [
      claim('node', ['home/hall/motion', 'devices/node/info', 'muster/x']),
    ]);
    expect(owners.liveFilters).toEqual([
      'devices/+/status',
      'devices/+/lwt',
      'devices/+/info',
      'devices/+/config',
      'iotclass/+/status',
      'home/hall/motion',
    ]);
    expect(owners.otherFilters).toContain('devices/+/telemetry');
    expect([
      owners.isLive('devices/x/config'),
      owners.isLive('home/hall/motion'),
      owners.isLive('home/x/motion'),
    ]).toEqual([true, true, false]);
  });

  it('may overlap in an installation of its own: a start must not fail for it', () => {
    const topicMap = TopicMap.from({
      topics: [
        { pattern: 'a/{device}', role: 'status' },
        { pattern: '{device}/b', role: 'info' },
      ],
    });
    expect(new TopicOwners(topicMap, []).liveFilters).toEqual(['a/+', '+/b']);
  });
});
