import { crc32 } from 'node:zlib';

/**
 * What stands before the bytes of each record, little-endian: CRC-32 of the other 16 bytes of this header, length of the
 * bytes, time of the append in milliseconds since 1970 (float), CRC-32 of the bytes.
 */
export const RECORD_HEADER_BYTES = 20;

/** What is found at one place of a segment. */
export type FoundRecord =
  | { readonly kind: 'record'; readonly bytes: Uint8Array; readonly appendedAtMs: number; readonly end: number }
  /** What was read ends before the record does: it needs so many bytes from its beginning. */
  | { readonly kind: 'cut'; readonly neededBytes: number }
  /** Not what was written. `end` is where the next record begins; undefined where that cannot be known either. */
  | { readonly kind: 'damaged'; readonly end: number | undefined };

/** The record of some bytes as it stands in a segment. */
export function encodeRecord(bytes: Uint8Array, appendedAtMs: number): Buffer {
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + bytes.length);
  record.writeUInt32LE(bytes.length, 4);
  record.writeDoubleLE(appendedAtMs, 8);
  record.writeUInt32LE(crc32(bytes), 16);
  record.writeUInt32LE(crc32(record.subarray(4, RECORD_HEADER_BYTES)), 0);
  record.set(bytes, RECORD_HEADER_BYTES);
  return record;
}

/**
 * The record that begins at an offset. The header has a checksum of its own, so the length is known to be right before
 * it is believed: a file that ends early is told from one that is damaged, and damaged bytes cost one record, not all
 * behind it.
 */
export function findRecord(buffer: Buffer, offset: number): FoundRecord {
  const bodyOffset = offset + RECORD_HEADER_BYTES;
  if (bodyOffset > buffer.length) return { kind: 'cut', neededBytes: RECORD_HEADER_BYTES };
  if (crc32(buffer.subarray(offset + 4, bodyOffset)) !== buffer.readUInt32LE(offset)) {
    return { kind: 'damaged', end: undefined };
  }
  const length = buffer.readUInt32LE(offset + 4);
  const end = bodyOffset + length;
  if (end > buffer.length) return { kind: 'cut', neededBytes: RECORD_HEADER_BYTES + length };
  const bytes = buffer.subarray(bodyOffset, end);
  if (crc32(bytes) !== buffer.readUInt32LE(offset + 16)) return { kind: 'damaged', end };
  return { kind: 'record', bytes, appendedAtMs: buffer.readDoubleLE(offset + 8), end };
}

/** When the record of a header was appended, in milliseconds since 1970; undefined where the header is not whole. */
export function appendTimeOf(header: Buffer): number | undefined {
  const found = findRecord(header, 0);
  const isWhole = found.kind === 'record' || (found.kind === 'cut' && header.length >= RECORD_HEADER_BYTES);
  return isWhole ? header.readDoubleLE(8) : undefined;
}

/** Up to where the spool has been delivered: a segment, and the bytes of it. */
export interface SpoolPosition {
  readonly sequence: number;
  readonly offset: number;
}

const POSITION_BYTES = 20;

/** A position as it stands in its file: CRC-32 of the rest, the segment's number, the offset. */
export function encodePosition({ sequence, offset }: SpoolPosition): Buffer {
  const bytes = Buffer.allocUnsafe(POSITION_BYTES);
  bytes.writeDoubleLE(sequence, 4);
  bytes.writeDoubleLE(offset, 12);
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

/** The position in a file; undefined where it is empty or torn: then everything is delivered again. */
export function decodePosition(bytes: Buffer): SpoolPosition | undefined {
  if (bytes.length !== POSITION_BYTES || crc32(bytes.subarray(4)) !== bytes.readUInt32LE(0)) return undefined;
  return { sequence: bytes.readDoubleLE(4), offset: bytes.readDoubleLE(12) };
}
