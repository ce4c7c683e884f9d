import { describe, expect, it } from 'vitest';
import { startedAtMs } from './process-start.ts';
import { bornAtMs } from './services-back.ts';

describe('the status of a service', () => {
  it.each([
    ['{"status":"online","timestamp":1700000000000}', 1_700_000_000_000],
    ['{"status":"online"}', undefined],
    ['{"status":"offline","timestamp":1,"reason":"unexpected"}', undefined],
    ['online', undefined],
    ['', undefined],
    ['null', undefined],
  ])('%s was born at %s', (text, expected) => expect(bornAtMs(Buffer.from(text))).toBe(expected));
});

describe('the start of a process', () => {
  it('is known of this one', () => {
    const expected = Date.now() - process.uptime() * 1000;
    expect(Math.abs((startedAtMs(process.pid) ?? 0) - expected)).toBeLessThan(2_000);
  });

  it.each([0, -1, Number.NaN, 4_194_305])('is not known of %d', (pid) => expect(startedAtMs(pid)).toBeUndefined());
});
