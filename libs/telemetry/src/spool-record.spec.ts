import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  appendTimeOf,
  decodePosition,
  encodePosition,
  encodeRecord,
  findRecord,
  RECORD_HEADER_BYTES,
} from './spool-record.ts';

const someBytes = fc.uint8Array({ maxLength: 200 });

describe('a record of the spool', () => {
  it('is found as it was written, at any place', () => {
    fc.assert(
      fc.property(someBytes, someBytes, fc.nat(), (before, bytes, atMs) => {
        const buffer = Buffer.concat([before, encodeRecord(bytes, atMs)]);
        const found = findRecord(buffer, before.length);
        expect(found).toMatchObject({ kind: 'record', appendedAtMs: atMs, end: buffer.length });
        expect(found.kind === 'record' && Buffer.compare(found.bytes, bytes)).toBe(0);
      }),
    );
  });

  it('is cut, and never found, wherever the file ends before it does', () => {
    fc.assert(
      fc.property(someBytes, fc.nat(), (bytes, seed) => {
        const record = encodeRecord(bytes, 1);
        const length = seed % record.length;
        const neededBytes = length < RECORD_HEADER_BYTES ? RECORD_HEADER_BYTES : record.length;
        expect(findRecord(record.subarray(0, length), 0)).toEqual({ kind: 'cut', neededBytes });
      }),
    );
  });

  it('is damaged whichever bit of it has changed, and the next one is still found unless the header is hit', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.nat(), fc.nat(7), (bytes, seed, bit) => {
        const record = encodeRecord(bytes, 1);
        const index = seed % record.length;
        record.writeUInt8(record.readUInt8(index) ^ (1 << bit), index);
        // The checksum of the body stands in the header, and is covered by its checksum.
        const end = index < RECORD_HEADER_BYTES ? undefined : record.length;
        expect(findRecord(record, 0)).toEqual({ kind: 'damaged', end });
      }),
    );
  });

  it('is not found in zeros, which a file system leaves after a power failure', () => {
    expect(findRecord(Buffer.alloc(100), 0)).toEqual({ kind: 'damaged', end: undefined });
  });

  it('tells its time by its header alone', () => {
    const record = encodeRecord(Buffer.from('some bytes'), 1_698_765_432_123);
    expect(appendTimeOf(record.subarray(0, RECORD_HEADER_BYTES))).toBe(1_698_765_432_123);
    expect(appendTimeOf(record.subarray(0, RECORD_HEADER_BYTES - 1))).toBeUndefined();
    expect(appendTimeOf(Buffer.alloc(RECORD_HEADER_BYTES))).toBeUndefined();
  });
});

describe('a saved position', () => {
  it('is read as it was written, and is none where it is empty, torn or changed', () => {
    const position = { sequence: 7, offset: 123_456_789_012 };
    const bytes = encodePosition(position);
    expect(decodePosition(bytes)).toEqual(position);
    expect(decodePosition(Buffer.alloc(0))).toBeUndefined();
    expect(decodePosition(bytes.subarray(0, 19))).toBeUndefined();
    for (let index = 0; index < bytes.length; index += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(index) ^ 1, index);
      expect(decodePosition(changed)).toBeUndefined();
    }
  });
});
