import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { spoolErrorOf, systemCode, type SpoolError } from './spool-error.ts';
import { encodeRecord, RECORD_HEADER_BYTES } from './spool-record.ts';

/** One file of a spool. */
export interface Segment {
  readonly sequence: number;
  readonly file: string;
  readonly firstAtMs: number;
  /** Of records that are on disk for certain. */
  bytes: number;
  lastAtMs: number;
}

/** How segments are begun and ended. */
export interface SpoolTailOptions {
  readonly folder: string;
  /** A segment that has so many bytes gets no more. */
  readonly segmentBytes: number;
  /** The next segment, whose file does not exist yet. */
  readonly begin: (atMs: number) => Segment;
  /** There is no file of a segment that was to begin, and there will be none. */
  readonly onNotBegun: (segment: Segment) => void;
  /** Called before records that have reached the disk are counted in their segment. */
  readonly onStored: (firstAtMs: number) => void;
  readonly onFailed: (error: SpoolError) => void;
}

interface Append {
  readonly record: Buffer;
  readonly atMs: number;
  readonly resolve: () => void;
  readonly reject: (error: SpoolError) => void;
}

/** A segment is given up or deleted as a whole, so it must not span days where little is appended. */
const MAX_SEGMENT_AGE_MS = 3_600_000;
/** What some systems answer when a folder is to be synchronized, which they do by themselves. */
const NO_FOLDER_SYNC = new Set(['EISDIR', 'EPERM', 'EINVAL', 'ENOTSUP', 'EACCES']);

/**
 * The end of a spool, where records are appended. Appends that come while others are written share the next write and
 * synchronization. After a failure the file is as it was before.
 */
export class SpoolTail {
  readonly #options: SpoolTailOptions;
  #open: { readonly segment: Segment; readonly handle: FileHandle } | undefined;
  #queue: Append[] = [];
  #queuedBytes = 0;
  #flushing: Promise<void> | undefined;

  constructor(options: SpoolTailOptions) {
    this.#options = options;
  }

  /** Bytes on their way to the disk. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Whether a segment may be written to right now, or begun. */
  get isBusy(): boolean {
    return this.#flushing !== undefined;
  }

  /**
   * Resolves when the record is on the disk.
   * @throws SpoolFullError `disk-full`
   * @throws SpoolError `disk-failed`
   */
  append(bytes: Uint8Array, atMs: number): Promise<void> {
    this.#queuedBytes += RECORD_HEADER_BYTES + bytes.length;
    return new Promise((resolve, reject) => {
      this.#queue.push({ record: encodeRecord(bytes, atMs), atMs, resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }

  /** Ends a segment, if it is the one that is appended to; only while not busy. */
  async end(segment: Segment): Promise<void> {
    if (this.#open?.segment === segment) await this.#endOpen();
  }

  /** Waits for what is on its way. */
  async close(): Promise<void> {
    await this.#flushing;
    await this.#endOpen();
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0) {
      const group = this.#queue;
      this.#queue = [];
      const data = Buffer.concat(group.map(({ record }) => record));
      try {
        await this.#store(data, group[0]?.atMs ?? 0, group.at(-1)?.atMs ?? 0);
        for (const { resolve } of group) resolve();
      } catch (cause) {
        const error = spoolErrorOf(cause, this.#options.folder);
        this.#options.onFailed(error);
        for (const { reject } of group) reject(error);
      }
      this.#queuedBytes -= data.length;
    }
    this.#flushing = undefined;
  }

  async #store(data: Buffer, firstAtMs: number, lastAtMs: number): Promise<void> {
    const { segment, handle } = (this.#open ??= await this.#begin(firstAtMs));
    try {
      await writeWhole(handle, data, segment.bytes);
      await handle.datasync();
    } catch (error) {
      await this.#cutBack(segment, handle, error);
      throw error;
    }
    this.#options.onStored(firstAtMs);
    segment.bytes += data.length;
    segment.lastAtMs = lastAtMs;
    if (segment.bytes >= this.#options.segmentBytes || lastAtMs - segment.firstAtMs > MAX_SEGMENT_AGE_MS) {
      await this.#endOpen();
    }
  }

  /** Takes away what a failed write has left. After a fault other than a full disk the file is not trusted again. */
  async #cutBack(segment: Segment, handle: FileHandle, fault: unknown): Promise<void> {
    try {
      await handle.truncate(segment.bytes);
      await handle.datasync();
      if (spoolErrorOf(fault, this.#options.folder).code === 'disk-full') return;
    } catch {
      // The fault itself is told; what is left behind is not read by this process, and at most delivered by the next.
    }
    await this.#endOpen();
  }

  async #begin(atMs: number): Promise<{ readonly segment: Segment; readonly handle: FileHandle }> {
    const segment = this.#options.begin(atMs);
    let handle: FileHandle | undefined;
    try {
      handle = await open(segment.file, 'wx', 0o600);
      await syncFolder(path.dirname(segment.file));
      return { segment, handle };
    } catch (error) {
      // A disk that is out of order is tried several times a second, for as long as that takes.
      this.#options.onNotBegun(segment);
      await handle?.close();
      throw error;
    }
  }

  async #endOpen(): Promise<void> {
    const handle = this.#open?.handle;
    this.#open = undefined;
    await handle?.close();
  }
}

/** Writes all bytes: on a disk that is nearly full one write may take a part of them. */
export async function writeWhole(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    if (bytesWritten === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
    written += bytesWritten;
  }
}

/** Makes a new file's name durable, not only its bytes. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (!NO_FOLDER_SYNC.has(systemCode(error) ?? '')) throw error;
  } finally {
    await handle.close();
  }
}
