import { deviceId } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { planOf, type KnownDevice } from './device-transfer.ts';

const id = deviceId('lab1');
const known: KnownDevice = {
  id,
  state: 'discovered',
  name: 'Lamp',
  description: null,
  tags: ['roof'],
  groups: ['hall'],
};

describe('a device of an imported file', () => {
  it('is created where nobody knows it', () => {
    expect(planOf({ id, tags: ['x'] }, undefined, false)).toEqual({
      does: 'create',
      target: { id, name: null, description: null, tags: ['x'], groups: [] },
    });
  });

  it.each([
    [{ id }],
    [{ id, name: 'Lamp' }],
    [{ id, name: 'Lamp', description: '', tags: ['roof'], groups: ['hall'] }],
  ])('%j leaves one that is so already as it is', (device) => {
    expect(planOf(device, known, false)).toEqual({ does: 'nothing' });
  });

  it('changes what the file tells, and nothing else', () => {
    expect(planOf({ id, name: null, groups: [] }, known, false)).toEqual({
      does: 'update',
      target: { id, name: null, description: null, tags: ['roof'], groups: [] },
    });
  });

  it('is refused where it is gone', () => {
    expect(planOf({ id }, undefined, true)).toMatchObject({
      does: 'refuse',
      reason: expect.stringContaining('stay silent'),
    });
    expect(planOf({ id }, { ...known, state: 'archived' }, false)).toMatchObject({ does: 'refuse' });
  });
});
