import { bulkRequestSchema, deviceId, type BulkRequest } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { skipOf, type BulkCandidate } from './bulk-changes.ts';

const request = (action: Readonly<Record<string, unknown>>): BulkRequest =>
  bulkRequestSchema.parse({ select: { q: 'id:*' }, ...action });
const device: BulkCandidate = {
  ...{ id: deviceId('lab1'), state: 'registered', archivedFrom: null, tags: ['roof'], groups: ['hall'] },
};
const archived: BulkCandidate = { ...device, state: 'archived', archivedFrom: 'registered' };
const full = { ...device, tags: Array.from({ length: 32 }, (_, index) => `t${index}`) };

describe('a bulk action', () => {
  it.each<[Readonly<Record<string, unknown>>, BulkCandidate, string | undefined]>([
    [{ action: 'tag', tags: ['new'] }, device, undefined],
    [{ action: 'tag', tags: ['Roof', 'new'] }, device, undefined],
    [{ action: 'tag', tags: ['Roof'] }, device, 'unchanged'],
    [{ action: 'tag', tags: ['new'] }, full, 'too-many-tags'],
    [{ action: 'tag', tags: ['t1'] }, full, 'unchanged'],
    [{ action: 'tag', tags: ['new'] }, { ...device, state: 'discovered' }, undefined],
    [{ action: 'tag', tags: ['new'] }, { ...device, state: 'decommissioning' }, 'state'],
    [{ action: 'tag', tags: ['new'] }, archived, 'state'],
    [{ action: 'untag', tags: ['roof', 'x'] }, device, undefined],
    [{ action: 'untag', tags: ['x'] }, device, 'unchanged'],
    [{ action: 'group', group: 'roof' }, device, undefined],
    [{ action: 'group', group: 'hall' }, device, 'unchanged'],
    [{ action: 'ungroup', group: 'hall' }, device, undefined],
    [{ action: 'ungroup', group: 'roof' }, device, 'unchanged'],
    [{ action: 'decommission' }, device, undefined],
    [{ action: 'decommission' }, { ...device, state: 'decommissioning' }, 'unchanged'],
    [{ action: 'decommission' }, { ...device, state: 'decommissioned' }, 'unchanged'],
    [{ action: 'decommission' }, archived, undefined],
    [{ action: 'decommission' }, { ...archived, archivedFrom: 'decommissioned' }, 'unchanged'],
  ])('%j of %j: %s', (action, candidate, code) => {
    expect(skipOf(request(action), candidate)?.code).toBe(code);
  });

  it.each([
    { action: 'tag', tags: [] },
    { action: 'tag', tags: ['a b'] },
    { action: 'tag', tags: ['x'], limit: 10_001 },
    { action: 'tag', tags: ['x'], select: { q: ' ' } },
    { action: 'tag', tags: ['x'], select: { ids: [] } },
    { action: 'tag', tags: ['x'], select: { ids: ['+'] } },
    { action: 'tag', tags: ['x'], select: { ids: ['a'], q: 'b' } },
    { action: 'tag', group: 'hall' },
    { action: 'group', group: '..' },
    { action: 'rename' },
    { action: 'decommission', colour: 'red' },
  ])('is refused as %j', (action) => {
    expect(bulkRequestSchema.safeParse({ select: { q: 'id:*' }, ...action }).success).toBe(false);
  });
});
