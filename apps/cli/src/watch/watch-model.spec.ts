import { describe, expect, it } from 'vitest';
import type { FiringAlert } from './firing-alerts.ts';
import {
  advance,
  compareIds,
  emptyState,
  MAX_DEVICES,
  presenceAfter,
  ratesOf,
  type ReceivedEvent,
  type WatchChange,
  type WatchedPresence,
  type WatchedReading,
  type WatchState,
} from './watch-model.ts';

const AT = Date.parse('2026-11-22T14:32:15.000Z');

function reading(metric: string, value: number, other: Partial<WatchedReading> = {}): WatchedReading {
  return { metric, value, unit: null, atMs: AT, receivedAtMs: AT, qos: 1, replay: null, late: false, ...other };
}

function readings(device: string, ...values: readonly WatchedReading[]): ReceivedEvent {
  return { kind: 'readings', device, readings: values, receivedAtMs: values[0]?.receivedAtMs ?? AT };
}

function presence(state: WatchedPresence['state'], other: Partial<WatchedPresence> = {}): WatchedPresence {
  const reasons = { online: 'birth', lost: 'will', offline: 'shutdown', asleep: 'sleep' } as const;
  const reason = state in reasons ? reasons[state as keyof typeof reasons] : 'never-heard';
  return { state, reason, explanation: state, sinceMs: AT, session: null, replay: null, ...other };
}

function says(device: string, said: WatchedPresence): ReceivedEvent {
  return { kind: 'presence', device, presence: said, receivedAtMs: AT };
}

function alert(id: string): FiringAlert {
  return {
    ...{ id, rule: 'hot', severity: 'critical', subject: 'lab1', summary: 'too hot', state: 'firing' },
    ...{ startedAt: '2026-11-22T14:00:00.000Z', acknowledgedAt: null },
  };
}

function after(...events: readonly ReceivedEvent[]): WatchState {
  return advance(emptyState, events).state;
}

function changes(before: WatchState, ...events: readonly ReceivedEvent[]): readonly WatchChange['kind'][] {
  return advance(before, events).changes.map(({ kind }) => kind);
}

describe('readings', () => {
  it('are the newest of each metric, counted with their messages', () => {
    const state = after(
      readings('lab1', reading('temp', 22.5), reading('hum', 45)),
      readings('lab1', reading('temp', 22.6, { receivedAtMs: AT + 5_000 })),
    );
    const lab1 = state.devices.get('lab1')?.readings;
    expect([...(lab1?.values() ?? [])].map(({ metric, value }) => [metric, value])).toEqual([
      ['temp', 22.6],
      ['hum', 45],
    ]);
    expect(state.totals).toEqual({ messages: 2, readings: 3, unreadable: 0, notKept: 0 });
    expect(state.lastUpdateMs).toBe(AT + 5_000);
  });

  it.each([
    ['a late one never replaces a newer one', { late: true, atMs: AT - 1 }, 22.5],
    ['a late one replaces an older one', { late: true, atMs: AT + 1 }, 99],
    ['what the API had stored never replaces what came meanwhile', { replay: 'stored', atMs: AT }, 22.5],
    ['what the API has newer counts', { replay: 'stored', atMs: AT + 1 }, 99],
    ['a live one replaces one whose clock was ahead', { atMs: AT - 60_000 }, 99],
  ] as const)('%s', (_, other, shown) => {
    const before = after(readings('lab1', reading('temp', 22.5)));
    const { state } = advance(before, [readings('lab1', reading('temp', 99, other))]);
    expect(state.devices.get('lab1')?.readings.get('temp')?.value).toBe(shown);
  });

  it('that were stored are no messages, and no change where they are known', () => {
    const stored = readings('lab1', reading('temp', 22.5, { replay: 'stored' }));
    const before = after(stored);
    expect([before.totals.messages, before.lastUpdateMs]).toEqual([0, null]);
    expect(changes(before, stored)).toEqual([]);
    expect(changes(emptyState, stored)).toEqual(['reading']);
  });

  it('are kept of so many metrics and devices; what is beyond is counted', () => {
    const many = Array.from({ length: 70 }, (_, index) => reading(`m${index}`, index));
    expect(after(readings('lab1', ...many)).totals.notKept).toBe(6);
    const fleet = Array.from({ length: MAX_DEVICES + 5 }, (_, index) => readings(`d${index}`, reading('temp', 1)));
    const state = after(...fleet);
    expect([state.devices.size, state.totals.notKept, state.totals.messages]).toEqual([
      MAX_DEVICES,
      5,
      MAX_DEVICES + 5,
    ]);
  });

  it('a second are counted over whole seconds', () => {
    const every100Ms = Array.from({ length: 50 }, (_, index) =>
      readings('lab1', reading('temp', 1, { receivedAtMs: AT + index * 100 }), reading('hum', 1)),
    );
    const state = after(...every100Ms);
    expect(ratesOf(state, AT, AT + 5_400)).toEqual({ messages: 10, readings: 20 });
    expect(ratesOf(state, AT, AT + 10_000)).toEqual({ messages: 5, readings: 10 });
    expect(ratesOf(state, AT, AT + 60_000)).toEqual({ messages: 0, readings: 0 });
    expect(ratesOf(state, AT, AT + 400)).toEqual({ messages: 0, readings: 0 });
  });
});

