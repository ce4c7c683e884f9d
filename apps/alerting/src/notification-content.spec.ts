import { describe, expect, it } from 'vitest';
import type { AlertRecord } from './alert-record.ts';
import { contentOf, groupSummary } from './notification-content.ts';

function alerts(state: AlertRecord['state'], ...names: readonly string[]): readonly AlertRecord[] {
  return names.map((subject) => ({
    ...{ id: subject, rule: 'lost', ruleVersion: 1, kind: 'presence', severity: 'warning', state, subject },
    ...{ device: subject, broker: null, summary: `${subject} is lost`, value: 1, labels: {}, runbook: null },
    ...{ sinceMs: 0, startedMs: 0, resolvedMs: state === 'resolved' ? 1 : null },
    ...{ acknowledgedMs: null, acknowledgedBy: null, silencedBy: null },
  }));
}

const firing = (...names: readonly string[]) => alerts('firing', ...names);
const over = (...names: readonly string[]) => alerts('resolved', ...names);

describe('a group in one line', () => {
  it.each([
    [{ begun: firing('a'), ended: [], known: [], firing: 1 }, 'a is lost'],
    [{ begun: firing('a', 'b', 'c'), ended: [], known: [], firing: 3 }, 'a is lost and 2 more'],
    [{ begun: firing('c'), ended: over('a'), known: firing('b'), firing: 2 }, 'c is lost and 1 more; 1 have ended'],
    [{ begun: [], ended: over('a'), known: [], firing: 0 }, 'Resolved: a is lost'],
    [{ begun: [], ended: over('a', 'b'), known: [], firing: 0 }, '2 alerts have ended, none fires any more: a is lost'],
    [{ begun: [], ended: over('a', 'b'), known: [], firing: 4 }, '2 alerts have ended, 4 still fire: a is lost'],
  ])('%#: %s', (news, summary) => {
    expect(groupSummary(news)).toBe(summary);
  });
});

describe('what goes into notifications', () => {
  const news = { begun: firing('a', 'b', 'c'), ended: over('d'), known: firing('e'), firing: 4 };

  it('is news first, and how many were left out', () => {
    const [content, ...others] = contentOf({ rule: 'lost' }, news, { maxAlerts: 4, takesEach: false });
    expect(others).toEqual([]);
    expect([content?.alerts.map(({ subject }) => subject), content?.omitted]).toEqual([['a', 'b', 'c', 'd'], 1]);
  });

  it('is everything, in parts, for a receiver that takes each', () => {
    const contents = contentOf({}, { ...news, known: [] }, { maxAlerts: 3, takesEach: true });
    expect(contents.map(({ alerts: told }) => told.map(({ subject }) => subject))).toEqual([['a', 'b', 'c'], ['d']]);
  });
});
