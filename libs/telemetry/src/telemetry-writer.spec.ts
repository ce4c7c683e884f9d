import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { SpoolFullError } from './spool-error.ts';
import { drained, fail, linesOf, openSpool, scene, type Answer } from './telemetry-writer-scene.ts';

describe('a telemetry writer', () => {
  it('resolves when InfluxDB has the lines: a full batch at once, a lonely line after the delay', async () => {
    const { influx, writer, spool } = await scene();
    const lines = linesOf(0, 101);
    expect(new Set(await Promise.all(lines.map((line) => writer.write([line]))))).toEqual(new Set(['influxdb']));
    expect(influx.writes.map((write) => write.lines.length)).toEqual([100, 1]);
    expect(influx.stored).toEqual(lines);
    expect(influx.writes[0]?.request.url).toBe('/write?db=muster&precision=ms');
    expect(spool.bytesOnDisk).toBe(0);
    expect(writer.heldBytes).toBe(0);
  });

  it('seals a batch by its length too, and answers with the batch', async () => {
    const { influx, writer } = await scene({ maxBatchBytes: 60, maxDelayMs: 60_000 });
    const [first = '', second = '', third = ''] = linesOf(0, 3);
    const batch = writer.add(first);
    expect(writer.add(second)).toBe(batch);
    expect(batch.lines.count).toBe(2);
    expect(await batch.stored).toBe('influxdb');
    expect(writer.add(third)).not.toBe(batch);
    expect(influx.stored).toEqual([first, second]);
  });

  it('has several requests under way, and never more than it may', async () => {
    const { influx, writer } = await scene({ maxBatchLines: 1, maxRequests: 3 }, {}, { timeoutMs: 5_000 });
    let underWay = 0;
    let most = 0;
    influx.answers((response) => {
      most = Math.max(most, (underWay += 1));
      setTimeout(() => {
        underWay -= 1;
        response.writeHead(204).end();
      }, 20);
    });
    await Promise.all(linesOf(0, 9).map((line) => writer.write([line])));
    expect(most).toBe(3);
  });

  it('compresses what is large enough, where it is asked to', async () => {
    const { influx, writer } = await scene({}, {}, { gzipAboveBytes: 1_000 });
    await writer.write(linesOf(0, 2));
    await writer.write(linesOf(2, 90));
    expect(influx.writes.map(({ request }) => request.headers['content-encoding'])).toEqual([undefined, 'gzip']);
    expect(influx.stored).toEqual(linesOf(0, 92));
  });

  it('puts what a slow InfluxDB leaves waiting into the spool, and replays it', async () => {
    const made = await scene({ maxBatchLines: 1, maxRequests: 1 }, {}, { timeoutMs: 5_000 });
    const { influx, writer } = made;
    influx.answers((response) => setTimeout(() => response.writeHead(204).end(), 50));
    const where = await Promise.all(linesOf(0, 10).map((line) => writer.write([line])));
    expect(where.filter((stored) => stored === 'spool').length).toBeGreaterThanOrEqual(5);
    expect(writer.isAvailable).toBe(true);
    await drained(made);
    expect([...influx.stored].sort()).toEqual([...linesOf(0, 10)].sort());
  });

  it('rejects what would be more in memory than it may hold', async () => {
    const { writer } = await scene({ maxHeldBytes: 100 });
    const kept = writer.write(linesOf(0, 2));
    await expect(writer.write(linesOf(2, 2))).rejects.toMatchObject({ name: 'SpoolFullError', code: 'memory-limit' });
    expect(await kept).toBe('influxdb');
    expect(await writer.write(linesOf(2, 2))).toBe('influxdb');
  });
});

