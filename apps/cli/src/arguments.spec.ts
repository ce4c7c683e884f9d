import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { wholeNumber } from './arguments.ts';

describe('a whole number between limits', () => {
  it.each([
    ['0', 0],
    ['7', 7],
    ['100', 100],
  ])('%j is read', (text, expected) => {
    expect(wholeNumber(0, 100)(text)).toBe(expected);
  });

  it.each(['', ' ', '-1', '101', '1.5', '1e1', '0x1', 'ten', '9'.repeat(400)])('%j is refused', (text) => {
    expect(() => wholeNumber(0, 100)(text)).toThrow(InvalidArgumentError);
    expect(() => wholeNumber(0, 100)(text)).toThrow('expected a whole number from 0 to 100.');
  });
});
