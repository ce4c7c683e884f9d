import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { parsePattern } from './topic-pattern.ts';
import { TopicTrie } from './topic-trie.ts';

function trieOf(...sources: readonly string[]): TopicTrie<string> {
  const trie = new TopicTrie<string>();
  for (const source of sources) trie.insert(parsePattern(source), source);
  return trie;
}

describe('a topic trie', () => {
  afterEach(() => vi.restoreAllMocks());

  it('prefers a literal level to a wildcard, from the left', () => {
    const trie = trieOf('{a}/b', 'a/{b}', 'a/b');
    expect(trie.match('a/b')?.entry).toBe('a/b');
    expect(trie.match('a/c')?.entry).toBe('a/{b}');
    expect(trie.match('x/b')?.entry).toBe('{a}/b');
  });

  it('goes back to the wildcard where the literal leads nowhere', () => {
    expect(trieOf('a/b/c', '{x}/b/d').match('a/b/d')).toEqual({ entry: '{x}/b/d', captures: { x: 'a' } });
  });

  it('lets a leading wildcard match no topic that begins with $', () => {
    const trie = trieOf('{any}/broker', '$SYS/{x}');
    expect(trie.match('$SYS/broker')?.entry).toBe('$SYS/{x}');
    expect(trieOf('{any}/broker').match('$SYS/broker')).toBeUndefined();
  });

  it('answers the entry that stood under the same filter before', () => {
    const trie = trieOf('a/{x}');
    expect(trie.insert(parsePattern('a/{y}'), 'second')).toBe('a/{x}');
  });

  it('finds what a search through all patterns finds, or nothing', () => {
    const part = fc.constantFrom('a', 'b', 'c');
    const sources = fc.array(
      fc
        .array(fc.oneof(part, fc.constant('+')), { minLength: 1, maxLength: 4 })
        .map((levels) => levels.map((text, index) => (text === '+' ? `{w${index}}` : text)).join('/')),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(sources, fc.array(part, { minLength: 1, maxLength: 5 }), (patterns, levels) => {
        const matching = patterns.filter((source) => {
          const wanted = source.split('/');
          return (
            wanted.length === levels.length &&
            wanted.every((text, index) => text.startsWith('{') || text === levels[index])
          );
        });
        const found = trieOf(...patterns).match(levels.join('/'))?.entry;
        if (matching.length === 0) expect(found).toBeUndefined();
        else expect(matching).toContain(found);
      }),
    );
  });

  it('costs as many look-ups with 10,000 patterns as with 10, and none beyond its depth', () => {
    const lookUps = (patterns: number, topic: string): number => {
      const trie = trieOf(...Array.from({ length: patterns }, (_, index) => `vendor${index}/{device}/state`));
      const get = vi.spyOn(Map.prototype, 'get');
      trie.match(topic);
      const { length } = get.mock.calls;
      get.mockRestore();
      return length;
    };
    expect(lookUps(10_000, 'vendor7/d/state')).toBe(lookUps(10, 'vendor7/d/state'));
    expect(lookUps(10, Array.from({ length: 200 }, () => 'x').join('/'))).toBe(0);
  });
});
