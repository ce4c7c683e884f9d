import { describe, expect, it } from 'vitest';
import { plain, table } from './output.ts';
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
