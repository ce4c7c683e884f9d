import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frameUpdate, screenKey, styledLine } from './terminal-screen.ts';

describe('a frame', () => {
  it.each([
    ['nothing where nothing changed', ['a', 'b'], ['a', 'b'], []],
    ['only the row that changed', ['a', 'b', 'c'], ['a', 'x', 'c'], ['2:x']],
    ['all rows at first', [], ['a', 'b'], ['1:a', '2:b']],
    ['blanks over rows that are gone', ['a', 'b'], ['a'], ['2:']],
  ])('writes %s', (_, before, after, expected) => {
    const rows = [...frameUpdate(before, after).matchAll(/\u001b\[(\d+);1H(.*?)\u001b\[K/g)];
    expect(rows.map(([, row, text]) => `${row}:${text}`)).toEqual(expected);
  });

  it('never clears the screen, and shows at once in terminals that can', () => {
    const text = fc.array(fc.constantFrom('', 'a', 'bb', 'ccc'), { maxLength: 6 });
    fc.assert(
      fc.property(text, text, (before, after) => {
        const update = frameUpdate(before, after);
        expect(update).not.toMatch(/\u001b\[[0-3]?J/);
        const isSame = Array.from({ length: 6 }).every((__, row) => (before[row] ?? '') === (after[row] ?? ''));
        if (isSame) expect(update).toBe('');
        else expect(update).toMatch(/^\u001b\[\?2026h.*\u001b\[\?2026l$/);
      }),
    );
  });
});

describe('a line', () => {
  const line = [
    { text: 'lab1 ', tone: 'strong' },
    { text: '41 !!', tone: 'critical' },
    { text: ' online', tone: 'good' },
    { text: ' x', tone: 'plain' },
  ] as const;

  it('has its tones', () => {
    expect(styledLine(line, true)).toBe(
      '\u001b[1mlab1 \u001b[0m\u001b[1;31m41 !!\u001b[0m\u001b[32m online\u001b[0m x',
    );
  });

  it('without colours still has its weights, which are none', () => {
    expect(styledLine(line, false)).toBe('\u001b[1mlab1 \u001b[0m\u001b[1m41 !!\u001b[0m online x');
  });
});

describe('a key', () => {
  it.each([
    ['q', { name: 'q' }, 'quit'],
    ['\u0003', { name: 'c', ctrl: true }, 'quit'],
    ['\u0004', { name: 'd', ctrl: true }, 'quit'],
    ['?', { sequence: '?' }, 'help'],
    [undefined, { name: 'up' }, 'up'],
    [undefined, { name: 'pagedown' }, 'page-down'],
    [' ', { name: 'space' }, 'page-down'],
    ['g', { name: 'g' }, 'home'],
    ['G', { name: 'g', shift: true }, 'end'],
    ['x', { name: 'x' }, undefined],
    ['q', { name: 'q', meta: true }, undefined],
    [undefined, { name: 'constructor' }, undefined],
    [undefined, {}, undefined],
  ] as const)('%j %o is for %s', (text, key, expected) => {
    expect(screenKey(text, key)).toBe(expected);
  });
});
