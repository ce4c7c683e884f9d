import { describe, expect, it } from 'vitest';
import { addPort, durationMs, UsageError } from './settings.ts';

describe('a duration', () => {
  it.each([
    ['500ms', 500],
    ['60s', 60_000],
    ['1.5h', 5_400_000],
  ])('%s is %d ms', (text, expected) => expect(durationMs(text)).toBe(expected));

  it.each(['', '60', 's', '-1s', '1d', '1s1'])('%j is refused', (text) =>
    expect(() => durationMs(text)).toThrow(UsageError),
  );
});

describe('a port', () => {
  it('is chosen by name', () => {
    expect([...addPort('api=9000', addPort('broker=1884', new Map()))]).toEqual([
      ['broker', 1884],
      ['api', 9000],
    ]);
  });

  it.each(['api', 'api=', 'api=0', 'api=65536', 'http=80', 'api=80x'])('%j is refused', (text) => {
    expect(() => addPort(text, new Map())).toThrow(UsageError);
  });
});
