import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { SpoolFullError } from './spool-error.ts';
import { encodeRecord, RECORD_HEADER_BYTES } from './spool-record.ts';
import { Spool, type SpoolEvent, type SpoolOptions } from './spool.ts';

const DAY_MS = 86_400_000;
const opened: Spool[] = [];

function newFolder(): string {
  return mkdtempSync(path.join(tmpdir(), 'spool-'));
}

async function openIn(folder: string, options: Partial<SpoolOptions> = {}): Promise<Spool> {
  const spool = await Spool.open({ folder, maxBytes: 1_000_000, maxAgeDays: 7, onEvent: () => undefined, ...options });
  opened.push(spool);
  return spool;
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((spool) => spool.close()));
});

/** Ends a spool as a killed process does: nothing is written any more, and its lock stays behind. */
function likeKilled(folder: string): string {
  const copy = newFolder();
  for (const name of readdirSync(folder)) {
    if (name !== 'lock') copyFileSync(path.join(folder, name), path.join(copy, name));
  }
  symlinkSync('999999999 1', path.join(copy, 'lock'));
  return copy;
}

function append(spool: Spool, ...texts: readonly string[]): Promise<unknown> {
  return Promise.all(texts.map((text) => spool.append(Buffer.from(text))));
}

async function next(spool: Spool, maxBytes = 1): Promise<readonly string[]> {
  const chunk = await spool.read(maxBytes);
  if (chunk === undefined) return [];
  const texts = chunk.records.map((record) => Buffer.from(record).toString());
  await spool.commit(chunk);
  return texts;
}

async function allOf(spool: Spool, maxBytes = 1): Promise<readonly string[]> {
  const all: string[] = [];
  for (let texts = await next(spool, maxBytes); texts.length > 0; texts = await next(spool, maxBytes)) {
    all.push(...texts);
  }
  return all;
}

function segmentsIn(folder: string): readonly string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.spool'))
    .sort()
    .map((name) => path.join(folder, name));
}

