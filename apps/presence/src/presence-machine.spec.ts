import type { StatusMessage } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide, type PresenceRecord, type StatusInput } from './presence-machine.ts';

function input(message: StatusMessage, circumstances: Partial<StatusInput> = {}): StatusInput {
  return {
    message,
    receivedAtMs: 1_000,
    retained: false,
    broker: 'mosquitto-0',
    topic: 'devices/a/status',
    payload: 'x',
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
