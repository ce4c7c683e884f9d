import { describe, expect, it } from 'vitest';
import { interrupt, restore, returnDueAtMs } from './broker-outage.ts';
import type { PresenceRecord } from './presence-record.ts';
import { birth, goodbye, recordAfter, sleep, will } from './presence-scene.ts';
import { overdue } from './silence.ts';

const lost = { broker: 'mosquitto-0', kind: 'lost', fromMs: 10_000 } as const;
const restarted = { ...lost, kind: 'restarted' } as const;
const online = recordAfter(birth(7));

describe('a broker that is lost', () => {
  it.each<[string, PresenceRecord, string | undefined]>([
    ['P7 who is online is unknown', online, 'unknown'],
    ['who is stale is unknown', { ...online, state: 'stale', reason: 'silent' }, 'unknown'],
    ['who sleeps goes on sleeping', recordAfter(sleep(7, 300)), undefined],
    ['who said goodbye has gone', recordAfter(goodbye(7)), undefined],
    ['who was lost long before stays lost', recordAfter(will(7)), undefined],
    ['P6 who was lost as it ended is unknown', recordAfter(will(7), { receivedAtMs: 9_000 }), 'unknown'],
    ['who is behind another broker is not concerned', recordAfter(birth(7), { broker: 'mosquitto-1' }), undefined],
  ])('%s', (_, record, state) => {
    expect(interrupt(record, lost, 12_000, null)?.record.state).toBe(state);
  });

  it('says so once', () => {
    const unknown = interrupt(online, lost, 12_000, null)?.record;
    if (unknown === undefined) throw new Error('it is concerned');
    expect(unknown).toMatchObject({ reason: 'broker-lost', interrupted: { state: 'online', reason: 'birth' } });
    expect(interrupt(unknown, lost, 13_000, null)).toBeUndefined();
    expect(interrupt(unknown, restarted, 13_000, 50_000)).toMatchObject({
      kind: 'renewed',
      record: { reason: 'broker-restarted', dueAtMs: 50_000, sinceMs: 12_000 },
    });
  });

  it('gives its devices back as they were when it has run all the time', () => {
    const stale = { ...online, state: 'stale', reason: 'silent', dueAtMs: 99_000 } as const;
    for (const before of [online, stale]) {
      const unknown = interrupt(before, lost, 12_000, null)?.record;
      if (unknown === undefined) throw new Error('it is concerned');
      const { state, dueAtMs } = before;
      expect(restore(unknown, 'mosquitto-0', 20_000)).toMatchObject({
        ...{ kind: 'changed', from: 'unknown' },
        record: { state, dueAtMs, reason: 'broker-back', session: 7, interrupted: null },
      });
      expect(restore(unknown, 'mosquitto-1', 20_000)).toBeUndefined();
    }
  });
});

describe('a broker that was started anew', () => {
  it('gives each device time: thirty seconds, and one and a half of its keep-alive', () => {
    expect(returnDueAtMs(0, 10)).toBe(45_000);
    expect(returnDueAtMs(0, undefined)).toBe(120_000);
  });

  it('P6 has lost those that do not come back in that time, and says by what', () => {
    const silent = interrupt(online, restarted, 12_000, 57_000)?.record;
    const willed = interrupt(recordAfter(will(7), { receivedAtMs: 9_000 }), restarted, 12_000, 57_000)?.record;
    if (silent === undefined || willed === undefined) throw new Error('both are concerned');
    expect(overdue(silent, 56_999, 0)).toBeUndefined();
    expect(overdue(silent, 57_000, undefined)).toBeUndefined();
    expect(overdue(silent, 57_000, 0)?.record).toMatchObject({ state: 'lost', reason: 'not-back', interrupted: null });
    expect(overdue(willed, 57_000, 0)?.record).toMatchObject({ state: 'lost', reason: 'will' });
  });
});
