import { filterCovers } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { driftOf, isLedgerTopic, reconcile, topicExpression, type LedgerEntry } from './retained-ledger.ts';

describe('a topic of the ledger', () => {
  it.each([
    ['devices/a/status', true],
    ['$SYS/broker/uptime', false],
    ['muster/services/ingestion', false],
    ['mustered/x', true],
    ['x'.repeat(1_024), true],
    ['é'.repeat(513), false],
  ])('takes %s: %s', (topic, isTaken) => expect(isLedgerTopic(topic)).toBe(isTaken));
});

describe('a sweep', () => {
  const entry = (topic: string, sha256 = 'a', device: string | null = 'd'): LedgerEntry => ({
    ...{ topic, device, bytes: 1, sha256, qos: null, seenAtMs: 0, expiresAtMs: null },
  });

  it('adds what is new, changes what is other, removes what is gone', () => {
    const found = [entry('new'), entry('same'), entry('other', 'b'), entry('given', 'a', 'e')];
    const recorded = [entry('same'), entry('other'), entry('given'), entry('gone')];
    const { added, changed, removed } = reconcile(found, recorded, new Set());
    expect([added.map(({ topic }) => topic), changed.map(({ topic }) => topic), removed]).toEqual([
      ['new'],
      ['other', 'given'],
      ['gone'],
    ]);
  });

  it('R4 leaves alone what was heard live since it began: the newer one wins', () => {
    const heard = new Set(['new', 'other', 'gone']);
    expect(reconcile([entry('new'), entry('other', 'b')], [entry('other'), entry('gone')], heard)).toEqual({
      ...{ added: [], changed: [], removed: [] },
    });
  });

  it('makes the record what was found, whatever was there', () => {
    const state = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom<string>('1', '2'));
    fc.assert(
      fc.property(state, state, (was, is) => {
        const recorded = new Map<string, string>(Object.entries(was));
        const entries = (from: Record<string, string>): LedgerEntry[] =>
          Object.entries(from).map(([topic, sha256]) => entry(topic, sha256));
        const { added, changed, removed } = reconcile(entries(is), entries(was), new Set());
        for (const one of [...added, ...changed]) recorded.set(one.topic, one.sha256);
        for (const topic of removed) recorded.delete(topic);
        expect(new Map([...recorded].sort())).toEqual(new Map(Object.entries(is).sort()));
      }),
    );
  });
});

describe('the expression of a topic filter', () => {
  it.each([
    ['a/+/c', 'a/b/c', true],
    ['a/+/c', 'a/b/c/d', false],
    ['a/#', 'a', true],
    ['a/#', 'ab', false],
    ['#', 'anything', true],
    ['a.b', 'axb', false],
    ['+/x', '/x', true],
    ['(a|b)*', '(a|b)*', true],
  ])('%s on %s: %s', (filter, topic, isMatch) => {
    expect(new RegExp(topicExpression(filter), 's').test(topic)).toBe(isMatch);
  });

  it('matches what MQTT matches', () => {
    const level = fc.constantFrom('', 'a', 'b', 'a.b', '(', '\\', '$', 'é');
    const filter = fc
      .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([levels, isOpen]) => [...levels, ...(isOpen ? ['#'] : [])].join('/'));
    const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
    fc.assert(
      fc.property(filter, topic, (wide, narrow) => {
        expect(new RegExp(topicExpression(wide), 's').test(narrow)).toBe(filterCovers(wide, narrow));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('drift', () => {
  const input = {
    ...{ ledger: 10, expired: 0, isListening: true, hasPassed: true },
    counted: { retained: 70, atMs: 0 },
    baseline: { system: 53, muster: 7, atMs: 0 },
  };

  it('R14 is what a broker counts beyond its own topics, Muster’s and the ledger’s', () => {
    expect(driftOf(input)).toEqual({ drift: 0, likely: [] });
    expect(driftOf({ ...input, ledger: 7 })).toEqual({
      drift: 3,
      likely: [expect.stringMatching(/topic map/), expect.stringMatching(/1,024/)],
    });
  });

  it.each([
    ['the ledger does not listen', { isListening: false }, null, /does not hear/],
    ['the broker has told nothing', { counted: undefined }, null, /has not told/],
    ['its own were not counted', { baseline: undefined }, null, /has not told/],
    ['some have expired', { ledger: 8, expired: 2 }, 2, /expired/],
    ['the first sweep runs', { ledger: 8, hasPassed: false }, 2, /first sweep/],
    ['there are fewer', { ledger: 12 }, -2, /cleared since/],
  ])('when %s says so', (_, change, drift, why) => {
    const found = driftOf({ ...input, ...change });
    expect([found.drift, found.likely[0]]).toEqual([drift, expect.stringMatching(why)]);
  });
});
