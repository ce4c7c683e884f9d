import type { StatusMessage } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide, overdue, type PresenceRecord, type StatusInput } from './presence-machine.ts';

function input(message: StatusMessage, circumstances: Partial<StatusInput> = {}): StatusInput {
  return {
    message,
    receivedAtMs: 1_000,
    retained: false,
    broker: 'mosquitto-0',
    topic: 'devices/a/status',
    payload: 'x',
    expirySeconds: undefined,
    ...circumstances,
  };
}

const birth = (session?: number): StatusMessage => ({ kind: 'birth', session });
const will = (session?: number): StatusMessage => ({ kind: 'will', session });
const goodbye = (session?: number): StatusMessage => ({
  kind: 'graceful',
  session,
  reason: 'shutdown',
  wakeInSeconds: undefined,
});
const sleep = (session?: number, wakeInSeconds?: number): StatusMessage => ({
  kind: 'graceful',
  session,
  reason: 'sleep',
  wakeInSeconds,
});

/** The record after some live messages. */
function after(...messages: readonly StatusMessage[]): PresenceRecord | undefined {
  return messages.reduce<PresenceRecord | undefined>((record, message) => {
    const decision = decide(record, input(message));
    return decision.kind === 'changed' ? decision.record : record;
  }, undefined);
}

describe('presence', () => {
  it.each<[string, readonly StatusMessage[], string, string]>([
    ['a birth', [birth()], 'online', 'birth'],
    ['a will', [birth(), will()], 'lost', 'will'],
    ['a will alone', [will()], 'lost', 'will'],
    ['a goodbye', [birth(7), goodbye(7)], 'offline', 'shutdown'],
    ['a goodbye to sleep', [birth(7), sleep(7, 300)], 'asleep', 'sleep'],
    ['a will after a goodbye', [birth(7), goodbye(7), will(7)], 'offline', 'shutdown'],
    ['a plain offline after a goodbye', [birth(), goodbye(), will()], 'offline', 'shutdown'],
    ['a birth after a will', [birth(7), will(7), birth(8)], 'online', 'birth'],
    ['P3 the will of an older session', [birth(7), birth(8), will(7)], 'online', 'birth'],
    ['P4 the will of an even older session', [birth(6), birth(7), birth(8), will(6)], 'online', 'birth'],
    ['a goodbye of an older session', [birth(7), birth(8), goodbye(7)], 'online', 'birth'],
    ['the will of a session whose birth was missed', [birth(7), will(9)], 'lost', 'will'],
    ['the will of a new session after a goodbye', [birth(7), goodbye(7), will(8)], 'lost', 'will'],
    ['a birth with a lower number: the counter was reset', [birth(50), birth(1)], 'online', 'birth'],
    ['the will of the session after a reset', [birth(50), birth(1), will(1)], 'lost', 'will'],
    ['the will of the session before a reset', [birth(50), birth(1), will(50)], 'online', 'birth'],
  ])('after %s', (_, messages, state, reason) => {
    expect(after(...messages)).toMatchObject({ state, reason });
  });

  it('P3 believes a device without session numbers at the broker of its last birth', () => {
    const said: readonly [StatusMessage, string, string][] = [
      [birth(), 'a', 'online at a'],
      [birth(), 'b', 'online at b'],
      [will(), 'a', 'online at b'],
      [goodbye(), 'a', 'online at b'],
      [will(), 'b', 'lost at b'],
      [will(), 'a', 'lost at b'],
      [birth(), 'a', 'online at a'],
    ];
    let record: PresenceRecord | undefined;
    for (const [message, broker, expected] of said) {
      const decision = decide(record, input(message, { broker }));
      if (decision.kind === 'changed' || decision.kind === 'renewed') record = decision.record;
      expect(`${record?.state} at ${record?.evidence.broker}`).toBe(expected);
    }
  });

  it('names the reset of a counter as the rule', () => {
    expect(after(birth(50), birth(1))?.evidence.rule).toMatch(/counter was reset/);
  });

  it('knows when a sleeping device will be back', () => {
    expect(after(birth(7), sleep(7, 300))?.wakeExpectedAtMs).toBe(301_000);
  });

  it.each<[string, readonly StatusMessage[], StatusMessage, string]>([
    ['a retained birth of an older session', [birth(7), birth(8), will(8)], birth(7), 'ignored'],
    ['a retained birth of the current session', [birth(7)], birth(7), 'confirmed'],
    ['a retained birth that is news', [], birth(7), 'changed'],
    ['a retained will of the current session', [birth(7)], will(7), 'changed'],
    ['a retained will of an older session', [birth(7), birth(8)], will(7), 'ignored'],
  ])('replayed: %s', (_, messages, message, kind) => {
    expect(decide(after(...messages), input(message, { retained: true })).kind).toBe(kind);
  });

  it('keeps the message as evidence, short and printable', () => {
    const decision = decide(undefined, input(will(), { payload: `offline\0${'x'.repeat(500)}` }));
    if (decision.kind !== 'changed') throw new Error('a first will changes something');
    expect(decision.record.evidence.payload).toHaveLength(200);
    expect(decision.record.evidence.payload).not.toContain('\0');
    expect(decision.record.evidence).toMatchObject({
      broker: 'mosquitto-0',
      topic: 'devices/a/status',
      retained: false,
    });
  });

  it('never cuts a character of the evidence in two', () => {
    const decision = decide(undefined, input(birth(), { payload: `${'x'.repeat(199)}\u{1f525}` }));
    if (decision.kind !== 'changed') throw new Error('a first birth changes something');
    expect(decision.record.evidence.payload.isWellFormed()).toBe(true);
  });

  const session = fc.option(fc.nat({ max: 12 }), { nil: undefined });
  const message = fc.oneof(
    session.map(birth),
    session.map(will),
    session.map(goodbye),
    session.map((value) => sleep(value, 60)),
  );

  it('is online after a live birth, whatever came before', () => {
    fc.assert(
      fc.property(fc.array(message), session, (messages, last) => {
        expect(after(...messages, birth(last))?.state).toBe('online');
      }),
    );
  });

  it('never changes twice by the same message, and forgets all but eight sessions', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1 }), message, (messages, last) => {
        const record = after(...messages, last);
        expect(decide(record, input(last)).kind).not.toBe('changed');
        expect(record?.superseded.length ?? 0).toBeLessThanOrEqual(8);
        expect(record?.superseded ?? []).not.toContain(record?.session);
      }),
    );
  });
});