const outages: readonly [name: string, answer: Answer][] = [
  ['503', (response) => fail(response, 503, 'engine: cache maximum memory size exceeded')],
  ['500 for ever after its disk was full', (response) => fail(response, 500, 'no space left on device')],
  ['429', (response) => fail(response, 429, 'too many requests')],
  ['a reset connection', (response) => response.socket?.resetAndDestroy()],
  [
    'a connection closed in the middle of an answer',
    (response) => response.writeHead(200, { 'content-length': '10' }).write('x', () => response.socket?.destroy()),
  ],
  ['no answer', () => undefined],
  ['401', (response) => fail(response, 401, 'authorization failed')],
  ['403', (response) => fail(response, 403, 'not authorized')],
  ['404', (response) => fail(response, 404, 'database not found: "muster"')],
  [
    'a proxy that expects TLS',
    (response) => response.writeHead(400).end('<html>The plain HTTP request was sent to HTTPS port'),
  ],
];

describe('an outage of InfluxDB', () => {
  it.each(outages)(
    'by %s sends lines to the spool at once, refuses none, and brings all of them when it is over',
    async (name, answer) => {
      const made = await scene({ maxBatchLines: 10 });
      const { influx, writer, spool, refused, events } = made;
      expect(await writer.write(linesOf(0, 10))).toBe('influxdb');
      influx.answers(answer);
      expect(await writer.write(linesOf(10, 10))).toBe('spool');
      expect(writer.isAvailable).toBe(false);
      const startedAt = performance.now();
      for (let from = 20; from < 60; from += 10) expect(await writer.write(linesOf(from, 10))).toBe('spool');
      expect(performance.now() - startedAt).toBeLessThan(2_000);
      expect(spool.depth.bytes).toBeGreaterThan(50 * linesOf(0, 1).join().length);
      influx.answersOk();
      await drained(made);
      expect(new Set(influx.stored)).toEqual(new Set(linesOf(0, 60)));
      expect(refused).toEqual([]);
      expect(events.find(({ kind }) => kind === 'unavailable')).toMatchObject({
        attempt: 1,
        isMisconfigured: /^40|TLS/.test(name),
      });
      expect(made.kinds()).toContain('available');
      expect(await writer.write(linesOf(60, 10))).toBe('influxdb');
    },
  );
});

