import type { StatusMessage } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide, type StatusInput } from './presence-machine.ts';
import { birth, goodbye, recordAfter as first, sleep, statusInput as input, will } from './presence-scene.ts';
import type { PresenceRecord } from './presence-record.ts';
import { interrupt } from './broker-outage.ts';
import { overdue } from './silence.ts';

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
    ['a retained birth of a device without sessions that is lost', [birth(), will()], birth(), 'changed'],
    ['a retained will of the current session', [birth(7)], will(7), 'changed'],
    ['a retained will of an older session', [birth(7), birth(8)], will(7), 'ignored'],
  ])('replayed: %s', (_, messages, message, kind) => {
    expect(decide(after(...messages), input(message, { retained: true })).kind).toBe(kind);
  });

  it.each<[string, readonly StatusMessage[], StatusMessage, string]>([
    ['P8 a birth, where the will was not retained', [birth(), will()], birth(), 'ignored'],
    ['P8 the same of a numbered session', [birth(7), will(7)], birth(7), 'ignored'],
    ['a birth of a session that nobody has heard', [birth(7), will(7)], birth(8), 'changed'],
    ['a birth of a device that is online', [birth()], birth(), 'confirmed'],
    ['an offline of before the birth, where that was not retained', [will(), birth()], will(), 'ignored'],
    ['a birth of a device that nobody knows', [], birth(), 'changed'],
  ])('replayed in a session that has missed nothing: %s', (_, messages, message, kind) => {
    expect(decide(after(...messages), input(message, { retained: true, isResumed: true })).kind).toBe(kind);
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

describe('presence beside its broker', () => {
  const outage = { broker: 'mosquitto-0', kind: 'restarted', fromMs: 5_000 } as const;
  const interrupted = interrupt(first(birth(7)), outage, 5_000, 95_000)?.record;

  it('is confirmed by a replayed birth of the same session, however the device came to be there', () => {
    const stale = { ...first(birth(7)), state: 'stale', reason: 'silent' } as const;
    expect(decide(stale, input(birth(7), { retained: true })).kind).toBe('confirmed');
    const talking = { ...first(birth()), reason: 'telemetry' } as const;
    expect(decide(talking, input(birth(), { retained: true })).kind).toBe('ignored');
    expect(decide(talking, input(will(), { retained: true })).kind).toBe('ignored');
    expect(decide(talking, input(will())).kind).toBe('changed');
  });

  it.each<[string, StatusMessage, Partial<StatusInput>, string]>([
    ['P6 a will of the session that the broker ended with', will(7), { retained: true }, 'renewed'],
    ['P6 the same will, which had waited at the broker', will(7), {}, 'renewed'],
    ['P6 a birth that the broker retains from before', birth(7), { retained: true }, 'ignored'],
    ['a birth that it retains and that nobody has heard', birth(8), { retained: true }, 'changed'],
    ['a live birth', birth(8), {}, 'changed'],
    ['a will of a session that has begun since', will(8), {}, 'changed'],
    ['a stated goodbye', goodbye(7), {}, 'changed'],
  ])('of a broker that was started anew: %s', (_, message, circumstances, kind) => {
    expect(decide(interrupted, input(message, circumstances)).kind).toBe(kind);
  });

  it('keeps a will that came as the broker ended, for the case that the device does not come back', () => {
    const decision = decide(interrupted, input(will(7), { payload: 'offline' }));
    if (decision.kind !== 'renewed') throw new Error('it is kept');
    expect(decision.record).toMatchObject({ state: 'unknown', interrupted: { will: { payload: 'offline' } } });
    expect(decide(decision.record, input(will(7))).kind).toBe('confirmed');
    expect(overdue(decision.record, 95_000, 0)?.record).toMatchObject({ state: 'lost', reason: 'will' });
  });

  it('does not take its own words for news, but where it knows nothing else', () => {
    expect(decide(first(will(7)), input(birth(7), { isOwn: true, retained: true })).kind).toBe('ignored');
    expect(decide(first(birth(7)), input(will(7), { isOwn: true })).kind).toBe('changed');
    expect(decide(undefined, input(birth(7), { isOwn: true, retained: true })).kind).toBe('changed');
  });
});
