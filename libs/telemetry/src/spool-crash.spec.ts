import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { SpoolFullError } from './spool-error.ts';
import { Spool } from './spool.ts';

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function openIn(folder: string): Promise<Spool> {
  const onEvent = (): undefined => undefined;
  const spool = await Spool.open({ folder, maxBytes: 100_000_000, maxAgeDays: 7, segmentBytes: 50_000, onEvent });
  cleanUps.push(() => spool.close());
  return spool;
}

async function* texts(spool: Spool): AsyncGenerator<string> {
  for (let chunk = await spool.read(10_000); chunk !== undefined; chunk = await spool.read(10_000)) {
    for (const record of chunk.records) yield Buffer.from(record).toString();
    await spool.commit(chunk);
  }
}

/** Appends until it is killed, several at a time, and says which it was told are durable; every now and then it delivers. */
const APPENDER = `
const [jiti, module, folder, first] = process.argv.slice(1);
const { createJiti } = await import(jiti);
const { Spool } = await createJiti(module).import(module);
const { writeSync } = await import('node:fs');
const spool = await Spool.open({ folder, maxBytes: 100_000_000, maxAgeDays: 7, segmentBytes: 50_000, onEvent: () => {} });
let index = Number(first);
const appendAll = async () => {
  for (;;) {
    const own = index++;
    await spool.append(Buffer.from(own + ' ' + 'x'.repeat(own % 3_000)));
    writeSync(1, 'durable ' + own + '\\n');
  }
};
void Promise.all(Array.from({ length: 8 }, appendAll));
for (;;) {
  const chunk = await spool.read(2_000);
  if (chunk === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
  else {
    writeSync(1, chunk.records.map((record) => 'delivered ' + parseInt(Buffer.from(record).toString()) + '\\n').join(''));
    await spool.commit(chunk);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}`;

describe('a process that appends and is killed', () => {
  it('loses nothing that was durable, and delivers nothing twice but what it had just delivered', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const reports = mkdtempSync(path.join(tmpdir(), 'reports-'));
    const durable = new Set<number>();
    const delivered = new Map<number, number>();
    const jiti = pathToFileURL(path.resolve('node_modules/jiti/lib/jiti.mjs')).href;
    for (let round = 0; round < 6; round += 1) {
      const first = Math.max(-1, ...durable) + 1_000;
      const args = ['--input-type=module', '-e', APPENDER, jiti, path.join(import.meta.dirname, 'spool.ts'), folder];
      const report = path.join(reports, `${round}`);
      const output = openSync(report, 'a');
      const child = spawn(process.execPath, [...args, String(first)], { stdio: ['ignore', output, 'inherit'] });
      closeSync(output);
      cleanUps.push(() => child.kill('SIGKILL'));
      const ended = new Promise((resolve) => child.once('close', resolve));
      const beforeMs = Date.now();
      while (statSync(report).size < 2_000 && Date.now() - beforeMs < 20_000) await delay(5);
      await delay(20 * round);
      child.kill('SIGKILL');
      await ended;
      const said = readFileSync(report, 'utf8');
      for (const line of said.split('\n')) {
        const [word, number] = line.split(' ');
        if (word === 'durable') durable.add(Number(number));
        if (word === 'delivered') delivered.set(Number(number), (delivered.get(Number(number)) ?? 0) + 1);
      }
    }
    expect(durable.size).toBeGreaterThan(300);
    const spool = await openIn(folder);
    const late = new Set<number>();
    for await (const text of texts(spool)) {
      const number = Number.parseInt(text, 10);
      expect(text).toBe(`${number} ${'x'.repeat(number % 3_000)}`);
      late.add(number);
    }
    expect([...durable].filter((number) => !late.has(number) && !delivered.has(number))).toEqual([]);
    // A chunk may have been delivered and not committed at each of six kills.
    expect([...late].filter((number) => delivered.has(number)).length).toBeLessThanOrEqual(40);
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(['lock', 'position']));
  }, 120_000);
});

/** The methods of every open file, to make a disk slow or faulty. */
async function fileMethods(): Promise<FileHandle> {
  const handle = await open(import.meta.filename, 'r');
  await handle.close();
  return Object.getPrototypeOf(handle) as FileHandle;
}

