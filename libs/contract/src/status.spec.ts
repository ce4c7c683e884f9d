import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { decodeStatus, encodeBirth, encodeOffline } from './status.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('a status payload', () => {
  it.each([
    ['online', { kind: 'birth', session: undefined }],
    ['Online\n', { kind: 'birth', session: undefined }],
    ['offline', { kind: 'will', session: undefined }],
    ['{"status":"online","session":7}', { kind: 'birth', session: 7 }],
    ['{"status":"offline","session":7}', { kind: 'will', session: 7 }],
    ['{"status":"offline","session":7,"reason":"unexpected"}', { kind: 'will', session: 7 }],
    ['{"status":"offline","reason":"gremlins"}', { kind: 'will', session: undefined }],
    [
      '{"status":"offline","reason":"shutdown"}',
      { kind: 'graceful', session: undefined, reason: 'shutdown', wakeInSeconds: undefined },
    ],
    [
      '{"status":"offline","session":3,"reason":"sleep","wake_in":300}',
      { kind: 'graceful', session: 3, reason: 'sleep', wakeInSeconds: 300 },
    ],
    [
      '{"status":"offline","reason":"update","wake_in":300}',
      { kind: 'graceful', session: undefined, reason: 'update', wakeInSeconds: undefined },
    ],
  ])('%j means %j', (text, expected) => {
    expect(decodeStatus(bytes(text))).toEqual(expected);
  });

  it.each([
    '',
    'on',
    '{}',
    '{"status":"away"}',
    '{"status":"online","session":-1}',
    '{"status":"online","session":"7"}',
    '[1]',
    'null',
    '{"status":',
  ])('refuses %j with its own error', (text) => {
    expect(() => decodeStatus(bytes(text))).toThrow(ContractError);
  });

  it('throws nothing but its own error, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (payload) => {
        try {
          decodeStatus(payload);
        } catch (error) {
          expect(error).toBeInstanceOf(ContractError);
        }
      }),
    );
  });

  it('reads back what is written', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (session) => {
        expect(decodeStatus(bytes(encodeBirth(session, 1)))).toEqual({ kind: 'birth', session });
        expect(decodeStatus(bytes(encodeOffline(session, 'unexpected')))).toEqual({ kind: 'will', session });
      }),
    );
  });

  it('P5 keeps a will below 100 bytes', () => {
    expect(bytes(encodeOffline(Number.MAX_SAFE_INTEGER, 'unexpected')).length).toBeLessThan(100);
  });
});
