import { describe, expect, it } from 'vitest';
import { stoppedSpools, type KnownSpool } from './stopped-spools.ts';

const DAY_MS = 86_400_000;
const OWN = { ordinal: 0, replicas: 2, maxAgeDays: 7 };

function spool(fields: Partial<KnownSpool>): KnownSpool {
  return { ordinal: 1, bytes: 700, oldestAtMs: 5, seenAgoMs: 600_000, ...fields };
}

describe('the spool of a process that does not run', () => {
  it.each<[string, Partial<KnownSpool>, 'running' | 'waits' | 'given-up']>([
    ['waits when nothing was heard of it for more than a minute', { seenAgoMs: 60_001 }, 'waits'],
    ['is not one while the process may be on its way back', { seenAgoMs: 60_000 }, 'running'],
    ['waits soon where no process is to take it', { ordinal: 2, seenAgoMs: 15_001 }, 'waits'],
    [
      'is not one where a process still tells of it, though there should be fewer',
      { ordinal: 2, seenAgoMs: 9_000 },
      'running',
    ],
    ['is not one where it was empty', { bytes: 0, oldestAtMs: undefined }, 'running'],
    ['is never the own one', { ordinal: 0 }, 'running'],
    ['waits for as long as something in it would still be delivered', { seenAgoMs: 7 * DAY_MS }, 'waits'],
    ['is given up when all of it is older than what is delivered', { seenAgoMs: 7 * DAY_MS + 1 }, 'given-up'],
  ])('%s', (_, fields, expected) => {
    const { waiting, givenUp } = stoppedSpools([spool(fields)], OWN);
    expect(waiting).toEqual(expected === 'waits' ? [spool(fields)] : []);
    expect(givenUp).toEqual(expected === 'given-up' ? [spool(fields)] : []);
  });

  it('is one of many', () => {
    const known = [spool({ ordinal: 0, seenAgoMs: 0 }), spool({ ordinal: 1, seenAgoMs: 0 }), spool({ ordinal: 3 })];
    expect(stoppedSpools(known, OWN).waiting.map(({ ordinal }) => ordinal)).toEqual([3]);
  });
});
