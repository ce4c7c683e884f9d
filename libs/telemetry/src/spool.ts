import { constants } from 'node:fs';
import { link, mkdir, open, readdir, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { SpoolError, SpoolFullError, spoolErrorOf, systemCode } from './spool-error.ts';
import { lockFolder, type Unlock } from './spool-lock.ts';
import { SpoolTail, writeWhole, type Segment } from './spool-tail.ts';
import {
  appendTimeOf,
  decodePosition,
  encodePosition,
  findRecord,
  RECORD_HEADER_BYTES,
  type SpoolPosition,
} from './spool-record.ts';

/** What a spool tells of itself; each is said once and none stops it. */
export type SpoolEvent =
  /** Bytes of a segment are not what was written, or gone, so they cannot be delivered; `keptAs` is the file to look at. */
  | { readonly kind: 'damaged'; readonly file: string; readonly bytes: number; readonly keptAs: string | undefined }
  /** A segment was given up undelivered, because its records are older than the age limit. */
  | { readonly kind: 'expired'; readonly file: string; readonly bytes: number }
  /** After the next start the newest deliveries may be made again. */
  | { readonly kind: 'position-not-saved'; readonly reason: string };

/** Where a spool is and what bounds it. */
export interface SpoolOptions {
  readonly folder: string;
  /** It takes so many bytes of the disk at most. */
  readonly maxBytes: number;
  /** What has waited longer is given up. */
  readonly maxAgeDays: number;
  /** A segment that has so many bytes gets no more; by default an eighth of the limit, at most 16 MiB. */
  readonly segmentBytes?: number;
  readonly onEvent: (event: SpoolEvent) => void;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** How much waits, and since when. */
export interface SpoolDepth {
  readonly bytes: number;
  /** When the oldest record was appended, in milliseconds since 1970; undefined where none waits. */
  readonly oldestAtMs: number | undefined;
}

/** Records in the order of their appending, to be delivered and then committed. */
export interface SpoolChunk {
  readonly records: readonly Uint8Array[];
  readonly end: SpoolPosition;
}

const DAY_MS = 86_400_000;
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;
const SEGMENT_NAME = /^(\d{12})\.spool$/;
const DAMAGED_NAME = /\.damaged$/;

/**
 * Records on disk that outlive the process, delivered oldest first while others are appended. An append resolves when
 * its bytes are on the disk; a record is delivered at least once, whatever is killed. One consumer reads and commits.
 */
export class Spool {
  readonly #folder: string;
  readonly #maxBytes: number;
  readonly #maxAgeMs: number;
  readonly #tail: SpoolTail;
  readonly #onEvent: (event: SpoolEvent) => void;
  readonly #now: () => number;
  readonly #unlock: Unlock;
  readonly #positionFile: FileHandle;
  /** Oldest first; deliveries are up to `#offset` of the first. */
  #segments: Segment[] = [];
  #offset = 0;
  #nextSequence = 1;
  /** Bytes of damaged segments, kept as evidence. */
  #keptBytes = 0;
  #oldestAtMs: number | undefined;
  #reader: { readonly segment: Segment; readonly handle: FileHandle } | undefined;
  #isFull = false;
  #isClosed = false;

  private constructor(options: SpoolOptions, unlock: Unlock, positionFile: FileHandle) {
    this.#folder = options.folder;
    this.#maxBytes = options.maxBytes;
    this.#maxAgeMs = options.maxAgeDays * DAY_MS;
    this.#onEvent = options.onEvent;
    this.#now = options.now ?? Date.now;
    this.#unlock = unlock;
    this.#positionFile = positionFile;
    this.#tail = new SpoolTail({
      folder: options.folder,
      segmentBytes: options.segmentBytes ?? Math.min(MAX_SEGMENT_BYTES, Math.ceil(options.maxBytes / 8)),
      begin: (firstAtMs) => {
        const sequence = this.#nextSequence;
        this.#nextSequence += 1;
        const segment = { sequence, file: this.#fileOf(sequence), firstAtMs, bytes: 0, lastAtMs: firstAtMs };
        this.#segments.push(segment);
        return segment;
      },
      onNotBegun: (segment) => {
        this.#segments = this.#segments.filter((one) => one !== segment);
      },
      onStored: (firstAtMs) => {
        if (this.isEmpty) this.#oldestAtMs = firstAtMs;
        this.#isFull = false;
      },
      onFailed: (error) => {
        if (error instanceof SpoolFullError) this.#isFull = true;
      },
    });
  }

  /**
   * Opens the spool of a folder, which is made where there is none, with what an earlier process has left in it.
   * @throws SpoolError `locked`, `disk-full`, `disk-failed`
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    let unlock: Unlock | undefined;
    let positionFile: FileHandle | undefined;
    try {
      await mkdir(options.folder, { recursive: true, mode: 0o700 });
      unlock = await lockFolder(options.folder);
      const file = path.join(options.folder, 'position');
      // Neither truncated nor replaced: a full disk has no room for another one.
      positionFile = await open(file, constants.O_RDWR | constants.O_CREAT, 0o600);
      const spool = new Spool(options, unlock, positionFile);
      await spool.#recover();
      return spool;
    } catch (error) {
      await positionFile?.close();
      await unlock?.();
      throw spoolErrorOf(error, options.folder);
    }
  }

  /** What waits to be delivered. */
  get depth(): SpoolDepth {
    const bytes = this.#segments.reduce((sum, segment) => sum + segment.bytes, -this.#offset);
    return bytes > 0 ? { bytes, oldestAtMs: this.#oldestAtMs } : { bytes: 0, oldestAtMs: undefined };
  }

  /** Whether nothing waits. */
  get isEmpty(): boolean {
    return this.depth.bytes === 0;
  }

  /** Whether the last append was refused for want of room, and none has been gained since. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Bytes that its segments take on disk, delivered ones and evidence of damage included. */
  get bytesOnDisk(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, this.#keptBytes);
  }

  /**
   * Appends a record; resolves when it is on the disk. Appends that meet share one write and one synchronization.
   * @throws SpoolFullError `size-limit`, `disk-full`; nothing of the record is left then
   * @throws SpoolError `closed`, `disk-failed`
   */
  append(bytes: Uint8Array): Promise<void> {
    if (this.#isClosed) return Promise.reject(new SpoolError('closed', `the spool ${this.#folder} is closed`));
    const size = RECORD_HEADER_BYTES + bytes.length;
    if (this.bytesOnDisk + this.#tail.queuedBytes + size > this.#maxBytes) {
      this.#isFull = true;
      const message = `the spool ${this.#folder} holds as much as it may: ${this.#maxBytes} bytes`;
      return Promise.reject(new SpoolFullError('size-limit', message));
    }
    return this.#tail.append(bytes, this.#now());
  }

  /**
   * The oldest records that are not committed, about `maxBytes` of them and at least one; undefined where none waits.
   * @throws SpoolError `disk-failed`
   */
  async read(maxBytes: number): Promise<SpoolChunk | undefined> {
    try {
      return await this.#read(maxBytes);
    } catch (error) {
      throw spoolErrorOf(error, this.#folder);
    }
  }

  /**
   * Takes that all records of a chunk have been delivered; segments that are delivered as a whole are deleted.
   * @throws SpoolError `disk-failed` where one could not be: it is deleted at the next start
   */
  async commit({ end }: SpoolChunk): Promise<void> {
    // The segment may have been given up meanwhile.
    if (this.#segments[0]?.sequence !== end.sequence || end.offset <= this.#offset) return;
    this.#offset = end.offset;
    try {
      await this.#removeDelivered();
      await this.#savePosition();
      await this.#lookAtOldest();
    } catch (error) {
      throw spoolErrorOf(error, this.#folder);
    }
  }

  /**
   * Gives up segments that are older than the age limit, as every read does; for whoever has read and cannot deliver.
   * @throws SpoolError `disk-failed`
   */
  async expire(): Promise<void> {
    try {
      await this.#expire();
    } catch (error) {
      throw spoolErrorOf(error, this.#folder);
    }
  }

  /** Waits for the appends under way and gives the folder back. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#tail.close();
    await this.#savePosition();
    await this.#reader?.handle.close();
    await this.#positionFile.close();
    await this.#unlock();
  }

  async #recover(): Promise<void> {
    const saved = decodePosition(await this.#positionFile.readFile());
    const names = await readdir(this.#folder);
    for (const name of names.filter((found) => DAMAGED_NAME.test(found))) {
      const file = path.join(this.#folder, name);
      const { size, mtimeMs } = await stat(file);
      if (this.#now() - mtimeMs > this.#maxAgeMs) await unlink(file);
      else this.#keptBytes += size;
    }
    const sequences = names.flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? []).map(Number);
    // A number is never used twice: a saved position must not speak of a later segment.
    this.#nextSequence = Math.max(0, saved?.sequence ?? 0, ...sequences) + 1;
    for (const sequence of sequences.sort((left, right) => left - right)) {
      const file = this.#fileOf(sequence);
      if (sequence < (saved?.sequence ?? 0)) {
        await unlink(file);
        continue;
      }
      const { size, mtimeMs } = await stat(file);
      this.#segments.push({ sequence, file, firstAtMs: 0, bytes: size, lastAtMs: mtimeMs });
    }
    const head = this.#segments[0];
    if (head !== undefined && head.sequence === saved?.sequence) this.#offset = Math.min(saved.offset, head.bytes);
    await this.#removeDelivered();
    await this.#savePosition();
    await this.#lookAtOldest();
  }

  async #read(maxBytes: number): Promise<SpoolChunk | undefined> {
    await this.#expire();
    let wantedBytes = Math.max(maxBytes, RECORD_HEADER_BYTES);
    for (;;) {
      await this.#removeDelivered();
      const head = this.#segments[0];
      if (head === undefined || this.#offset >= head.bytes) return undefined;
      const leftBytes = head.bytes - this.#offset;
      const buffer = await this.#bytesOf(head, this.#offset, Math.min(wantedBytes, leftBytes));
      if (buffer === undefined) {
        await this.#tellDamage(head, leftBytes);
        head.bytes = this.#offset;
        continue;
      }
      const records: Uint8Array[] = [];
      let at = 0;
      let found = findRecord(buffer, at);
      for (; found.kind === 'record'; found = findRecord(buffer, at)) {
        records.push(found.bytes);
        at = found.end;
      }
      if (records.length > 0) return { records, end: { sequence: head.sequence, offset: this.#offset + at } };
      if (found.kind === 'damaged') {
        // Where even the length is not to be believed, the rest of the segment is lost.
        const skippedBytes = found.end ?? leftBytes;
        await this.#tellDamage(head, skippedBytes);
        this.#offset += skippedBytes;
      } else if (found.neededBytes <= leftBytes) {
        wantedBytes = found.neededBytes;
      } else {
        // The process was killed while it wrote this, so nobody was told that it is durable.
        this.#offset = head.bytes;
      }
    }
  }

  /** Bytes of a segment; undefined where somebody has removed or cut the file. */
  async #bytesOf(segment: Segment, offset: number, length: number): Promise<Buffer | undefined> {
    if (this.#reader?.segment !== segment) {
      await this.#reader?.handle.close();
      this.#reader = undefined;
      try {
        this.#reader = { segment, handle: await open(segment.file, 'r') };
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      }
    }
    const { buffer, bytesRead } = await this.#reader.handle.read(Buffer.allocUnsafe(length), 0, length, offset);
    return bytesRead < length ? undefined : buffer;
  }

  /** Keeps a damaged segment under a second name, which outlives the delivery of the rest of it. */
  async #tellDamage({ file, bytes: segmentBytes }: Segment, bytes: number): Promise<void> {
    let keptAs: string | undefined = `${file}.damaged`;
    try {
      await link(file, keptAs);
      this.#keptBytes += segmentBytes;
    } catch (error) {
      // The file is gone, or its file system knows no second names: the damage is told all the same.
      if (systemCode(error) !== 'EEXIST') keptAs = undefined;
    }
    this.#onEvent({ kind: 'damaged', file, bytes, keptAs });
  }

  /** Removes segments at the front of which nothing is left to deliver. */
  async #removeDelivered(): Promise<void> {
    for (let head = this.#segments[0]; head !== undefined && this.#offset >= head.bytes; head = this.#segments[0]) {
      if (this.#isAppendedTo(head)) return;
      await this.#removeHead(head);
    }
  }

  async #expire(): Promise<void> {
    const cut = this.#now() - this.#maxAgeMs;
    for (let head = this.#segments[0]; head !== undefined && head.lastAtMs < cut; head = this.#segments[0]) {
      if (this.#isAppendedTo(head)) return;
      const bytes = head.bytes - this.#offset;
      if (bytes > 0) this.#onEvent({ kind: 'expired', file: head.file, bytes });
      await this.#removeHead(head);
    }
  }

  #isAppendedTo(segment: Segment): boolean {
    return this.#tail.isBusy && segment === this.#segments.at(-1);
  }

  async #removeHead(head: Segment): Promise<void> {
    this.#segments.shift();
    this.#offset = 0;
    this.#isFull = false;
    await this.#tail.end(head);
    if (this.#reader?.segment === head) {
      const { handle } = this.#reader;
      this.#reader = undefined;
      await handle.close();
    }
    await rm(head.file, { force: true });
  }

  async #savePosition(): Promise<void> {
    const sequence = this.#segments[0]?.sequence ?? this.#nextSequence;
    try {
      await writeWhole(this.#positionFile, encodePosition({ sequence, offset: this.#offset }), 0);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#onEvent({ kind: 'position-not-saved', reason });
    }
  }

  async #lookAtOldest(): Promise<void> {
    const head = this.#segments[0];
    if (head === undefined || head.bytes - this.#offset < RECORD_HEADER_BYTES) return;
    const header = await this.#bytesOf(head, this.#offset, RECORD_HEADER_BYTES);
    if (header !== undefined) this.#oldestAtMs = appendTimeOf(header) ?? this.#oldestAtMs;
  }

  #fileOf(sequence: number): string {
    return path.join(this.#folder, `${String(sequence).padStart(12, '0')}.spool`);
  }
}
