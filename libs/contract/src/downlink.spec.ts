import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { commandArgsSchema, decodeAck, deviceSettingsSchema, encodeCommand, encodeConfig } from './downlink.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) });

describe('an acknowledgement', () => {
  it.each([
    ['{"id":"c1","ok":true}', { id: 'c1', error: null }],
    ['{"id":"c1","ok":true,"error":"none"}', { id: 'c1', error: null }],
    ['{"id":"c1","ok":false,"error":"expired"}', { id: 'c1', error: 'expired' }],
    ['{"id":"c1","ok":false}', { id: 'c1', error: 'the device gives no reason' }],
    ['{"id":"c1","ok":false,"error":null,"more":1}', { id: 'c1', error: 'the device gives no reason' }],
    ['{"id":"c1","ok":false,"error":"a\\u0000b\\ud800"}', { id: 'c1', error: 'a\uFFFDb\uFFFD' }],
  ])('%s', (payload, expected) => expect(decodeAck(bytes(payload))).toEqual(expected));

  it('has an error of at most 200 characters', () => {
    expect(decodeAck(bytes(JSON.stringify({ id: 'c1', ok: false, error: 'x'.repeat(3_000) }))).error).toHaveLength(200);
  });

  it.each([
    ['', 'payload-empty'],
    ['ok', 'invalid-json'],
    ['null', 'invalid-ack'],
    ['[]', 'invalid-ack'],
    ['{"ok":true}', 'invalid-ack'],
    ['{"id":"","ok":true}', 'invalid-ack'],
    ['{"id":7,"ok":true}', 'invalid-ack'],
    ['{"id":"c1","ok":"yes"}', 'invalid-ack'],
    [`{"id":"${'x'.repeat(65)}","ok":true}`, 'invalid-ack'],
    [`{"id":"c1","ok":true,"error":"${'x'.repeat(4_096)}"}`, 'payload-too-large'],
  ])('is not %j', (payload, code) => {
    expect(() => decodeAck(bytes(payload))).toThrow(expect.objectContaining({ code }));
  });

  it('is read or refused with a code, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (payload) => {
        try {
          decodeAck(payload);
        } catch (error) {
          expect(error).toBeInstanceOf(ContractError);
        }
      }),
    );
  });
});

describe('what a device is told', () => {
  it('is a command with its expiry in milliseconds', () => {
    expect(encodeCommand({ id: 'c1', name: 'sleep', args: { seconds: 5 }, expiresAtMs: 1_700_000_000_000 })).toBe(
      '{"id":"c1","name":"sleep","args":{"seconds":5},"expires":1700000000000}',
    );
  });

  it('is a configuration with its version, or nothing where it is cleared', () => {
    expect(encodeConfig(3, { heartbeat: 60 })).toBe('{"version":3,"settings":{"heartbeat":60}}');
    expect(encodeConfig(4, null)).toBe('');
  });

  it.each([
    ['an array', [1]],
    ['a text', 'x'],
    ['nothing', null],
    ['too deep', nested(8)],
    ['far too deep', JSON.parse('{"a":'.repeat(20_000) + '1' + '}'.repeat(20_000)) as unknown],
    ['a number that JSON cannot have', { a: JSON.parse('1e999') as unknown }],
    ['U+0000 in a text', { a: ['\u0000'] }],
    ['U+0000 in a name', { '\u0000': 1 }],
    ['a lone surrogate', { a: '\ud800' }],
    ['more than a device reads', { a: 'x'.repeat(2_048) }],
    ['more than a device reads, counted in bytes', { a: '€'.repeat(700) }],
  ])('has no arguments and no settings such as %s', (_, value) => {
    expect(commandArgsSchema.safeParse(value).success).toBe(false);
    expect(deviceSettingsSchema.safeParse(value).success).toBe(false);
  });

  it('is never longer than a device reads, with the longest frame there can be', () => {
    const fits = (schema: typeof commandArgsSchema, length: number): boolean =>
      schema.safeParse({ a: 'x'.repeat(length) }).success;
    const args = { a: 'x'.repeat(1_912) };
    const settings = { a: 'x'.repeat(1_992) };
    expect([fits(commandArgsSchema, 1_912), fits(commandArgsSchema, 1_913)]).toEqual([true, false]);
    expect([fits(deviceSettingsSchema, 1_992), fits(deviceSettingsSchema, 1_993)]).toEqual([true, false]);
    const id = '0'.repeat(36);
    const expiresAtMs = 9_999_999_999_999;
    expect(encodeCommand({ id, name: 'n'.repeat(32), args, expiresAtMs }).length).toBeLessThanOrEqual(2_048);
    expect(encodeConfig(4_294_967_295, settings).length).toBeLessThanOrEqual(2_048);
  });
});
