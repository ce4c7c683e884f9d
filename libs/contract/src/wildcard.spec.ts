import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchesLabels, matchesWildcard, WildcardIndex } from './wildcard.ts';

describe('a wildcard', () => {
  it.each([
    ['cellar-*', 'cellar-1', true],
    ['cellar-*', 'cellar-', true],
    ['cellar-*', 'attic-1', false],
    ['*-temp', 'a-b-temp', true],
    ['a*b*c', 'axxbyybzzc', true],
    ['a*b*c', 'axxcyyb', false],
    ['*', '', true],
    ['', 'a', false],
    ['a.c', 'abc', false],
    ['Sensor', 'sensor', false],
  ])('%j and %j: %j', (pattern, text, matches) => {
    expect(matchesWildcard(pattern, text)).toBe(matches);
  });

  it('matches whatever its stars are replaced with', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '-'), maxLength: 8 });
    fc.assert(
      fc.property(
        fc.array(text, { minLength: 1, maxLength: 6 }),
        fc.array(text, { minLength: 6, maxLength: 6 }),
        (parts, fill) => {
          const whole = parts.map((part, index) => (index === 0 ? part : `${fill[index] ?? ''}${part}`)).join('');
          expect(matchesWildcard(parts.join('*'), whole)).toBe(true);
        },
      ),
    );
  });

  it('that is hostile comes to an end', () => {
    expect(matchesWildcard(`${'*a'.repeat(50)}b`, 'a'.repeat(10_000))).toBe(false);
  });
});

describe('matchers', () => {
  const labels = { rule: 'lost', device: 'cellar-1' };
  it.each<[Record<string, string>, boolean]>([
    [{ rule: 'lost' }, true],
    [{ rule: 'lost', device: 'cellar-*' }, true],
    [{ rule: 'lost', device: 'attic-*' }, false],
    [{ broker: '*' }, false],
    [{ constructor: '*' }, false],
  ])('%j: %j', (matchers, matches) => {
    expect(matchesLabels(matchers, labels)).toBe(matches);
  });
});

describe('an index of wildcards', () => {
  it('finds what looking at every pattern finds, each entry once and in order, also after more were added', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 3 });
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 3 });
    const entry = fc.option(fc.array(pattern, { maxLength: 3 }), { nil: undefined });
    fc.assert(
      fc.property(fc.array(fc.tuple(entry, text), { maxLength: 12 }), (steps) => {
        const index = new WildcardIndex<number>();
        const added: (readonly string[] | undefined)[] = [];
        for (const [patterns, asked] of steps) {
          index.add(patterns, added.push(patterns) - 1);
          const expected = added.flatMap((one, position) =>
            (one ?? ['*']).some((single) => matchesWildcard(single, asked)) ? [position] : [],
          );
          expect(index.matches(asked)).toEqual(expected);
          expect(index.matches(asked)).toEqual(expected);
        }
      }),
    );
  });
});
