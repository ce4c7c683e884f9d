import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { plain, table, waitingFor } from './output.ts';
import { perSecond, readingsTotal } from './up/screen.ts';

describe('a table', () => {
  it('has columns as wide as their widest cell and no blanks at the end', () => {
    expect(
      table(
        ['A', 'B'],
        [
          ['long cell', 'x'],
          ['y', ''],
        ],
      ),
    ).toBe('A          B\nlong cell  x\ny');
  });
});

describe('text of a device', () => {
  it('cannot steer a terminal', () => {
    expect(plain('\u001b[2Jhot\r\n\u009b1m')).toBe('\uFFFD[2Jhot\uFFFD\uFFFD\uFFFD1m');
  });
});

describe('the count of readings', () => {
  it('is read from the metrics', () => {
    expect(readingsTotal('# HELP x\nmuster_ingestion_readings_total{service="ingestion"} 42\n')).toBe(42);
    expect(readingsTotal('')).toBe(0);
  });

  it('is the sum over all brokers', () => {
    const line = (broker: string, count: number): string =>
      `muster_ingestion_readings_total{broker="${broker}",service="ingestion"} ${count}\n`;
    expect(readingsTotal(line('mosquitto-0', 40) + line('mosquitto-1', 2))).toBe(42);
  });
});

describe('the rate of readings', () => {
  it('is over all samples, and never negative', () => {
    const sample = (readings: number, atMs: number): { readings: number; atMs: number } => ({ readings, atMs });
    expect(perSecond([])).toBe(0);
    expect(perSecond([sample(10, 0)])).toBe(0);
    expect(perSecond([sample(10, 0), sample(10, 4_000), sample(85, 5_000)])).toBe(15);
    expect(perSecond([sample(100, 0), sample(0, 1_000)])).toBe(0);
  });
});

describe('what is waited for', () => {
  const { stderr } = process;
  const { isTTY } = stderr;
  afterEach(() => {
    vi.restoreAllMocks();
    stderr.isTTY = isTTY;
  });

  function written(): string[] {
    const texts: string[] = [];
    vi.spyOn(stderr, 'write').mockImplementation((text) => texts.push(String(text)) > 0);
    return texts;
  }

  it('is told on a terminal when it takes long, and taken away at the end, whatever the end', async () => {
    stderr.isTTY = true;
    const texts = written();
    expect(await waitingFor('waiting', delay(700, 'done'))).toBe('done');
    expect(texts).toEqual(['\r\u001b[Kwaiting (0 s)', '\r\u001b[K']);
    const failing = delay(1_700).then(() => Promise.reject(new Error('failed')));
    await expect(waitingFor('waiting', failing)).rejects.toThrow('failed');
    expect(texts.slice(2)).toEqual(['\r\u001b[Kwaiting (0 s)', '\r\u001b[Kwaiting (1 s)', '\r\u001b[K']);
  });

  it('is not told when it is quick, or where nobody looks', async () => {
    stderr.isTTY = true;
    const texts = written();
    await waitingFor('waiting', Promise.resolve());
    stderr.isTTY = false;
    await waitingFor('waiting', delay(700));
    expect(texts).toEqual([]);
  });
});
