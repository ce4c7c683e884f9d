import { deviceId, replacementReportSchema, type ReplacementBroker, type ReplacementReport } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { isDone, reportAfter } from './replacements.ts';

const done: ReplacementBroker = {
  ...{ broker: 'a', accountApplied: true, sessionEnded: true, infoCleared: true, fault: null },
};
const report: ReplacementReport = {
  ...{ device: deviceId('lab1'), state: 'incomplete', by: 'x', requestedAt: '2026-11-23T09:00:00.000Z' },
  ...{ completedAt: null, commandsCancelled: 2, brokers: [] },
};
const now = new Date(5_000);

describe('a replacement', () => {
  it.each([
    ['its account', { accountApplied: false }],
    ['its session', { sessionEnded: false }],
    ['what is retained', { infoCleared: false }],
  ])('is not done on a broker that has not done %s', (_, left) => {
    expect(isDone({ ...done, ...left })).toBe(false);
    const after = reportAfter(report, [done, { ...done, ...left, broker: 'b', fault: 'away' }], now);
    expect(after).toMatchObject({ state: 'incomplete', completedAt: null, commandsCancelled: 2 });
  });

  it('is complete when every broker has done everything', () => {
    const after = reportAfter(report, [done, { ...done, broker: 'b' }], now);
    expect(replacementReportSchema.parse(after)).toMatchObject({
      ...{ state: 'complete', completedAt: now.toISOString(), requestedAt: report.requestedAt },
    });
  });
});
