import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { buildTopic, filterCovers, filtersOverlap, isTopicFilter, parsePattern } from './topic-pattern.ts';
import { TopicTrie } from './topic-trie.ts';

const level = fc.string({ unit: 'grapheme', maxLength: 8 }).filter((text) => !/[/+#{}\0]/.test(text));
const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_]{0,5}$/);
const value = level.filter((text) => text !== '');

/** A pattern with distinct wildcard names, and a value for each. */
const patternWithCaptures = fc
  .array(
    fc.oneof(
      { weight: 2, arbitrary: level.map((text) => ({ text })) },
      { weight: 1, arbitrary: fc.record({ name, value }) },
    ),
    {
      minLength: 1,
      maxLength: 12,
    },
  )
  .map((parts) => {
    const seen = new Set<string>();
    const levels = parts.map((part) => {
      if ('text' in part) return { source: part.text, capture: undefined };
      if (seen.has(part.name)) return { source: part.value, capture: undefined };
      seen.add(part.name);
      return { source: `{${part.name}}`, capture: [part.name, part.value] as const };
    });
    return {
      source: levels.map(({ source }) => source).join('/'),
      captures: Object.fromEntries(levels.flatMap(({ capture }) => (capture === undefined ? [] : [capture]))),
    };
  })
  .filter(({ source }) => source !== '' && !source.startsWith('$'));

describe('a topic pattern', () => {
  it('is matched by every topic that is built from it, with the same captures', () => {
    fc.assert(
      fc.property(patternWithCaptures, ({ source, captures }) => {
        const pattern = parsePattern(source);
        const topic = buildTopic(pattern, captures);
        fc.pre(!topic.startsWith('$'));
        const trie = new TopicTrie<string>();
        trie.insert(pattern, source);
        expect(trie.match(topic)).toEqual({ entry: source, captures });
      }),
    );
  });

  it('is read or refused with its own error, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        try {
          expect(parsePattern(text).source).toBe(text);
        } catch (error) {
          expect(error).toBeInstanceOf(ContractError);
        }
      }),
    );
  });

  it.each(['', 'a/+/b', 'a/#', 'a/{x}/{x}', 'a/pre{x}', 'a/{}', 'a/{1x}', 'a\0b'])('refuses %j', (source) => {
    expect(() => parsePattern(source)).toThrow(ContractError);
  });

  it('refuses to build a topic from captures that would not stay one level', () => {
    const pattern = parsePattern('devices/{device}/status');
    for (const device of ['', 'a/b', '+', '#', 'a\0'])
      expect(() => buildTopic(pattern, { device })).toThrow(ContractError);
    expect(() => buildTopic(pattern, {})).toThrow(ContractError);
    expect(() => buildTopic(parsePattern('{constructor}'), {})).toThrow(ContractError);
  });

  it('becomes an MQTT filter', () => {
    expect(parsePattern('devices/{device}/status').filter).toBe('devices/+/status');
  });
});

describe('filters', () => {
  it.each([
    ['devices/+/status', 'devices/a/status', true],
    ['devices/a/status', 'devices/+/status', false],
    ['devices/#', 'devices/+/status', true],
    ['devices/#', 'devices', true],
    ['#', 'a/b', true],
    ['a/+', 'a/b/c', false],
    ['a/+', 'a/#', false],
  ])('%s covers %s: %s', (wide, narrow, covered) => {
    expect(filterCovers(wide, narrow)).toBe(covered);
  });

  it('overlap when one topic matches both', () => {
    expect(filtersOverlap('a/+', '+/b')).toBe(true);
    expect(filtersOverlap('a/+', 'b/+')).toBe(false);
    expect(filtersOverlap('a/+', 'a/b/c')).toBe(false);
  });
});

describe('a topic filter', () => {
  it.each(['a', '#', '+', 'a/#', '+/b/+', '/', 'a//b', '$SYS/#'])('may be %j', (filter) =>
    expect(isTopicFilter(filter)).toBe(true),
  );
  it.each(['', 'a+', 'a/#/b', '#a', 'a/b#', '++', 'a\0', 'x'.repeat(65_536)])('may not be %j', (filter) =>
    expect(isTopicFilter(filter)).toBe(false),
  );
});
