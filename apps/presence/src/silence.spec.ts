import { describe, expect, it } from 'vitest';
import { decide } from './presence-machine.ts';
import type { PresenceRecord } from './presence-record.ts';
import { birth, goodbye, recordAfter as first, sleep, statusInput as input } from './presence-scene.ts';
import { heard, isWorthKeeping, learn, learnedIntervalMs, overdue, silent, type Rhythm } from './silence.ts';

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

/** The rhythm after messages at these times. */
function rhythmOf(...timesMs: readonly number[]): Rhythm {
  const rhythm = timesMs.reduce<Rhythm | undefined>(
    (known, heardAtMs, index) => learn(known, { heardAtMs, messages: index + 1, broker: 'mosquitto-0' }, 0),
    undefined,
  );
  if (rhythm === undefined) throw new Error('no message, no rhythm');
  return rhythm;
}

const every = (intervalMs: number, count: number, startMs = 0): readonly number[] =>
  Array.from({ length: count }, (_, index) => startMs + index * intervalMs);

describe('the rhythm of a device', () => {
  it('is learned from eight times between messages, and is near the mean of a regular one', () => {
    expect(learnedIntervalMs(rhythmOf(...every(10_000, 8)))).toBeNull();
    expect(learnedIntervalMs(rhythmOf(...every(10_000, 30)))).toBeGreaterThanOrEqual(10_000);
    expect(learnedIntervalMs(rhythmOf(...every(10_000, 30)))).toBeLessThan(10_100);
  });

  it('is the same where several messages were counted at once', () => {
    let rhythm = learn(undefined, { heardAtMs: 0, messages: 0, broker: 'b' }, 0);
    for (let second = 1; second <= 30; second += 1)
      rhythm = learn(rhythm, { heardAtMs: second * 1_000, messages: second * 20, broker: 'b' }, 0);
    expect(learnedIntervalMs(rhythm)).toBeLessThan(60);
  });

  it('of somebody who speaks when it pleases is as long as its longer pauses', () => {
    const rhythm = rhythmOf(0, 1_000, 2_000, 60_000, 61_000, 62_000, 150_000, 151_000, 230_000, 231_000, 300_000);
    expect(learnedIntervalMs(rhythm)).toBeGreaterThan(60_000);
  });

  it('does not take an absence for a pause', () => {
    const before = rhythmOf(...every(10_000, 20));
    const back = learn(before, { heardAtMs: 10_000_000, messages: 21, broker: 'b' }, 9_999_000);
    expect(learnedIntervalMs(back)).toBe(learnedIntervalMs(before));
  });

  it('is written anew when it has changed by a quarter', () => {
    const kept: readonly [number | null, number | null, boolean][] = [
      [null, null, false],
      [null, 1_000, true],
      [1_000, null, false],
      [1_000, 1_200, false],
      [1_000, 1_300, true],
    ];
    for (const [before, learned, isKept] of kept) expect(isWorthKeeping(before, learned)).toBe(isKept);
  });
});

describe('who is connected and silent', () => {
  const online = first(birth(7));
  const rhythm = rhythmOf(...every(10_000, 20));
  const lastMs = rhythm.heardAtMs;
  const attention = (untilMs: number, fromMs = 0): { readonly fromMs: number; readonly untilMs: number } => ({
    fromMs,
    untilMs,
  });

  it.each<[string, PresenceRecord, ReturnType<typeof attention> | undefined, number | undefined, boolean]>([
    ['P14 is stale when two messages are missed', online, attention(lastMs + 25_000), 10_000, true],
    ['is not stale a moment before', online, attention(lastMs + 24_999), 10_000, false],
    ['is not stale while ingestion is away', online, undefined, 10_000, false],
    [
      'is not stale where ingestion came back since',
      online,
      attention(lastMs + 60_000, lastMs + 40_000),
      10_000,
      false,
    ],
    ['is stale later then', online, attention(lastMs + 65_000, lastMs + 40_000), 10_000, true],
    ['is not stale where no interval is known', online, attention(lastMs + 1e9), undefined, false],
    [
      'is stale by what was learned',
      { ...online, learnedIntervalMs: 10_000 },
      attention(lastMs + 25_000),
      undefined,
      true,
    ],
    ['has five seconds at least', online, attention(lastMs + 4_000), 100, false],
    ['is not stale when it said that it sleeps', first(sleep(7, 300)), attention(lastMs + 1e6), 10_000, false],
  ])('%s', (_, record, listens, declaredMs, isStale) => {
    const change = silent(record, rhythm, listens, declaredMs, 500_000);
    expect(change?.record.reason).toBe(isStale ? 'silent' : undefined);
  });

  it('has the figures as evidence, and is online again with the next message', () => {
    const stale = silent(online, rhythm, attention(lastMs + 30_000), 10_000, 500_000)?.record;
    if (stale === undefined) throw new Error('30 s are three intervals');
    expect(stale.evidence.rule).toBe('connected, and no telemetry for 30 s; expected every 10 s, as it says itself');
    expect(heard(stale, 400_000, 'mosquitto-0', 510_000)).toBeUndefined();
    expect(heard(stale, 505_000, 'mosquitto-0', 510_000)?.record).toMatchObject({
      state: 'online',
      reason: 'telemetry',
    });
  });
});

describe('telemetry', () => {
  it.each<[string, PresenceRecord, number, boolean]>([
    ['of a lost device, 3 s later', first({ kind: 'will', session: undefined }), 4_001, true],
    ['of a lost device, under way as it was lost', first({ kind: 'will', session: undefined }), 4_000, false],
    ['of a device that said goodbye', first(goodbye(7)), 10_000, true],
    ['of a sleeper', first(sleep(7, 300)), 10_000, true],
    ['of a device that is online', first(birth(7)), 10_000, false],
  ])('%s', (_, record, heardAtMs, isOnline) => {
    expect(heard(record, heardAtMs, 'mosquitto-1', 20_000)?.record.state).toBe(isOnline ? 'online' : undefined);
  });

  it('is evidence of its own: no message on a status topic, and the broker that it came over', () => {
    expect(heard(first(goodbye(7)), 10_000, 'mosquitto-1', 20_000)?.record.evidence).toEqual({
      ...{ broker: 'mosquitto-1', topic: '', payload: '', retained: false },
      rule: 'it sent telemetry after it was offline (shutdown): it is connected',
    });
  });
});
