import { deviceId } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { decide, type StatusInput } from './presence-machine.ts';
import type { PresenceRecord } from './presence-record.ts';
import { birth, recordAfter, statusInput, will } from './presence-scene.ts';
import { correctionsOf } from './reassertion.ts';

const id = deviceId('a');
const corrections = (before: PresenceRecord | undefined, input: StatusInput): readonly string[] =>
  correctionsOf(id, before, input, decide(before, input)).map(
    ({ broker, session, says, cause }) => `${broker}: ${says} ${session}, ${cause}`,
  );
const at = (broker: string): Partial<StatusInput> => ({ broker });

describe('what brokers retain is put right', () => {
  it.each<[string, PresenceRecord | undefined, StatusInput, readonly string[]]>([
    [
      'P3 where the will of an older session came',
      recordAfter(birth(8)),
      statusInput(will(7), at('old')),
      ['old: online 8, contradicted'],
    ],
    [
      'at the broker that the device has left',
      recordAfter(birth(7), at('old')),
      statusInput(birth(8), at('new')),
      ['old: online 8, left'],
    ],
    [
      'where we have said that it is online',
      { ...recordAfter(birth(8)), mirrors: ['old'] },
      statusInput(will(8)),
      ['old: offline 8, left'],
    ],
    ['nowhere, where the device says itself what is true', recordAfter(birth(7)), statusInput(will(7)), []],
    ['nowhere for a device that is lost', recordAfter(will(8)), statusInput(will(7), at('old')), []],
    [
      'nowhere for a device without session numbers',
      recordAfter(birth(), at('new')),
      statusInput(will(), at('old')),
      [],
    ],
    ['nowhere for a device that was not known', undefined, statusInput(birth(8)), []],
  ])('%s', (_, before, input, expected) => {
    expect(corrections(before, input)).toEqual(expected);
  });
});
