import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { brokersOf } from './shards.ts';

describe('the brokers of a process of ingestion', () => {
  it.each([
    [['a', 'b', 'c'], 0, 1, ['a', 'b', 'c']],
    [['a', 'b', 'c'], 0, 2, ['a', 'c']],
    [['a', 'b', 'c'], 1, 2, ['b']],
    [['a'], 1, 2, []],
  ])('of %j, number %i of %i: %j', (brokers, ordinal, replicas, expected) =>
    expect(brokersOf(brokers, ordinal, replicas)).toEqual(expected),
  );

  it('are each the one process’s alone, and none is left out', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string(), { maxLength: 20 }),
        fc.integer({ min: 1, max: 8 }),
        (brokers, replicas) => {
          const all = Array.from({ length: replicas }, (_, ordinal) => brokersOf(brokers, ordinal, replicas)).flat();
          expect(all.sort()).toEqual([...brokers].sort());
        },
      ),
    );
  });
});
