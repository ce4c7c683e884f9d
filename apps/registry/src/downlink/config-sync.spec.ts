import { describe, expect, it } from 'vitest';
import { configFault, differing, nextAttemptMs, syncOf, versionAfter } from './config-sync.ts';

const broker = (name: string, published: boolean) => ({ broker: name, published, publishedAt: null, fault: null });
const all = [broker('a', true), broker('b', true)];

describe('the configuration of a device', () => {
  it.each([
    ['what is desired', { version: 3 }, { version: 3 }, true, 'The device goes by version 3.'],
    [
      'another one',
      { version: 3 },
      { version: 2 },
      false,
      'goes by version 2 and has not said what became of version 3',
    ],
    [
      'another one, with what was wrong',
      { version: 3 },
      { version: 2, error: 'heartbeat is out of its limits' },
      false,
      'refused another: heartbeat is out of its limits.',
    ],
    ['nothing that it has said', { version: 3 }, undefined, false, 'has not said which'],
    ['what it likes', null, { version: 0 }, true, 'No configuration is desired.'],
    ['the last one, after it was cleared', null, { version: 3 }, true, 'goes on by version 3.'],
  ] as const)('goes by %s', (_, desired, reported, inSync, text) => {
    const sync = syncOf(desired, reported, all);
    expect(sync.inSync).toBe(inSync);
    expect(sync.explanation).toContain(text);
  });

  it('says which broker is still to get it', () => {
    const { explanation } = syncOf({ version: 1 }, { version: 1 }, [broker('a', true), broker('b', false)]);
    expect(explanation).toBe('The device goes by version 1. b is still to get it.');
  });

  it.each([
    [0, undefined, 1],
    [4, 4, 5],
    [4, 2, 5],
    [4, 9, 10],
  ])('after version %i, where the device goes by %s, has version %i', (newest, applied, expected) => {
    expect(versionAfter(newest, applied)).toBe(expected);
  });

  it('differs where a broker holds something else, nothing, or something that was cleared', () => {
    const wanted = new Map([
      ['same', 'x'],
      ['other', 'x'],
      ['missing', 'x'],
      ['ghost', ''],
      ['clear', ''],
    ]);
    const held = new Map([
      ['same', 'x'],
      ['other', 'y'],
      ['ghost', 'old'],
      ['not ours', 'z'],
    ]);
    expect(differing(wanted, held)).toEqual(['other', 'missing', 'ghost']);
  });

  it('is published where a broker took it, also for nobody', () => {
    expect(configFault({ broker: 'a', outcome: 'taken' })).toBeNull();
    expect(configFault({ broker: 'a', outcome: 'unsubscribed' })).toBeNull();
    expect(configFault({ broker: 'a', outcome: 'away' })).toContain('a does not answer');
    expect(configFault({ broker: 'a', outcome: 'refused' })).toContain('right to publish');
  });

  it.each([
    [0, 1_000],
    [3, 8_000],
    [6, 60_000],
    [9_999, 60_000],
  ])('is tried again after %i attempts in %i ms', (attempts, pauseMs) => {
    expect(nextAttemptMs(attempts, 5)).toBe(5 + pauseMs);
  });
});
