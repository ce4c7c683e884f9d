import { deviceId, filterCovers } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FilterIndex } from './filter-index.ts';

const level = fc.constantFrom('a', 'b', 'c', '', 'devices');
const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, isSubtree]) => [...levels, ...(isSubtree ? ['#'] : [])].join('/'));

describe('the devices that a topic may belong to', () => {
  it('are the devices that have a filter which matches it', () => {
    fc.assert(
      fc.property(fc.array(fc.array(filter, { maxLength: 3 }), { maxLength: 5 }), topic, (all, found) => {
        const scopes = all.map((filters, index) => ({ device: deviceId(`d${index}`), filters }));
        const expected = scopes.filter(({ filters }) => filters.some((one) => filterCovers(one, found)));
        expect([...new FilterIndex(scopes).of(found)].sort()).toEqual(expected.map(({ device }) => device).sort());
      }),
    );
  });

  it('are all of them where several own it', () => {
    const owners = new FilterIndex([
      { device: deviceId('a'), filters: ['devices/a/#', 'shared/topic'] },
      { device: deviceId('b'), filters: ['devices/b/#', 'shared/topic'] },
    ]);
    expect([...owners.of('shared/topic')]).toEqual(['a', 'b']);
    expect([...owners.of('devices/a')]).toEqual(['a']);
    expect([...owners.of('devices/ab/status')]).toEqual([]);
  });
});
