import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { deviceId } from './device-id.ts';
import { decodeDigest, decodeInterest, encodeDigest, encodeInterest } from './digest.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9]{0,10}$/);

describe('a digest', () => {
  it('is read as it was written', () => {
    const reading = fc.record({
      device: name.map(deviceId),
      metric: name,
      value: fc.oneof(
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
        fc.boolean(),
        fc.string(),
      ),
      unit: fc.option(fc.string(), { nil: null }),
      atMs: fc.nat(),
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      late: fc.boolean(),
    });
    fc.assert(
      fc.property(name, fc.integer({ min: 1 }), fc.array(reading), (run, number, readings) => {
        expect(decodeDigest(bytes(encodeDigest({ run, number, readings })))).toEqual({ run, number, readings });
      }),
    );
  });

  it('throws nothing but ContractError, whatever comes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(bytes)), (payload) => {
        for (const decode of [decodeDigest, decodeInterest]) {
          try {
            decode(payload);
          } catch (error) {
            expect(error).toBeInstanceOf(ContractError);
          }
        }
      }),
    );
  });
});

describe('an interest', () => {
  it.each(['*' as const, new Set<string>(), new Set(['hum', 'temp'])])('is read as it was written: %s', (interest) => {
    expect(decodeInterest(bytes(encodeInterest(interest)))).toEqual(interest);
  });

  it.each(['{}', '{"metrics":"temp"}', '{"metrics":["no metric"]}', '{"metrics":[],"more":1}'])('refuses %s', (text) =>
    expect(() => decodeInterest(bytes(text))).toThrow(ContractError),
  );
});
