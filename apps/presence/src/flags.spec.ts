import { describe, expect, it } from 'vitest';
import { flagsOf, moveOf, movesOf, recentMoves, type Move, type StoredTransition } from './flags.ts';
import type { RaisedFlag } from './presence-record.ts';
import { birth, recordAfter, will } from './presence-scene.ts';

const plain = { isTakeover: false, isReset: false, hasSession: true };
const moves = (count: number, everyMs: number, kind: Partial<Move> = {}): readonly Move[] =>
  Array.from({ length: count }, (_, index) => ({ ...plain, ...kind, atMs: 1_000_000 + index * everyMs }));
const NOW = 1_059_000;
const flapping: RaisedFlag = { flag: 'flapping', sinceMs: 1, evidence: 'x' };
const duel: RaisedFlag = { flag: 'duplicate-client-id', sinceMs: 1, evidence: 'x' };

describe('the flags of a device', () => {
  it.each<[string, readonly RaisedFlag[], readonly Move[], readonly string[]]>([
    ['none for ten changes in ten minutes', [], moves(10, 5_000), []],
    ['flapping for eleven', [], moves(11, 5_000), ['flapping']],
    ['flapping stays while five are left', [flapping], moves(5, 5_000), ['flapping']],
    ['and goes with less', [flapping], moves(4, 5_000), []],
    [
      'P12 two counters that take turns',
      [],
      [...moves(2, 3_000, { isTakeover: true }), ...moves(2, 3_000, { isTakeover: true, isReset: true })],
      ['duplicate-client-id'],
    ],
    [
      'P12 takeovers without session numbers',
      [],
      moves(4, 3_000, { isTakeover: true, hasSession: false }),
      ['duplicate-client-id'],
    ],
    ['a board that reboots again and again flaps', [], moves(12, 4_000, { isTakeover: true }), ['flapping']],
    [
      'P12 a duel is not told as flapping hardware',
      [],
      moves(20, 3_000, { isTakeover: true, hasSession: false }),
      ['duplicate-client-id'],
    ],
    ['and is over a minute after its last takeover', [duel], [{ ...plain, atMs: 900_000 }], []],
  ])('%s', (_, standing, recent, flags) => {
    expect(flagsOf(standing, recent, NOW).map(({ flag }) => flag)).toEqual(flags);
  });

  it('keep the time and the evidence with which they were raised', () => {
    expect(flagsOf([flapping], moves(12, 5_000), NOW)).toEqual([flapping]);
    expect(flagsOf([], moves(11, 5_000), NOW)[0]).toEqual({
      ...{ flag: 'flapping', sinceMs: NOW, evidence: 'came and went 11 times within 10 minutes' },
    });
  });

  it('count what is not older than ten minutes, and no more than is needed', () => {
    expect(recentMoves(moves(3, 300_000), undefined, 1_700_000).map(({ atMs }) => atMs)).toEqual([
      1_300_000, 1_600_000,
    ]);
    expect(recentMoves(moves(1_000, 1), undefined, 1_000_999)).toHaveLength(64);
  });

  it.each([
    ['a birth while it is online', recordAfter(birth(7)), 8, 2_000, { isTakeover: true, isReset: false }],
    ['a birth right behind its will', recordAfter(will(7)), 8, 1_100, { isTakeover: true, isReset: false }],
    ['a birth after a while', recordAfter(will(7)), 8, 9_000, { isTakeover: false, isReset: false }],
    ['a birth of a lower session', recordAfter(birth(7)), 3, 2_000, { isTakeover: true, isReset: true }],
    ['a first birth', undefined, 3, 2_000, { isTakeover: false, isReset: false }],
  ])('%s', (_, before, session, receivedAtMs, move) => {
    expect(moveOf(before, { isBirth: true, session, receivedAtMs })).toMatchObject(move);
  });

  it('count again after a restart what is on record, without what others did to the device', () => {
    const row = (
      from: StoredTransition['from'],
      state: StoredTransition['state'],
      reason: StoredTransition['reason'],
      sinceMs: number,
      session: number,
    ): StoredTransition => ({ from, state, reason, sinceMs, session });
    expect(
      movesOf([
        row('unknown', 'online', 'birth', 1_000, 7),
        row('online', 'unknown', 'broker-lost', 2_000, 7),
        row('unknown', 'online', 'broker-back', 3_000, 7),
        row('online', 'online', 'birth', 4_000, 3),
        row('online', 'lost', 'will', 5_000, 3),
        row('lost', 'online', 'birth', 5_100, 4),
      ]),
    ).toEqual([
      { atMs: 1_000, isTakeover: false, isReset: false, hasSession: true },
      { atMs: 4_000, isTakeover: true, isReset: true, hasSession: true },
      { atMs: 5_000, isTakeover: false, isReset: false, hasSession: true },
      { atMs: 5_100, isTakeover: true, isReset: false, hasSession: true },
    ]);
  });
});
