import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { SpoolTail, type Segment } from './spool-tail.ts';

describe('the end of a spool whose folder takes no new file', () => {
  it('begins no segment, however often it is tried, and one when the folder is there again', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spool-'));
    const segments = new Set<Segment>();
    let sequence = 0;
    const tail = new SpoolTail({
      folder,
      segmentBytes: 1_000,
      begin: (firstAtMs) => {
        sequence += 1;
        const segment = { sequence, file: path.join(folder, `${sequence}`), firstAtMs, bytes: 0, lastAtMs: firstAtMs };
        segments.add(segment);
        return segment;
      },
      onNotBegun: (segment) => segments.delete(segment),
      onStored: () => undefined,
      onFailed: () => undefined,
    });
    rmSync(folder, { recursive: true });
    for (let attempt = 0; attempt < 100; attempt += 1)
      await expect(tail.append(Buffer.from('x'), 0)).rejects.toMatchObject({ code: 'disk-failed' });
    expect(segments.size).toBe(0);
    await mkdir(folder);
    await tail.append(Buffer.from('x'), 0);
    expect([...segments].map(({ bytes }) => bytes > 0)).toEqual([true]);
    expect(readdirSync(folder)).toEqual(['101']);
    await tail.close();
  });
});