describe('devices', () => {
  it('are listed in one order, with numbers by value', () => {
    const state = after(
      ...['virtual-10', 'lab1', 'virtual-2', 'LAB1', 'lab01'].map((id) => readings(id, reading('temp', 1))),
    );
    expect(state.order).toEqual(['lab01', 'lab1', 'LAB1', 'virtual-2', 'virtual-10']);
    expect(compareIds('lab1', 'lab1')).toBe(0);
    expect(advance(state, [readings('lab1', reading('temp', 2))]).state.order).toBe(state.order);
  });

  it('have the name that the API knows, and go when they are removed', () => {
    const state = after({ kind: 'named', device: 'lab1', name: 'Kitchen', receivedAtMs: AT });
    expect(state.devices.get('lab1')?.name).toBe('Kitchen');
    const removed = advance(state, [{ kind: 'removed', device: 'lab1', receivedAtMs: AT }]);
    expect([removed.state.order, removed.changes.map(({ kind }) => kind)]).toEqual([[], ['removed']]);
    expect(changes(removed.state, { kind: 'removed', device: 'lab1', receivedAtMs: AT })).toEqual([]);
  });
});

describe('presence after a status message', () => {
  it.each([
    ['a first word counts', null, presence('lost'), 'lost'],
    ['a birth after a will', presence('lost'), presence('online'), 'online'],
    ['a will after a birth', presence('online', { session: 7 }), presence('lost', { session: 7 }), 'lost'],
    ['the will of an older session', presence('online', { session: 7 }), presence('lost', { session: 6 }), 'online'],
    ['the will of a newer session', presence('online', { session: 7 }), presence('lost', { session: 8 }), 'lost'],
    [
      'a live birth of a counter that was reset',
      presence('lost', { session: 7 }),
      presence('online', { session: 1 }),
      'online',
    ],
    [
      'a replayed birth of an older session',
      presence('lost', { session: 7 }),
      presence('online', { session: 1, replay: 'retained' }),
      'lost',
    ],
    ['a will after a goodbye', presence('offline', { session: 7 }), presence('lost', { session: 7 }), 'offline'],
    ['a will after going to sleep', presence('asleep'), presence('lost'), 'asleep'],
    [
      'the will of a later session after a goodbye',
      presence('asleep', { session: 7 }),
      presence('lost', { session: 8 }),
      'lost',
    ],
  ] as const)('%s', (_, before, said, state) => {
    expect(presenceAfter(before, said).state).toBe(state);
  });

  it('is a change only where it says something new, and keeps the session that it knows', () => {
    const before = after(says('lab1', presence('online', { session: 7 })));
    expect(changes(before, says('lab1', presence('online', { session: 7 })))).toEqual([]);
    expect(changes(before, says('lab1', presence('online', { session: 8 })))).toEqual(['presence']);
    const { state } = advance(before, [says('lab1', presence('lost'))]);
    expect(state.devices.get('lab1')?.presence).toMatchObject({ state: 'lost', session: 7 });
  });

  it('is gone when the retained message is taken away', () => {
    const before = after(says('lab1', presence('online')));
    const { state } = advance(before, [{ kind: 'cleared', device: 'lab1', what: 'presence', receivedAtMs: AT }]);
    expect([state.devices.get('lab1')?.presence, state.totals.messages]).toEqual([null, 2]);
  });

  it('is what the API says it is, whatever was known', () => {
    const before = after(says('lab1', presence('offline', { session: 7 })));
    const { state } = advance(before, [says('lab1', presence('lost', { session: 6, replay: 'stored' }))]);
    expect(state.devices.get('lab1')?.presence?.state).toBe('lost');
    expect(state.totals.messages).toBe(1);
  });
});

describe('alerts', () => {
  const firing = (...ids: readonly string[]): ReceivedEvent => ({
    ...{ kind: 'alerts', firing: ids.map(alert), receivedAtMs: AT },
  });

  it('change when they begin and when they end, and not because they are unknown for a while', () => {
    const before = after(firing('a', 'b'));
    expect(advance(before, [firing('b', 'c')]).changes).toEqual([
      expect.objectContaining({ kind: 'alert', alert: alert('c'), isFiring: true }),
      expect.objectContaining({ kind: 'alert', alert: alert('a'), isFiring: false }),
    ]);
    const away = advance(before, [{ kind: 'no-alerts', fault: 'alerting is away', receivedAtMs: AT }]).state;
    expect(away.alerts.fault).toBe('alerting is away');
    expect(changes(away, firing('a', 'b'))).toEqual([]);
  });
});

describe('the feed', () => {
  it('changes when it says something new', () => {
    const away: ReceivedEvent = { kind: 'feed', feed: { state: 'away', text: 'refused' }, receivedAtMs: AT };
    const { state, changes: first } = advance(emptyState, [away]);
    expect(first).toHaveLength(1);
    expect(changes(state, away)).toEqual([]);
  });
});
