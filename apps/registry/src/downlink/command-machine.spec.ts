import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  afterAck,
  afterPublish,
  brokersOf,
  isOpen,
  nextStep,
  type CommandRecord,
  type CommandState,
  type Whereabouts,
} from './command-machine.ts';

const NOW = 1_000_000;
const BROKERS = ['a', 'b'];
const queued = (nextAtMs: number): CommandState => ({ kind: 'queued', waitsFor: 'x', nextAtMs });
const sent: CommandState = { kind: 'sent', nextAtMs: NOW + 10_500 };
const sentLongAgo: CommandState = { kind: 'sent', nextAtMs: NOW };
const ENDS: readonly CommandState[] = [
  { kind: 'acknowledged', atMs: 1 },
  { kind: 'failed', atMs: 1, error: 'x' },
  { kind: 'expired', atMs: 1 },
  { kind: 'cancelled', atMs: 1, reason: 'x' },
];

function record(state: CommandState, more: Partial<CommandRecord> = {}): CommandRecord {
  return { state, expiresAtMs: NOW + 10_500, connection: null, attempts: 0, isAnsweredLate: false, ...more };
}

function device(more: Partial<Whereabouts> = {}): Whereabouts {
  return { life: 'registered', presence: 'online', connection: 'a/7', brokers: ['a', null, null], ...more };
}

describe('the brokers of a device', () => {
  it.each([
    ['the one where presence heard of it', ['b', 'a', 'a'], ['b']],
    ['else the one where it reports', [null, 'b', 'a'], ['b']],
    ['else the one that it was assigned', [null, null, 'b'], ['b']],
    ['each, where nothing is known', [null, null, null], ['a', 'b']],
    ['not one that is there no more', ['gone', null, 'b'], ['b']],
  ])('are %s', (_, brokers, expected) => expect(brokersOf(device({ brokers }), BROKERS)).toEqual(expected));
});

describe('a command', () => {
  it.each([
    ['is published when it is due, with what is left of its time', record(queued(NOW)), {}, 11],
    ['is published to a device of which nobody knows anything', record(queued(NOW)), { presence: undefined }, 11],
    [
      'is published to a device that is away: a broker may keep its session',
      record(queued(NOW)),
      { presence: 'lost' },
      11,
    ],
    ['waits out its pause', record(queued(NOW + 1)), { presence: 'lost' }, undefined],
    ['does not wait where the device has a new connection', record(queued(NOW + 1)), {}, 11],
    ['waits out its pause on the same connection', record(queued(NOW + 1), { connection: 'a/7' }), {}, undefined],
    ['gives the device time to answer on one connection', record(sent, { connection: 'a/7' }), {}, undefined],
    ['is published again where it is not answered', record(sentLongAgo, { connection: 'a/7' }), {}, 11],
    [
      'is not published again, unanswered, to a device that is away',
      record(sentLongAgo, { connection: 'a/7' }),
      { presence: 'lost' },
      undefined,
    ],
    ['is published again to the next connection', record(sent, { connection: 'a/6' }), {}, 11],
    ['is published again to a device that was away and is back', record(sent), {}, 11],
    [
      'is not published again to a device that is away',
      record(sent, { connection: 'a/6' }),
      { presence: 'lost' },
      undefined,
    ],
    ['is not published again to a device that sleeps', record(sent), { presence: 'asleep' }, undefined],
    ['is published with at least a second', record(queued(NOW), { expiresAtMs: NOW + 1 }), {}, 1],
  ] as const)('%s', (_, command, where, expirySeconds) => {
    expect(nextStep(command, device(where), BROKERS, NOW)).toEqual(
      expirySeconds === undefined ? { kind: 'rest' } : { kind: 'publish', brokers: ['a'], expirySeconds },
    );
  });

  it.each([queued(NOW), queued(NOW + 1), sent])('expires at its time, as %j', (state) => {
    expect(nextStep(record(state, { expiresAtMs: NOW }), device(), BROKERS, NOW)).toEqual({
      kind: 'become',
      state: { kind: 'expired', atMs: NOW },
    });
  });

  it.each(['decommissioning', 'decommissioned', 'archived'] as const)('is cancelled where the device is %s', (life) => {
    expect(nextStep(record(sent), device({ life }), BROKERS, NOW)).toMatchObject({
      kind: 'become',
      state: { kind: 'cancelled', reason: `the device is ${life}` },
    });
  });

  it.each(ENDS)('rests for ever as %j', (state) => {
    expect(isOpen(state)).toBe(false);
    expect(nextStep(record(state, { expiresAtMs: 0 }), device(), BROKERS, NOW)).toEqual({ kind: 'rest' });
  });
});