describe('while InfluxDB is away', () => {
  it('one request at a time tries the oldest lines, less and less often', async () => {
    const made = await scene({ maxBatchLines: 1 });
    const { influx, writer } = made;
    influx.answersError(503, 'away');
    for (const line of linesOf(0, 20)) await writer.write([line]);
    const before = influx.writes.length;
    await delay(700);
    const probes = influx.writes.slice(before);
    expect(probes.length).toBeGreaterThanOrEqual(1);
    expect(probes.length).toBeLessThanOrEqual(5);
    for (const { lines } of probes) expect(lines[0]).toBe(linesOf(0, 1)[0]);
    // Small batches of the spool are joined: a night of them is not a request each.
    expect(probes.at(-1)?.lines.length).toBeGreaterThan(5);
  });

  it('and is too slow for so many lines at once, it is asked for fewer, until it has all of them', async () => {
    const made = await scene({ maxBatchLines: 40 }, {}, { timeoutMs: 100 });
    const { influx, writer, refused } = made;
    // It answers in time for no more than ten.
    influx.answers((response, { lines }) => {
      if (lines.length <= 10) response.writeHead(204).end();
    });
    expect(await writer.write(linesOf(0, 40))).toBe('spool');
    await drained(made);
    expect([...influx.stored].sort()).toEqual([...linesOf(0, 40)].sort());
    expect(refused).toEqual([]);
  });

  it('is left alone for as long as it asks to be', async () => {
    const made = await scene();
    const { influx, writer, events } = made;
    influx.answersError(429, 'too many', { 'retry-after': '1' });
    await writer.write(linesOf(0, 1));
    influx.answersOk();
    await delay(800);
    expect(influx.writes).toHaveLength(1);
    expect(events).toContainEqual(expect.objectContaining({ kind: 'unavailable', retryInMs: 1_000 }));
    await drained(made);
    expect(influx.stored).toEqual(linesOf(0, 1));
  });

  it('the spool is replayed oldest first, and live lines go beside it once InfluxDB is back', async () => {
    const made = await scene({ maxBatchLines: 1, maxBatchBytes: 50 });
    const { influx, writer } = made;
    influx.answersError(503, 'away');
    for (const line of linesOf(0, 30)) expect(await writer.write([line])).toBe('spool');
    const live: Promise<unknown>[] = [];
    influx.answers((response, { lines }) => {
      if (lines[0] === linesOf(5, 1)[0]) live.push(writer.write(linesOf(100, 1)));
      setTimeout(() => response.writeHead(204).end(), 5);
    });
    await drained(made);
    expect(await Promise.all(live)).toEqual(['influxdb']);
    expect(influx.stored.filter((line) => line !== linesOf(100, 1)[0])).toEqual(linesOf(0, 30));
    expect(influx.stored.indexOf(linesOf(100, 1)[0] ?? '')).toBeLessThan(29);
  });

  it('a full spool rejects lines, and takes them again when there is room', async () => {
    const made = await scene({ maxBatchLines: 10 }, { maxBytes: 3_000 });
    const { influx, writer, events } = made;
    influx.answersError(503, 'away');
    let taken = 0;
    const write = (): Promise<unknown> => writer.write(linesOf(taken * 10, 10)).then(() => (taken += 1));
    const error: unknown = await (async () => {
      for (;;) await write();
    })().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SpoolFullError);
    expect(taken).toBeGreaterThan(3);
    expect(events).toContainEqual({ kind: 'rejected', lines: 10, error });
    influx.answersOk();
    await drained(made);
    expect(influx.stored).toEqual(linesOf(0, taken * 10));
    await write();
  });

  it('what has waited longer than the age limit is given up, which makes room', async () => {
    let nowMs = Date.now();
    const onEvent = vi.fn();
    const limits = { maxBytes: 1_500, segmentBytes: 1, maxAgeDays: 1, onEvent, now: () => nowMs };
    const { influx, writer, spool } = await scene({ maxBatchLines: 10 }, limits);
    influx.answersError(503, 'away');
    await expect(
      Promise.all([0, 10, 20, 30, 40, 50, 60].map((from) => writer.write(linesOf(from, 10)))),
    ).rejects.toThrow(SpoolFullError);
    expect(spool.isFull).toBe(true);
    nowMs += 2 * 86_400_000;
    await vi.waitFor(() => expect(spool.isEmpty).toBe(true), { timeout: 5_000 });
    expect(onEvent).toHaveBeenCalledWith(expect.objectContaining({ kind: 'expired' }));
    expect(spool.isFull).toBe(false);
  });

  it('and the spool has no room for a single line, the next live lines try whether it is back', async () => {
    const { influx, writer } = await scene({}, { maxBytes: 10 });
    influx.answersError(503, 'away');
    await expect(writer.write(linesOf(0, 1))).rejects.toThrow(SpoolFullError);
    influx.answersOk();
    await vi.waitFor(async () => expect(await writer.write(linesOf(1, 1))).toBe('influxdb'), { timeout: 2_000 });
  });
});

describe('what an earlier process has left in the spool', () => {
  it('is replayed at the start, text with line breaks included', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const left = ['telemetry,device=d mode_text="two\nlines, a=b \\"quoted\\"\n" 1', ...linesOf(0, 3)];
    const before = await openSpool(folder);
    await before.append(Buffer.from(left.join('\n')));
    await before.close();
    const made = await scene({}, { folder });
    await drained(made);
    expect(made.influx.writes.map(({ lines }) => lines)).toEqual([left]);
    expect(made.events).toContainEqual({ kind: 'replayed', lines: 4 });
  });
});

