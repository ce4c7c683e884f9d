import { describe, expect, it } from 'vitest';
import { wantsColour } from './watch-command.ts';

describe('colours', () => {
  it.each<[boolean, Record<string, string>, boolean]>([
    [true, {}, true],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [true, { FORCE_COLOR: '0' }, false],
    [true, { FORCE_COLOR: '1', NO_COLOR: '1' }, true],
    [true, { FORCE_COLOR: '', NO_COLOR: '1' }, false],
    [false, { FORCE_COLOR: '1' }, false],
  ])('by option %s and %o: %s', (option, environment, expected) => {
    expect(wantsColour(option, environment)).toBe(expected);
  });
});
