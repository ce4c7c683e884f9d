import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../up/settings.ts';
import { parseDeviceFilters, parseTopicFilters, topicFiltersOverlap } from './filters.ts';

describe('topic filters for a broker', () => {
  it.each([
    ['one', ['home/#'], ['home/#']],
    ['several', ['home/#', 'devices/+/telemetry'], ['home/#', 'devices/+/telemetry']],
    ['the same twice', ['a', 'a'], ['a']],
    ['one that another covers', ['home/+/motion', 'home/#'], ['home/#']],
    ['everything, and the topics of the broker, which # does not match', ['#', '$SYS/#'], ['#', '$SYS/#']],
    ['levels that are empty, blank or no ASCII', ['/a//ü b/+'], ['/a//ü b/+']],
  ])('%s', (_, given, expected) => {
    expect(parseTopicFilters(given)).toEqual(expected);
  });

  it.each([
    ['', /is empty/],
    ['devices/#/status', /nothing can follow #/],
    ['devices#', /whole levels/],
    ['devices/lab+', /one whole level/],
    ['devices/lab*', /MQTT has no \*/],
    ['$share/muster/devices/#', /takes messages away/],
    ['a\0b', /no topic can have/],
    ['a\ud800', /no topic can have/],
    ['x'.repeat(65_536), /longer than 65,535 bytes/],
  ])('refuse %j and say why', (filter, why) => {
    expect(() => parseTopicFilters([filter])).toThrow(UsageError);
    expect(() => parseTopicFilters([filter])).toThrow(why);
    expect(() => parseTopicFilters([filter])).toThrow(/^filter ".{0,110}": /s);
  });

  it('refuse two that overlap in part, for what both match would come twice', () => {
    expect(() => parseTopicFilters(['devices/+/telemetry', 'devices/lab1/#'])).toThrow(/overlap.*count twice/);
  });

  it.each([
    ['a/+', '+/b', true],
    ['a/+', 'b/+', false],
    ['a/+', 'a/b/c', false],
    ['a/#', 'a', true],
    ['a/+/c/#', 'a/b/#', true],
    ['a/+/c/#', 'a/b', false],
    ['#', '$SYS/x', false],
    ['+/x', '$SYS/x', false],
    ['$SYS/+', '$SYS/x', true],
  ])('%s and %s overlap: %s', (left, right, overlap) => {
    expect([topicFiltersOverlap(left, right), topicFiltersOverlap(right, left)]).toEqual([overlap, overlap]);
  });
});

describe('filters for the API', () => {
  it.each([
    [[], 'lab1', 'temp', true],
    [['#'], 'lab1', 'temp', true],
    [['lab1'], 'lab1', 'temp', true],
    [['lab1'], 'lab10', 'temp', false],
    [['lab1/#'], 'lab1', 'temp', true],
    [['virtual-*'], 'virtual-07', 'temp', true],
    [['virtual-*'], 'lab1', 'temp', false],
    [['*-motion'], 'hall-motion', 'motion', true],
    [['v*1*7'], 'virtual-1-07', 'temp', true],
    [['v*1*7'], 'v17', 'temp', true],
    [['v*1*17'], 'v17', 'temp', false],
    [['+/temp'], 'lab1', 'temp', true],
    [['+/temp'], 'lab1', 'temperature', false],
    [['*/temp*'], 'lab1', 'temperature', true],
    [['lab1/hum', 'lab2'], 'lab2', 'temp', true],
    [['lab1/hum', 'lab2'], 'lab1', 'temp', false],
  ])('%j of %s %s: %s', (filters, device, metric, isWanted) => {
    expect(parseDeviceFilters(filters).hasReading(device, metric)).toBe(isWanted);
  });

  it('want a device whatever it has reported, unless they are for metrics', () => {
    expect(parseDeviceFilters([]).hasDevice('lab1', [])).toBe(true);
    expect(parseDeviceFilters(['lab*']).hasDevice('lab1', [])).toBe(true);
    expect(parseDeviceFilters(['+/temp']).hasDevice('lab1', ['hum'])).toBe(false);
    expect(parseDeviceFilters(['+/temp']).hasDevice('lab1', ['hum', 'temp'])).toBe(true);
  });

  it.each([
    [[], [], []],
    [['lab1', 'lab2/temp'], ['lab1', 'lab2'], []],
    [['lab1/temp', 'lab1/hum'], ['lab1'], ['temp', 'hum']],
    [['lab*/temp'], [], ['temp']],
    [['lab1/t*'], ['lab1'], []],
  ])('%j ask the API for devices %j and metrics %j alone', (filters, devices, metrics) => {
    expect(parseDeviceFilters(filters).exact).toEqual({ devices, metrics });
  });

  it.each([
    ['', /no device id/],
    ['lab 1', /no device id/],
    ['lab+', /\+ or \* alone/],
    ['lab1/se ssion', /no metric/],
    ['lab1/', /no metric/],
    ['#/temp', /nothing can follow #/],
    ['devices/+/telemetry', /topics are for --broker/],
    ['\u001b[2J', /no device id/],
  ])('refuse %j and say why', (filter, why) => {
    expect(() => parseDeviceFilters([filter])).toThrow(UsageError);
    expect(() => parseDeviceFilters([filter])).toThrow(why);
  });

  it('match what was made from them, in linear time', () => {
    const part = fc.stringMatching(/^[a-z0-9-]{0,8}$/);
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 2, maxLength: 5 }),
        fc.array(part, { minLength: 4 }),
        (parts, fillings) => {
          const pattern = `d${parts.join('*')}`;
          const name = `d${parts.map((text, index) => text + (index < parts.length - 1 ? (fillings[index] ?? '') : '')).join('')}`;
          fc.pre(pattern.replaceAll('*', 'x').length <= 64);
          expect(parseDeviceFilters([pattern]).hasReading(name, 'temp')).toBe(true);
        },
      ),
    );
    const startedAt = performance.now();
    expect(parseDeviceFilters([`${'*a'.repeat(30)}b`]).hasReading('a'.repeat(64), 'temp')).toBe(false);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
});