describe('lines in the spool that are not wanted any more', () => {
  const [first = '', second = '', third = ''] = linesOf(0, 3);

  it('are left out of the replay and counted, and the others are written', async () => {
    const made = await scene({ isWanted: (line) => line !== second });
    made.influx.answersError(503, 'away');
    await made.writer.write([first, second, third]);
    made.influx.answersOk();
    await drained(made);
    expect(made.influx.stored).toEqual([first, third]);
    expect(made.refused).toEqual([]);
    expect(made.events.filter(({ kind }) => kind === 'left-out')).toEqual([{ kind: 'left-out', lines: 1 }]);
    expect(made.events).toContainEqual({ kind: 'replayed', lines: 2 });
  });

  it('are left out as well where they came to be so after the first attempts', async () => {
    const unwanted = new Set<string>();
    const made = await scene({ isWanted: (line) => !unwanted.has(line) });
    made.influx.answersError(503, 'away');
    await made.writer.write([first, second, third]);
    await vi.waitFor(() => expect(made.influx.writes.length).toBeGreaterThan(2), { timeout: 5_000 });
    unwanted.add(first);
    made.influx.answersOk();
    await drained(made);
    expect(made.influx.stored).toEqual([second, third]);
    expect(made.events.filter(({ kind }) => kind === 'left-out')).toEqual([{ kind: 'left-out', lines: 1 }]);
  });

  it('empty the spool where they are all that is in it, though InfluxDB is away, and live lines try it again', async () => {
    let isWanted = true;
    const made = await scene({ isWanted: () => isWanted });
    made.influx.answersError(503, 'away');
    await made.writer.write([first, second]);
    isWanted = false;
    await drained(made);
    expect(made.influx.stored).toEqual([]);
    made.influx.answersOk();
    await vi.waitFor(async () => expect(await made.writer.write([third])).toBe('influxdb'), { timeout: 5_000 });
    expect(made.influx.stored).toEqual([third]);
  });

  it('of an earlier process are not replayed before it is known which they are', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const before = await openSpool(folder);
    await before.append(Buffer.from([first, second].join('\n')));
    await before.close();
    let tell = (): void => undefined;
    const known = new Promise<void>((resolve) => (tell = resolve));
    const unwanted = new Set<string>();
    const made = await scene({ isWanted: (line) => !unwanted.has(line), replayAfter: known }, { folder });
    await delay(100);
    expect(made.influx.writes).toEqual([]);
    unwanted.add(first);
    tell();
    await drained(made);
    expect(made.influx.stored).toEqual([second]);
  });

  it('hold up no end of the writer while it is not known which they are', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const before = await openSpool(folder);
    await before.append(Buffer.from(first));
    await before.close();
    const made = await scene({ replayAfter: new Promise(() => undefined) }, { folder });
    await made.writer.close(1_000);
    expect(made.spool.isEmpty).toBe(false);
  });
});

describe('the end of a telemetry writer', () => {
  it('writes what was gathered', async () => {
    const { influx, writer, spool } = await scene({ maxDelayMs: 60_000 });
    const stored = writer.write(linesOf(0, 3));
    await writer.close(1_000);
    expect(await stored).toBe('influxdb');
    expect(influx.stored).toEqual(linesOf(0, 3));
    expect(spool.isEmpty).toBe(true);
    await expect(writer.write(linesOf(3, 1))).rejects.toMatchObject({ code: 'closed' });
  });

  it('puts into the spool what InfluxDB has not taken within its limit, for the next start', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const { influx, writer, spool } = await scene(
      { maxBatchLines: 1, maxRequests: 2 },
      { folder },
      { timeoutMs: 60_000 },
    );
    influx.answers(() => undefined);
    const stored = linesOf(0, 5).map((line) => writer.write([line]));
    const startedAt = performance.now();
    await writer.close(100);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(await Promise.all(stored)).toEqual(Array(5).fill('spool'));
    await spool.close();
    const later = await scene({}, { folder });
    await drained(later);
    expect(new Set(later.influx.stored)).toEqual(new Set(linesOf(0, 5)));
  });

  it('leaves what is in the spool there while InfluxDB is away', async () => {
    const { influx, writer, spool } = await scene();
    influx.answersError(503, 'away');
    await writer.write(linesOf(0, 3));
    const gathered = writer.write(linesOf(3, 3));
    await writer.close(5_000);
    expect(await gathered).toBe('spool');
    expect(spool.isEmpty).toBe(false);
  });
});