describe('a command that was published', () => {
  it('is sent where one broker took it', () => {
    const results = [
      { broker: 'a', outcome: 'away' },
      { broker: 'b', outcome: 'taken' },
    ] as const;
    expect(afterPublish(record(queued(NOW)), device(), results, NOW)).toEqual({
      ...{ state: { kind: 'sent', nextAtMs: NOW + 10_000 }, connection: 'a/7', attempts: 1 },
    });
  });

  it.each([
    ['a second time to one connection, is not published to it again', sentLongAgo, 'a/7', NOW + 10_500],
    ['to a new connection, is published to it once more', sentLongAgo, 'a/6', NOW + 10_000],
    ['and was taken by nobody before, is published once more', queued(NOW), 'a/7', NOW + 10_000],
  ])('%s', (_, state, connection, nextAtMs) => {
    const after = afterPublish(record(state, { connection }), device(), [{ broker: 'a', outcome: 'taken' }], NOW);
    expect(after.state).toEqual({ kind: 'sent', nextAtMs });
  });

  it('a second time, and nobody subscribes any more, waits again', () => {
    const before = record(sentLongAgo, { connection: 'a/7', attempts: 1 });
    const after = afterPublish(before, device(), [{ broker: 'a', outcome: 'unsubscribed' }], NOW);
    expect(after.state.kind).toBe('queued');
  });

  it.each([
    ['unsubscribed', /at a nobody subscribes/],
    ['away', /a does not answer/],
    ['refused', /a does not allow it/],
  ] as const)('waits where the broker is or says %s, and says for what', (outcome, text) => {
    const after = afterPublish(record(queued(NOW)), device(), [{ broker: 'a', outcome }], NOW);
    expect(after).toMatchObject({ state: { kind: 'queued', nextAtMs: NOW + 250 }, attempts: 1 });
    expect(after.state).toHaveProperty('waitsFor', expect.stringMatching(text));
  });

  it.each([
    [0, 250],
    [1, 500],
    [6, 16_000],
    [7, 30_000],
    [5_000, 30_000],
  ])('after %i times on one connection pauses %i ms', (attempts, pauseMs) => {
    const before = record(queued(NOW), { connection: 'a/7', attempts });
    const { state } = afterPublish(before, device(), [{ broker: 'a', outcome: 'unsubscribed' }], NOW);
    expect(state).toMatchObject({ nextAtMs: NOW + pauseMs });
  });

  it('begins with a short pause again on a new connection', () => {
    const before = record(queued(NOW), { connection: 'a/6', attempts: 50 });
    expect(afterPublish(before, device(), [{ broker: 'a', outcome: 'unsubscribed' }], NOW)).toMatchObject({
      ...{ state: { nextAtMs: NOW + 250 }, connection: 'a/7', attempts: 1 },
    });
  });

  it('to a device that is away was published to no connection: the next one gets it as well', () => {
    const away = device({ presence: 'lost' });
    const after = afterPublish(record(queued(NOW)), away, [{ broker: 'a', outcome: 'taken' }], NOW);
    expect(after.connection).toBeNull();
    expect(nextStep(record(after.state, after), device(), BROKERS, NOW).kind).toBe('publish');
  });
});

describe('an acknowledgement', () => {
  const good = { id: 'x', error: null };
  const bad = { id: 'x', error: 'no such lamp' };

  it.each([
    ['settles a sent command', record(sent), good, { kind: 'settled', state: { kind: 'acknowledged', atMs: NOW } }],
    ['settles one whose sending is not on record yet', record(queued(NOW)), good, { kind: 'settled' }],
    ['that says why not makes it fail', record(sent), bad, { state: { kind: 'failed', error: 'no such lamp' } }],
    [
      'after the time is late, and the command expired',
      record(sent, { expiresAtMs: NOW }),
      good,
      { kind: 'late', state: { kind: 'expired', atMs: NOW } },
    ],
    ['of an expired command is late', record({ kind: 'expired', atMs: 1 }), good, { kind: 'late' }],
    ['of a cancelled command is late', record({ kind: 'cancelled', atMs: 1, reason: 'x' }), bad, { kind: 'late' }],
    [
      'that is late twice counts once',
      record({ kind: 'expired', atMs: 1 }, { isAnsweredLate: true }),
      good,
      { kind: 'duplicate' },
    ],
    ['twice counts once', record({ kind: 'acknowledged', atMs: 1 }), good, { kind: 'duplicate' }],
    ['twice does not turn a success', record({ kind: 'acknowledged', atMs: 1 }), bad, { kind: 'duplicate' }],
    ['twice does not turn a failure', record({ kind: 'failed', atMs: 1, error: 'x' }), good, { kind: 'duplicate' }],
  ] as const)('%s', (_, command, ack, expected) => expect(afterAck(command, ack, NOW)).toMatchObject(expected));

  it('never opens again what has ended, whatever happens in whatever order', () => {
    const happening = fc.oneof(
      fc.record({ kind: fc.constant('ack' as const), error: fc.constantFrom(null, 'x') }),
      fc.record({ kind: fc.constant('tick' as const), presence: fc.constantFrom('online', 'lost', undefined) }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(4_000), happening), { maxLength: 30 }), (events) => {
        let command = record(queued(NOW));
        let nowMs = NOW;
        for (const [passedMs, event] of events) {
          nowMs += passedMs;
          const before = command;
          if (event.kind === 'ack') {
            const outcome = afterAck(command, { id: 'x', error: event.error }, nowMs);
            if (outcome.kind !== 'duplicate')
              command = { ...command, state: outcome.state, isAnsweredLate: outcome.kind === 'late' };
          } else {
            const where = device({ presence: event.presence as Whereabouts['presence'], connection: `a/${nowMs}` });
            const step = nextStep(command, where, BROKERS, nowMs);
            if (step.kind === 'become') command = { ...command, state: step.state };
            if (step.kind === 'publish') {
              expect(command.expiresAtMs).toBeGreaterThan(nowMs);
              command = { ...command, ...afterPublish(command, where, [{ broker: 'a', outcome: 'taken' }], nowMs) };
            }
          }
          if (!isOpen(before.state)) expect(command.state).toEqual(before.state);
        }
      }),
    );
  });
});