describe('a spool', () => {
  it('gives back what was appended, oldest first, while more is appended', async () => {
    const spool = await openIn(newFolder(), { segmentBytes: 60 });
    await append(spool, 'a', 'b', 'c');
    expect(await next(spool)).toEqual(['a']);
    await append(spool, 'd');
    expect(await allOf(spool)).toEqual(['b', 'c', 'd']);
    expect(await spool.read(1)).toBeUndefined();
  });

  it('gives several records at once, and a record that is larger than what was asked for', async () => {
    const spool = await openIn(newFolder());
    await append(spool, 'a', 'b', 'x'.repeat(10_000), 'c');
    expect((await next(spool, 100)).map(({ length }) => length)).toEqual([1, 1]);
    expect((await next(spool, 100)).map(({ length }) => length)).toEqual([10_000]);
    expect(await next(spool, 100)).toEqual(['c']);
  });

  it('gives a chunk again until it is committed', async () => {
    const spool = await openIn(newFolder());
    await append(spool, 'a');
    const first = await spool.read(1);
    expect(await spool.read(1)).toEqual(first);
    expect(await next(spool)).toEqual(['a']);
    expect(await next(spool)).toEqual([]);
  });

  it('has a record on the disk when its append resolves, and appends that meet in one segment, in order', async () => {
    const folder = newFolder();
    const spool = await openIn(folder);
    const texts = Array.from({ length: 200 }, (_, index) => `record ${index}`);
    await append(spool, ...texts);
    const [segment = ''] = segmentsIn(folder);
    expect(texts.map((text) => readFileSync(segment).includes(text))).not.toContain(false);
    expect(await allOf(spool, 1_000)).toEqual(texts);
  });

  it('deletes a segment once all of it is delivered, and every one in the end', async () => {
    const folder = newFolder();
    const spool = await openIn(folder, { segmentBytes: 2 * (RECORD_HEADER_BYTES + 1) });
    for (const text of ['a', 'b', 'c', 'd', 'e']) await append(spool, text);
    expect(segmentsIn(folder)).toHaveLength(3);
    await next(spool);
    expect(segmentsIn(folder)).toHaveLength(3);
    await next(spool);
    expect(segmentsIn(folder)).toHaveLength(2);
    expect(await allOf(spool)).toEqual(['c', 'd', 'e']);
    expect(segmentsIn(folder)).toEqual([]);
    expect(spool.bytesOnDisk).toBe(0);
    await append(spool, 'f');
    expect(await allOf(spool)).toEqual(['f']);
  });

  it('tells its depth in bytes and the age of its oldest record at any time', async () => {
    let nowMs = 1_000_000;
    const folder = newFolder();
    const spool = await openIn(folder, { now: () => nowMs });
    expect(spool.depth).toEqual({ bytes: 0, oldestAtMs: undefined });
    await append(spool, 'a');
    nowMs += 5_000;
    await append(spool, 'b');
    expect(spool.depth).toEqual({ bytes: 2 * (RECORD_HEADER_BYTES + 1), oldestAtMs: 1_000_000 });
    await next(spool);
    expect(spool.depth).toEqual({ bytes: RECORD_HEADER_BYTES + 1, oldestAtMs: 1_005_000 });
    await spool.close();
    expect((await openIn(folder, { now: () => nowMs })).depth.oldestAtMs).toBe(1_005_000);
  });

  it('goes on where it was after an orderly end', async () => {
    const folder = newFolder();
    const spool = await openIn(folder);
    await append(spool, 'a', 'b');
    await next(spool);
    await spool.close();
    expect(await allOf(await openIn(folder))).toEqual(['b']);
  });

  it('keeps its position when it is killed, and gives everything again when the position is torn', async () => {
    const folder = newFolder();
    const spool = await openIn(folder);
    await append(spool, 'a', 'b');
    await next(spool);
    expect(await allOf(await openIn(likeKilled(folder)))).toEqual(['b']);
    const torn = likeKilled(folder);
    truncateSync(path.join(torn, 'position'), 10);
    expect(await allOf(await openIn(torn))).toEqual(['a', 'b']);
  });

  it('never takes a new segment for one whose delivery is on record', async () => {
    const folder = newFolder();
    const spool = await openIn(folder);
    await append(spool, 'a', 'b', 'c');
    await next(spool);
    await spool.close();
    // Killed between the deletion of the segment and the new position.
    for (const segment of segmentsIn(folder)) rmSync(segment);
    const second = await openIn(folder);
    await append(second, 'd', 'e', 'f');
    expect(await allOf(await openIn(likeKilled(folder)))).toEqual(['d', 'e', 'f']);
  });

  it('is of one process; the lock of a process that was killed, and of one with its pid since, is taken over', async () => {
    const folder = newFolder();
    const spool = await openIn(folder);
    await expect(openIn(folder)).rejects.toMatchObject({ code: 'locked' });
    await spool.close();
    await (await openIn(folder)).close();
    symlinkSync(`${process.pid} 1`, path.join(folder, 'lock'));
    await openIn(folder);
    expect(readdirSync(folder).filter((name) => name.startsWith('lock'))).toEqual(['lock']);
  });

  it('takes nothing after its end', async () => {
    const spool = await openIn(newFolder());
    await spool.close();
    await expect(append(spool, 'a')).rejects.toMatchObject({ code: 'closed' });
  });

  it('says that its folder cannot be used', async () => {
    const file = path.join(newFolder(), 'file');
    writeFileSync(file, '');
    await expect(openIn(path.join(file, 'spool'))).rejects.toMatchObject({ name: 'SpoolError', code: 'disk-failed' });
  });
});