describe('a disk', () => {
  it('has synchronized a record before its append resolves, and many that meet at once', async () => {
    const spool = await openIn(mkdtempSync(path.join(tmpdir(), 'spool-')));
    const methods = await fileMethods();
    const { datasync } = methods;
    let synchronized = 0;
    const spy = vi.spyOn(methods, 'datasync').mockImplementation(async function (this: FileHandle) {
      await delay(20);
      await datasync.call(this);
      synchronized += 1;
    });
    cleanUps.push(() => spy.mockRestore());
    await spool.append(Buffer.from('a'));
    expect(synchronized).toBe(1);
    await Promise.all(Array.from({ length: 100 }, (_, index) => spool.append(Buffer.from(`${index}`))));
    expect(synchronized).toBe(3);
  });

  it('that fails to synchronize makes the append reject, and the file is not written to again', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const spool = await openIn(folder);
    await spool.append(Buffer.from('before'));
    const fault = Object.assign(new Error('i/o error'), { code: 'EIO' });
    const spy = vi.spyOn(await fileMethods(), 'datasync').mockRejectedValueOnce(fault);
    cleanUps.push(() => spy.mockRestore());
    await expect(spool.append(Buffer.from('lost'))).rejects.toMatchObject({ code: 'disk-failed', cause: fault });
    expect(spool.isFull).toBe(false);
    await spool.append(Buffer.from('after'));
    expect(readdirSync(folder).filter((name) => name.endsWith('.spool'))).toHaveLength(2);
    const found: string[] = [];
    for await (const each of texts(spool)) found.push(each);
    expect(found).toEqual(['before', 'after']);
  });

  it('that takes a record piece by piece has it whole in the end', async () => {
    const spool = await openIn(mkdtempSync(path.join(tmpdir(), 'spool-')));
    const methods = await fileMethods();
    const { write } = methods as unknown as {
      readonly write: (...given: unknown[]) => ReturnType<FileHandle['write']>;
    };
    const spy = vi.spyOn(methods, 'write').mockImplementation(function (
      this: FileHandle,
      ...[bytes, offset, length, position]: readonly unknown[]
    ) {
      return write.call(this, bytes, offset, Math.min(Number(length), 7), position);
    });
    cleanUps.push(() => spy.mockRestore());
    await Promise.all([spool.append(Buffer.from('x'.repeat(100))), spool.append(Buffer.from('y'))]);
    const found: string[] = [];
    for await (const each of texts(spool)) found.push(each);
    expect(found).toEqual(['x'.repeat(100), 'y']);
  });
});

/** A disk of two megabytes of its own; undefined, and the reason printed, where this machine does not let us mount one. */
function smallDisk(): string | undefined {
  const folder = mkdtempSync(path.join(tmpdir(), 'disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder], { stdio: 'pipe' });
  } catch (error) {
    process.stderr.write(`no small disk can be mounted here: ${error instanceof Error ? error.message : ''}\n`);
    rmSync(folder, { recursive: true });
    return undefined;
  }
  cleanUps.push(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

describe('a full disk', () => {
  it('refuses an append with a clear error and leaves what was there whole', async ({ skip }) => {
    const disk = smallDisk();
    if (disk === undefined) return skip('a tmpfs cannot be mounted here');
    const spool = await openIn(path.join(disk, 'spool'));
    const text = (index: number): string => `${index} ${'x'.repeat(30_000)}`;
    const stored: number[] = [];
    let error: unknown;
    for (let index = 0; error === undefined && index < 200; index += 1) {
      await spool.append(Buffer.from(text(index))).then(
        () => stored.push(index),
        (reason: unknown) => (error = reason),
      );
    }
    expect(error).toBeInstanceOf(SpoolFullError);
    expect(error).toMatchObject({ code: 'disk-full', message: expect.stringContaining(disk) });
    expect(stored.length).toBeGreaterThan(50);
    expect(spool.isFull).toBe(true);
    // The part of the record that the disk had room for is gone again.
    expect(spool.bytesOnDisk).toBe(spool.depth.bytes);
    expect(statfsSync(disk).bfree * statfsSync(disk).bsize).toBeGreaterThan(0);
    const found: string[] = [];
    for await (const each of texts(spool)) found.push(each);
    expect(found).toEqual(stored.map(text));
    expect(spool.isFull).toBe(false);
    await spool.append(Buffer.from('room again'));
    expect(spool.depth.bytes).toBeGreaterThan(0);
  });

  it('is survived by several appends at once, by a restart on it, and by the end of whatever filled it', async ({
    skip,
  }) => {
    const disk = smallDisk();
    if (disk === undefined) return skip('a tmpfs cannot be mounted here');
    const folder = path.join(disk, 'spool');
    const first = await openIn(folder);
    await first.append(Buffer.from('before'));
    const filler = path.join(disk, 'filler');
    mkdirSync(filler);
    const fill = (index: number, bytes: number): void => {
      try {
        for (let number = 0; ; number += 1) writeFileSync(path.join(filler, `${index}-${number}`), Buffer.alloc(bytes));
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' });
      }
    };
    [100_000, 4_096, 1].forEach((bytes, index) => fill(index, bytes));
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => first.append(Buffer.from(`${index}`.repeat(5_000)))),
    );
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'SpoolFullError', code: 'disk-full' } });
    }
    await first.close();
    const second = await openIn(folder);
    expect(second.isFull).toBe(false);
    await expect(second.append(Buffer.alloc(10_000))).rejects.toThrow(SpoolFullError);
    rmSync(filler, { recursive: true });
    await second.append(Buffer.from('after'));
    expect(second.isFull).toBe(false);
    const found: string[] = [];
    for await (const each of texts(second)) found.push(each);
    expect(found).toEqual(['before', 'after']);
  });
});
