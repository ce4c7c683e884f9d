import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RecentlyUsed } from './recently-used.ts';

describe('what was used lately', () => {
  it('is what was put under its key or nothing, the last ones always, and never more than two generations', () => {
    const key = fc.integer({ min: 0, max: 12 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(key, { maxLength: 200 }), (generationSize, keys) => {
        const memory = new RecentlyUsed<string>(generationSize);
        const used: number[] = [];
        for (const wanted of keys) {
          const found = memory.get(`k${wanted}`);
          if (found !== undefined) expect(found).toBe(`v${wanted}`);
          const lately = [...new Set(used.toReversed())].slice(0, generationSize);
          if (lately.includes(wanted)) expect(found).toBe(`v${wanted}`);
          else if (found === undefined) memory.set(`k${wanted}`, `v${wanted}`);
          used.push(wanted);
          expect(memory.size).toBeLessThanOrEqual(2 * generationSize);
        }
      }),
    );
  });

  it('is forgotten after two generations without use', () => {
    const memory = new RecentlyUsed<number>(2);
    for (const [index, key] of ['a', 'b', 'c', 'd', 'e'].entries()) memory.set(key, index);
    expect(['a', 'b', 'c', 'd', 'e'].map((key) => memory.get(key))).toEqual([undefined, undefined, 2, 3, 4]);
  });
});
