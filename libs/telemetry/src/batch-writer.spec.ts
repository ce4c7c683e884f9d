import { describe, expect, it, vi } from 'vitest';
import { BatchWriter, type BatchWriterOptions } from './batch-writer.ts';
import type { WriteOutcome } from './influx.ts';

function writerWith(write: BatchWriterOptions['write'], options: Partial<BatchWriterOptions> = {}): BatchWriter {
  return new BatchWriter({
    write,
    maxLines: 10,
    maxDelayMs: 5,
    concurrency: 2,
    onUnavailable: () => undefined,
    onWritten: () => undefined,
    ...options,
  });
}

async function storedBy(
  writer: BatchWriter,
  lines: readonly string[],
): Promise<ReadonlyMap<string, string | undefined>> {
  const outcomes = new Map<string, string | undefined>();
  await Promise.all(
    lines.map(
      (line) =>
        new Promise<void>((resolve) =>
          writer.add({ line, done: (refusal) => (outcomes.set(line, refusal), resolve()) }),
        ),
    ),
  );
  return outcomes;
}

const stored: WriteOutcome = { kind: 'stored' };

describe('a batch writer', () => {
  it('writes a full batch at once and a lonely line after the delay', async () => {
    const write = vi.fn<BatchWriterOptions['write']>().mockResolvedValue(stored);
    const writer = writerWith(write);
    await storedBy(
      writer,
      Array.from({ length: 11 }, (_, index) => `l${index}`),
    );
    expect(write.mock.calls.map(([lines]) => lines.length)).toEqual([10, 1]);
  });

  it('B9 gives up the one bad line of a batch and stores the others', async () => {
    const written = new Set<string>();
    const writer = writerWith((lines) => {
      if (lines.includes('bad')) return Promise.resolve({ kind: 'refused', reason: 'field type conflict' });
      for (const line of lines) written.add(line);
      return Promise.resolve(stored);
    });
    const outcomes = await storedBy(writer, ['a', 'b', 'bad', 'c', 'd']);
    expect(outcomes.get('bad')).toBe('field type conflict');
    expect([...written].sort()).toEqual(['a', 'b', 'c', 'd']);
    expect(outcomes.get('a')).toBeUndefined();
    expect(writer.depth).toBe(0);
  });

  it('tries a batch again until the outage is over, and tells of it', async () => {
    let failures = 2;
    const onUnavailable = vi.fn();
    const writer = writerWith(
      () => Promise.resolve(failures-- > 0 ? { kind: 'unavailable', reason: 'connection refused' } : stored),
      { onUnavailable },
    );
    const outcomes = await storedBy(writer, ['a']);
    expect(outcomes.get('a')).toBeUndefined();
    expect(onUnavailable).toHaveBeenCalledTimes(2);
  });

  it('leaves what it could not write before its end unsettled, so that it stays with the broker', async () => {
    const writer = writerWith(() => Promise.resolve({ kind: 'unavailable', reason: 'away' }));
    const done = vi.fn();
    writer.add({ line: 'a', done });
    expect(await writer.close(50)).toBe(1);
    expect(done).not.toHaveBeenCalled();
  });

  it('writes what it has gathered when it is closed', async () => {
    const done = vi.fn();
    const writer = writerWith(() => Promise.resolve(stored), { maxDelayMs: 60_000 });
    writer.add({ line: 'a', done });
    expect(await writer.close(1_000)).toBe(0);
    expect(done).toHaveBeenCalledExactlyOnceWith(undefined);
  });

  it('drops a line whose message has gone back to the broker, and writes its neighbours', async () => {
    let failures = 1;
    let isLost = false;
    const written: string[] = [];
    const writer = writerWith((lines) => {
      if (failures-- > 0) return Promise.resolve({ kind: 'unavailable', reason: 'away' });
      written.push(...lines);
      return Promise.resolve(stored);
    });
    const dropped = vi.fn();
    writer.add({ line: 'dropped', done: dropped, isObsolete: () => isLost });
    const kept = storedBy(writer, ['kept']);
    setTimeout(() => (isLost = true), 20);
    await kept;
    expect(written).toEqual(['kept']);
    expect(dropped).not.toHaveBeenCalled();
    expect(writer.depth).toBe(0);
  });
});
