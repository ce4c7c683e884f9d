import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dueOf, groupKey, groupLabels, newsOf, type GroupSettings, type Member } from './grouping.ts';

const settings: GroupSettings = { groupBy: ['rule'], waitMs: 10, intervalMs: 300, sendResolved: true };

describe('the group of an alert', () => {
  it('is what the labels have in common', () => {
    const key = groupKey(['rule', 'broker'], { rule: 'lost', device: 'a', broker: 'b' });
    expect(key).toBe(groupKey(['rule', 'broker'], { rule: 'lost', device: 'other', broker: 'b' }));
    expect(groupLabels(key)).toEqual({ rule: 'lost', broker: 'b' });
  });

  it('cannot be forged by a label, and a label that is missing is empty', () => {
    expect(groupKey(['a', 'b'], { a: 'x","y', b: '' })).not.toBe(groupKey(['a', 'b'], { a: 'x', b: 'y' }));
    expect(groupLabels(groupKey(['constructor'], {}))).toEqual({ constructor: '' });
  });
});

describe('what there is to tell of an alert', () => {
  it.each<[string, Member, boolean, string]>([
    ['that is new', { phase: 'firing', isQuiet: false, isTold: false }, true, 'begun'],
    ['that is known', { phase: 'firing', isQuiet: false, isTold: true }, true, 'none'],
    ['that is silenced', { phase: 'firing', isQuiet: true, isTold: false }, true, 'none'],
    ['that is over', { phase: 'resolved', isQuiet: false, isTold: true }, true, 'ended'],
    [
      'that was silenced after it was told, and is over',
      { phase: 'resolved', isQuiet: true, isTold: true },
      true,
      'ended',
    ],
    ['that was over before anybody was told', { phase: 'resolved', isQuiet: false, isTold: false }, true, 'over'],
    [
      'that is over, for a receiver that wants no ends',
      { phase: 'resolved', isQuiet: false, isTold: true },
      false,
      'over',
    ],
  ])('%s', (_, member, sendResolved, news) => {
    expect(newsOf(member, { ...settings, sendResolved })).toBe(news);
  });
});

describe('a group is told', () => {
  it.each<[string, number | undefined, number | undefined, boolean, number, number | undefined]>([
    ['not without news', undefined, 50, false, 100, undefined],
    ['after its wait', undefined, undefined, true, 100, 110],
    ['not later because more comes', 110, undefined, true, 105, 110],
    ['not sooner than its interval after the last time', undefined, 50, true, 100, 350],
    ['after its wait when the last time is long ago', undefined, 50, true, 1_000, 1_010],
  ])('%s', (_, dueMs, lastSentMs, hasNews, nowMs, due) => {
    expect(dueOf({ dueMs, lastSentMs }, hasNews, settings, nowMs)).toBe(due);
  });

  it('once for everything that comes within its wait, and never twice within its interval', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 60 }), { maxLength: 400 }), (gaps) => {
        let nowMs = 0;
        let dueMs: number | undefined;
        let lastSentMs: number | undefined;
        const sent: number[] = [];
        for (const gap of gaps) {
          nowMs += gap;
          if (dueMs !== undefined && dueMs <= nowMs) {
            sent.push(dueMs);
            lastSentMs = dueMs;
            dueMs = undefined;
          }
          dueMs = dueOf({ dueMs, lastSentMs }, true, settings, nowMs);
        }
        sent.slice(1).forEach((atMs, index) => expect(atMs - (sent[index] ?? 0)).toBeGreaterThanOrEqual(300));
      }),
    );
  });
});
