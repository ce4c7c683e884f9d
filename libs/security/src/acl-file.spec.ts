import { defaultTopicMap, deviceId, TopicMap } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grantedTopics, renderAclFile, type DeviceGrant } from './acl-file.ts';

function grant(device: string, ...topics: string[]): DeviceGrant {
  return { device: deviceId(device), topics };
}

function granted(device: DeviceGrant, ...others: string[]): readonly string[] {
  return grantedTopics(device, defaultTopicMap, new Set([device.device, ...others]));
}

describe('an ACL file', () => {
  const text = renderAclFile({
    topicMap: defaultTopicMap,
    devices: [grant('a'), grant('b', 'garage/door')],
    shared: false,
  });

  it('gives every account the subtrees of its own name', () => {
    expect(text).toContain('\npattern readwrite devices/%u/#\npattern readwrite iotclass/%u/#\nuser ');
  });

  it('gives a service what it reads, and $SYS to those that watch brokers, presence their uptime alone', () => {
    expect(text).toMatch(/user muster\.presence\ntopic readwrite devices\/\+\/status\n/);
    expect(text.match(/\$SYS/g)).toHaveLength(4);
    expect(text).toMatch(/user muster\.alerting\n(topic .*\n)*topic read muster\/services\/ingestion\n/);
    expect(text).toMatch(/user muster\.alerting\n(topic .*\n)*topic read \$SYS\/#/);
    expect(text).toMatch(/user muster\.registry\ntopic readwrite #\ntopic read \$SYS\/#\nuser /);
    expect(text).toMatch(
      /user muster\.ingestion\n(topic .*\n)*topic read \$SYS\/#\n(topic .*\n)*user muster\.presence/,
    );
  });

  it('lets no service but the registry and automation tell devices what to do, or read what they answer', () => {
    const linesOf = (service: string): readonly string[] =>
      (new RegExp(`user muster\\.${service}\n((?:topic .*\n)*)`).exec(text)?.[1] ?? '').trim().split('\n');
    for (const service of ['registry', 'automation']) expect(linesOf(service)).toContain('topic readwrite #');
    for (const service of ['ingestion', 'presence', 'alerting'])
      for (const line of linesOf(service)) expect(line).not.toMatch(/ (#|devices\/(#|\+\/(#|command|config|ack)))$/);
  });

  it('lets ingestion hear its own canary, and nobody else among those that are not given every topic', () => {
    expect(text.match(/^topic (?!deny).*canary.*$/gm)).toEqual(['topic readwrite muster/services/ingestion/canary/#']);
    expect(text).toMatch(/user muster\.ingestion\n(topic .*\n)*topic readwrite muster\/services\/ingestion\/canary\/#/);
  });

  it('lets automation write everywhere but in the name of another service', () => {
    const [, automation = ''] = text.split('user muster.automation\n');
    expect(automation).toMatch(/^topic readwrite #\n(topic deny muster\/(services|interest)\/[a-z]+\n){8}/);
    expect(automation).toContain('\ntopic deny muster/services/ingestion/canary/#\n');
    expect(automation).not.toContain('deny muster/services/automation');
  });

  it('names a device only where it owns topics elsewhere', () => {
    expect(text).toMatch(/user b\ntopic readwrite garage\/door\n$/);
    expect(text).not.toContain('user a\n');
  });

  it('has the shared account only where it is asked for, and never with muster/', () => {
    expect(text).not.toContain('muster.shared');
    const shared = renderAclFile({ topicMap: defaultTopicMap, devices: [], shared: true });
    expect(shared).toMatch(/user muster\.shared\ntopic readwrite #\ntopic deny muster\/#\n$/);
  });

  it('follows the topic map of an installation', () => {
    const topicMap = TopicMap.from({
      topics: [
        { pattern: 'site/{place}/{device}/status', role: 'status' },
        { pattern: 'zigbee2mqtt/{device}', role: 'telemetry', decoder: 'json' },
      ],
    });
    expect(renderAclFile({ topicMap, devices: [], shared: false })).toContain(
      'pattern readwrite site/+/%u/#\npattern readwrite zigbee2mqtt/%u/#\n',
    );
  });
});

describe('the topics of a device', () => {
  it('are those named after it', () => {
    expect(granted(grant('hall-motion'))).toEqual(['home/hall/motion']);
    expect(granted(grant('hall-light'))).toEqual(['home/hall/light/command', 'home/hall/light/state']);
  });

  it('are those it claims', () => expect(granted(grant('node', 'garage/door'))).toEqual(['garage/door']));

  it.each([
    ['Muster’s own', 'muster/services/ingestion'],
    ['the broker’s', '$SYS/broker/uptime'],
    ['in another’s subtree', 'devices/b/status'],
    ['in its own subtree, which it has anyway', 'devices/node/status'],
    ['a filter', 'home/#'],
    ['with a blank that Mosquitto would trim away', ' devices/b/status'],
    ['with a blank at its end', 'garage/door '],
    ['with a line of its own', 'x\ntopic readwrite #'],
  ])('are not: %s', (_, topic) => expect(granted(grant('node', topic), 'b')).toEqual([]));

  it('are another’s by name only while that one has no account', () => {
    expect(granted(grant('node', 'home/hall/motion'))).toEqual(['home/hall/motion']);
    expect(granted(grant('node', 'home/hall/motion'), 'hall-motion')).toEqual([]);
  });

  it('never bring a line into the file that is not theirs, whatever a device claims', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 40 }), { maxLength: 5 }), (topics) => {
        const text = renderAclFile({ topicMap: defaultTopicMap, devices: [grant('evil', ...topics)], shared: false });
        const own = text.split('user evil\n')[1] ?? '';
        for (const line of own.split('\n').filter((part) => part !== '')) {
          expect(line).toMatch(/^topic readwrite \S/);
          expect(topics).toContain(line.slice('topic readwrite '.length));
        }
      }),
      { numRuns: 500 },
    );
  });
});