/** The record after one live message of nobody known before. */
function first(message: StatusMessage, circumstances: Partial<StatusInput> = {}): PresenceRecord {
  const decision = decide(undefined, input(message, circumstances));
  if (decision.kind !== 'changed') throw new Error('a first message changes something');
  return decision.record;
}

describe('silence', () => {
  const asleep = first(sleep(7, 300));
  const expiring = first(birth(7), { expirySeconds: 300 });

  it.each<[string, PresenceRecord, number, string | undefined]>([
    ['P13 a sleeper that is not back after its time', asleep, 301_000, undefined],
    ['a sleeper at 1.5 times its time', asleep, 451_000, 'overslept'],
    ['P10 a birth before it expires', expiring, 300_999, undefined],
    ['P10 a birth that has expired', expiring, 301_000, 'expired'],
    ['a birth without an expiry', first(birth(7)), 1e12, undefined],
    ['a sleeper that said no time', first(sleep(7)), 1e12, undefined],
    ['a goodbye', first(goodbye(7)), 1e12, undefined],
  ])('%s', (_, record, nowMs, reason) => {
    const decision = overdue(record, nowMs, 0);
    expect(decision?.record.reason).toBe(reason);
    if (decision !== undefined) expect(decision.record).toMatchObject({ state: 'lost', sinceMs: nowMs, dueAtMs: null });
  });

  it('means nothing while a broker is not heard, nor in the 30 s after', () => {
    expect(overdue(asleep, 1e9, undefined)).toBeUndefined();
    expect(overdue(asleep, 1e9, 1e9 - 29_999)).toBeUndefined();
    expect(overdue(asleep, 1e9, 1e9 - 30_000)?.record.reason).toBe('overslept');
  });

  it('is counted from the last time that a device said the same', () => {
    const again = decide(asleep, input(sleep(7, 300), { receivedAtMs: 200_000 }));
    expect(again).toMatchObject({ kind: 'renewed', record: { sinceMs: 1_000, dueAtMs: 650_000 } });
    const renewed = decide(expiring, input(birth(7), { receivedAtMs: 200_000, expirySeconds: 300 }));
    expect(renewed).toMatchObject({ kind: 'renewed', record: { sinceMs: 1_000, dueAtMs: 500_000 } });
    expect(decide(asleep, input(sleep(7, 300), { receivedAtMs: 200_000, retained: true })).kind).toBe('confirmed');
  });

  it('is not undone by what a broker still holds, but by the device', () => {
    const overslept = overdue(asleep, 451_000, 0)?.record;
    const expired = overdue(expiring, 301_000, 0)?.record;
    const replayed = { receivedAtMs: 500_000, retained: true };
    expect(decide(overslept, input(sleep(7, 300), replayed)).kind).toBe('ignored');
    expect(decide(overslept, input(sleep(8, 300), replayed)).kind).toBe('changed');
    expect(decide(overslept, input(birth(8))).kind).toBe('changed');
    expect(decide(expired, input(birth(7), replayed)).kind).toBe('ignored');
    // An expired message is not replayed: this one was published since.
    expect(decide(expired, input(birth(7), { ...replayed, expirySeconds: 20 })).kind).toBe('changed');
  });
});