describe('the limits of a spool', () => {
  it('refuses what would be more bytes than it may have, until something was delivered', async () => {
    const recordBytes = RECORD_HEADER_BYTES + 10;
    const spool = await openIn(newFolder(), { maxBytes: 4 * recordBytes, segmentBytes: recordBytes });
    const text = '0123456789';
    for (let count = 0; count < 4; count += 1) await append(spool, text);
    expect(spool.isFull).toBe(false);
    await expect(append(spool, text)).rejects.toThrow(SpoolFullError);
    await expect(append(spool, text)).rejects.toMatchObject({ code: 'size-limit' });
    expect(spool.isFull).toBe(true);
    await next(spool);
    expect(spool.isFull).toBe(false);
    await append(spool, text);
    expect(await allOf(spool)).toHaveLength(4);
  });

  it('counts what is on its way to the disk', async () => {
    const spool = await openIn(newFolder(), { maxBytes: 3 * (RECORD_HEADER_BYTES + 1) });
    const outcomes = await Promise.allSettled(['a', 'b', 'c', 'd'].map((text) => append(spool, text)));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected']);
  });

  it('gives up segments that are older than its age limit, and tells of it', async () => {
    let nowMs = Date.now();
    const events: SpoolEvent[] = [];
    const onEvent = (event: SpoolEvent): number => events.push(event);
    const spool = await openIn(newFolder(), { segmentBytes: 1, maxAgeDays: 2, onEvent, now: () => nowMs });
    await append(spool, 'old');
    nowMs += 1.5 * DAY_MS;
    await append(spool, 'new');
    expect((await spool.read(1))?.records).toHaveLength(1);
    const chunk = await spool.read(1);
    nowMs += DAY_MS;
    expect(await allOf(spool)).toEqual(['new']);
    expect(events).toEqual([{ kind: 'expired', file: expect.any(String), bytes: RECORD_HEADER_BYTES + 3 }]);
    if (chunk !== undefined) await spool.commit(chunk);
  });

  it('knows the age of segments from before its start', async () => {
    const folder = newFolder();
    const first = await openIn(folder);
    await append(first, 'old');
    await first.close();
    const longAgo = Date.now() / 1000 - 8 * 86_400;
    for (const segment of segmentsIn(folder)) utimesSync(segment, longAgo, longAgo);
    expect(await allOf(await openIn(folder))).toEqual([]);
  });
});

describe('a damaged spool', () => {
  /** Three records in one segment, a fourth in the next. */
  async function withDamage(damage: (segment: string) => void): Promise<{
    readonly texts: readonly string[];
    readonly events: readonly SpoolEvent[];
    readonly folder: string;
    readonly spool: Spool;
  }> {
    const folder = newFolder();
    const first = await openIn(folder, { segmentBytes: 3 * (RECORD_HEADER_BYTES + 4) });
    for (const text of ['aaaa', 'bbbb', 'cccc', 'dddd']) await append(first, text);
    await first.close();
    damage(segmentsIn(folder)[0] ?? '');
    const events: SpoolEvent[] = [];
    const spool = await openIn(folder, { onEvent: (event) => events.push(event) });
    return { texts: await allOf(spool, 1_000), events, folder, spool };
  }

  function overwrite(file: string, at: number, bytes: Uint8Array): void {
    const content = readFileSync(file);
    content.set(bytes, at);
    writeFileSync(file, content);
  }
  const second = RECORD_HEADER_BYTES + 4;

  it('loses one record where its bytes are damaged, tells it and keeps the file', async () => {
    const { texts, events, folder, spool } = await withDamage((file) =>
      overwrite(file, second + RECORD_HEADER_BYTES, Buffer.from('?')),
    );
    expect(texts).toEqual(['aaaa', 'cccc', 'dddd']);
    const [file] = readdirSync(folder).filter((name) => name.endsWith('.damaged'));
    const keptAs = path.join(folder, file ?? '');
    expect(events).toEqual([{ kind: 'damaged', file: expect.any(String), bytes: second, keptAs }]);
    expect(readFileSync(keptAs).toString()).toContain('?bbb');
    expect(spool.bytesOnDisk).toBe(statSync(keptAs).size);
  });

  it('loses the rest of a segment where a header is damaged, and nothing of the next', async () => {
    const { texts, events } = await withDamage((file) => overwrite(file, second, Buffer.alloc(8)));
    expect(texts).toEqual(['aaaa', 'dddd']);
    expect(events).toMatchObject([{ kind: 'damaged', bytes: 2 * second }]);
  });

  it('tells that a segment was removed, and goes on with the next', async () => {
    const folder = newFolder();
    const events: SpoolEvent[] = [];
    const spool = await openIn(folder, { segmentBytes: 1, onEvent: (event) => events.push(event) });
    await append(spool, 'aaaa');
    await append(spool, 'bbbb');
    rmSync(segmentsIn(folder)[0] ?? '');
    expect(await allOf(spool)).toEqual(['bbbb']);
    expect(events).toMatchObject([{ kind: 'damaged', bytes: second, keptAs: undefined }]);
  });

  it('forgets evidence that is older than the age limit', async () => {
    const { folder, spool } = await withDamage((file) => overwrite(file, second, Buffer.alloc(8)));
    await spool.close();
    await (await openIn(folder)).close();
    const evidence = (): readonly string[] => readdirSync(folder).filter((name) => name.endsWith('.damaged'));
    expect(evidence()).toHaveLength(1);
    await openIn(folder, { now: () => Date.now() + 8 * DAY_MS });
    expect(evidence()).toEqual([]);
  });

  it('takes a torn last record for what it is: never promised, so no damage', async () => {
    const folder = newFolder();
    const spool = await openIn(folder);
    await append(spool, 'a');
    const killed = likeKilled(folder);
    appendFileSync(segmentsIn(killed)[0] ?? '', encodeRecord(Buffer.from('torn'), 1).subarray(0, 22));
    const events: SpoolEvent[] = [];
    const later = await openIn(killed, { onEvent: (event) => events.push(event) });
    expect(await allOf(later)).toEqual(['a']);
    await append(later, 'b');
    expect(await allOf(later)).toEqual(['b']);
    expect(events).toEqual([]);
  });
});

