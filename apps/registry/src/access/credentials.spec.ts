import { describe, expect, it } from 'vitest';
import { leastUsed } from './credentials.ts';

const brokers = ['a', 'b', 'c'].map((name) => ({ name, url: `mqtts://${name}:8883` }));

describe('a device is assigned', () => {
  it.each([
    [{}, 'a'],
    [{ a: 2, b: 1, c: 1 }, 'b'],
    [{ a: 1, b: 1 }, 'c'],
    [{ gone: 9, a: 1, b: 1, c: 1 }, 'a'],
  ])('with %j devices on the brokers to %s', (counts, expected) =>
    expect(leastUsed(brokers, new Map(Object.entries(counts))).name).toBe(expected),
  );

  it('to no broker where there is none', () => expect(() => leastUsed([], new Map())).toThrow(RangeError));
});
