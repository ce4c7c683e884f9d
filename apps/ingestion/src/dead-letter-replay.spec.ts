import { deviceId } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { countChanges, letterShare, type LetterMessage } from './dead-letter-replay.ts';
import { keptWhereSomeIsStored, withDistinctTimes, type KeptMessage } from './dead-letters.ts';

const valve = deviceId('valve');

describe('a message of which some is stored', () => {
  const receivedAtMs = 1_700_000_000_000;
  const telemetry = { readings: [], seq: undefined, rejected: [] };
  it.each([
    ['with a time of its own', { kind: 'clock', epochMs: receivedAtMs - 5_000 }, undefined, 'message'],
    [
      'with a clock that is not believed',
      { kind: 'clock', epochMs: receivedAtMs + 10 * 86_400_000 },
      undefined,
      'sample',
    ],
    ['with an uptime and a session', { kind: 'uptime', uptimeMs: 5 }, 3, 'message'],
    ['with an uptime alone', { kind: 'uptime', uptimeMs: 5 }, undefined, 'sample'],
    ['without a time', { kind: 'none' }, 3, 'sample'],
  ] as const)('%s: it is kept where it would get the same time again', (_, time, session, kept) => {
    expect(keptWhereSomeIsStored({ ...telemetry, time, session }, receivedAtMs)).toBe(kept);
  });
});

describe('messages of one topic', () => {
  const message = (topic: string, atMs: number): KeptMessage => ({
    ...{ device: valve, reason: 'bad-name', broker: 'mosquitto-0', detail: '', payload: Buffer.from('x'), topic, atMs },
  });
  it('have no instant in common, also with those that were written before', () => {
    const last = new Map([['a', 101]]);
    const written = withDistinctTimes(
      [message('a', 100), message('b', 100), message('a', 100), message('b', 200)],
      last,
    );
    expect(written.map(({ topic, atMs }) => [topic, atMs])).toEqual([
      ['a', 102],
      ['b', 100],
      ['a', 103],
      ['b', 200],
    ]);
    expect([...last]).toEqual([
      ['a', 103],
      ['b', 200],
    ]);
  });
});

describe('the share of a process', () => {
  const brokers = ['m-0', 'm-1', 'm-2', 'm-3'];
  it.each([
    [['m-0', 'm-2'], { kind: 'all-but', brokers: ['m-1', 'm-3'] }],
    [['m-1', 'm-3'], { kind: 'of', brokers: ['m-1', 'm-3'] }],
    [brokers, { kind: 'all-but', brokers: [] }],
  ])('that consumes %j leaves no broker out, not even one that is no more, and takes none twice', (own, share) => {
    expect(letterShare(brokers, own)).toEqual(share);
  });
});

describe('the counts of dead letters', () => {
  const letter = (device: string, reason: string): LetterMessage => ({
    ...{ id: 1n, device, reason, topic: 'a/b', payload: Buffer.from('x'), received_at: new Date(0) },
  });
  it('lose what was stored, and follow what has another reason now', () => {
    const moved = letter('b', 'invalid-json');
    const changes = countChanges(
      [letter('b', 'invalid-json'), letter('a', 'bad-name')],
      [
        { letter: moved, refusal: { device: valve, reason: 'bad-name', detail: 'still' } },
        {
          letter: letter('a', 'bad-name'),
          refusal: { device: deviceId('a'), reason: 'bad-name', detail: 'as it was' },
        },
      ],
    );
    expect(changes).toEqual([
      { device: 'a', reason: 'bad-name', settled: 1, added: 0, sample: undefined },
      { device: 'b', reason: 'invalid-json', settled: 2, added: 0, sample: undefined },
      { device: 'valve', reason: 'bad-name', settled: 0, added: 1, sample: { letter: moved, detail: 'still' } },
    ]);
  });
});