describe('a spool that is killed at any byte', () => {
  it('delivers everything whose append had resolved, in order, and of the rest only whole records', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 12 }),
        fc.nat(12),
        fc.nat(12),
        fc.nat(),
        async (texts, durableCount, deliveredCount, seed) => {
          const folder = newFolder();
          const spool = await openIn(folder, { segmentBytes: 120 });
          const durable = texts.slice(0, durableCount);
          for (const text of durable) await append(spool, text);
          const delivered = Math.min(deliveredCount, durable.length);
          for (let count = 0; count < delivered; count += 1) await next(spool);
          const promised = new Map(segmentsIn(folder).map((file) => [path.basename(file), statSync(file).size]));
          // These were under way, and as much of them reached the file as the kill left time for.
          for (const text of texts.slice(durableCount)) await append(spool, text);
          const killed = likeKilled(folder);
          for (const file of segmentsIn(killed)) {
            const least = promised.get(path.basename(file)) ?? 0;
            truncateSync(file, least + (seed % (statSync(file).size - least + 1)));
          }
          const events: SpoolEvent[] = [];
          const found = await allOf(await openIn(killed, { onEvent: (event) => events.push(event) }));
          const owed = durable.slice(delivered);
          expect(found.slice(0, owed.length)).toEqual(owed);
          for (const text of found.slice(owed.length)) expect(texts.slice(durableCount)).toContain(text);
          expect(events).toEqual([]);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('survives any garbage in any of its files: it opens, delivers what is whole, and takes more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 30 }), async (seed, garbage) => {
        const folder = newFolder();
        const spool = await openIn(folder, { segmentBytes: 60 });
        const texts = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth'];
        for (const text of texts) await append(spool, text);
        await next(spool);
        const killed = likeKilled(folder);
        const files = [...segmentsIn(killed), path.join(killed, 'position')];
        const file = files[seed % files.length] ?? '';
        const content = readFileSync(file);
        content.set(garbage.subarray(0, content.length), seed % Math.max(1, content.length - garbage.length));
        writeFileSync(file, content);
        const later = await openIn(killed);
        for (const text of await allOf(later)) expect(texts).toContain(text);
        await append(later, 'seventh');
        expect(await allOf(later)).toEqual(['seventh']);
      }),
      { numRuns: 100 },
    );
  });
});
