import { describe, expect, it } from 'vitest';
import { plain, table } from './device-commands.ts';
import { readingsTotal } from './up/screen.ts';

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
});
