import { ProblemError } from '@muster/service';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cursorOf, deadLetterView, payloadText, placeOf, replayProgress } from './dead-letter-view.ts';

describe('a payload of a dead letter', () => {
  it.each([
    ['plain text', Buffer.from('22,5 °C\r\n\t'), '22,5 °C\r\n\t'],
    ['nothing', Buffer.alloc(0), ''],
    ['a character that was cut at the end', Buffer.from('ab°').subarray(0, 3), 'ab'],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe, 0x80]), null],
    ['control characters', Buffer.from('a\u0000b'), null],
    ['an escape sequence of a terminal', Buffer.from('\u001b[2J'), null],
  ])('%s is shown as text only where it is some', (_, payload, text) => {
    expect(payloadText(payload)).toBe(text);
  });

  it('is the same text for every text that can be printed, wherever it is cut', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(100), (text, cut) => {
        const shown = payloadText(Buffer.from(text).subarray(0, cut));
        expect(shown === null || text.startsWith(shown)).toBe(true);
      }),
    );
  });
});

describe('a dead letter', () => {
  const at = new Date('2026-11-23T18:00:00.123Z');
  const row = {
    ...{ device: '', reason: 'not-in-topic-map', topic: 'a/b', payload: Buffer.from('x'), payload_size: 1 },
    ...{ detail: 'no entry', count: 7n, settled: 3n, first_at: at, last_at: at, replayable: 2 },
  };

  it('has no device where the topic names none, and counts what no replay has stored', () => {
    expect(deadLetterView(row)).toEqual({
      ...{ id: ':not-in-topic-map', device: null, reason: 'not-in-topic-map', topic: 'a/b', detail: 'no entry' },
      ...{ payload: 'x', payloadBase64: 'eA==', payloadBytes: 1, count: 4, replayable: 2 },
      ...{ firstAt: at.toISOString(), lastAt: at.toISOString() },
    });
  });

  it('gives a cursor that leads behind it', () => {
    expect(placeOf(cursorOf(row))).toEqual({ last_at: at, device: '', reason: 'not-in-topic-map' });
  });

  it.each([
    'bm9uZQ',
    'W10',
    Buffer.from('["x","y","z"]').toString('base64url'),
    Buffer.from('{}').toString('base64url'),
  ])('refuses the cursor %s, which is none of its own', (cursor) => {
    expect(() => placeOf(cursor)).toThrow(ProblemError);
  });
});

describe('a replay', () => {
  const row = {
    ...{ id: 4n, requested_at: new Date(0), requested_by: 'anna', requested: 9n, left: 9 },
    ...{ stored: null, failed: null, ended_at: null },
  };

  it.each([
    ['has all before it when nobody has begun', {}, { left: 9, stored: 0, failedAgain: 0, endedAt: null }],
    [
      'tells what it has done',
      { left: 2, stored: 6n, failed: 1n },
      { left: 2, stored: 6, failedAgain: 1, endedAt: null },
    ],
    [
      'has nothing left when it has ended, also where more has come for the same reason',
      { left: 5, stored: 9n, failed: 0n, ended_at: new Date(1) },
      { left: 0, stored: 9, failedAgain: 0, endedAt: '1970-01-01T00:00:00.001Z' },
    ],
  ])('%s', (_, more, shown) => {
    expect(replayProgress({ ...row, ...more })).toEqual({
      ...{ id: '4', requestedAt: '1970-01-01T00:00:00.000Z', by: 'anna', requested: 9, ...shown },
    });
  });
});
