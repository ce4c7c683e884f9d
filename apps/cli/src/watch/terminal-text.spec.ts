import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitText, padText } from './terminal-text.ts';

describe('a text of others in a terminal', () => {
  it.each([
    ['an ordinary one', 'temp', 10, 'temp', 4],
    ['one that just fits', 'temp', 4, 'temp', 4],
    ['one that is too long', 'temperature', 5, 'temp…', 5],
    ['one for which there is no room', 'temp', 0, '', 0],
    ['one for which there is one column', 'temp', 1, '…', 1],
    ['wide letters', '漢字', 10, '漢字', 4],
    ['wide letters of which one does not fit', '漢字漢', 4, '漢…', 3],
    ['one wide emoji', 'a😀b', 10, 'a😀b', 4],
    ['a sequence of emoji, which terminals draw with different widths', '👨‍👩‍👧 ok', 10, '\uFFFD ok', 4],
    ['an emoji by its selector', '❤\uFE0F', 10, '\uFFFD', 1],
    ['letters with marks', 'e\u0301 u\u0308 नि', 10, 'é ü नि', 5],
    ['marks piled up', `e${'\u0335'.repeat(50)}x`, 10, '\uFFFDx', 2],
    ['a mark alone', '\u0301x', 10, '\uFFFDx', 2],
    ['what clears a screen', '\u001b[2Jhot\r\n\u009b1m', 20, '\uFFFD[2Jhot\uFFFD\uFFFD1m', 11],
    ['what turns the direction of a line', 'a\u202Eb\u2066c', 10, 'a\uFFFDb\uFFFDc', 5],
    ['separators of lines', 'a\u2028b\tc', 10, 'a\uFFFDb\uFFFDc', 5],
    ['half a surrogate pair', 'a\ud83d', 10, 'a\uFFFD', 2],
  ])('%s', (_, text, maxColumns, shown, columns) => {
    expect(fitText(text, maxColumns)).toEqual({ text: shown, columns });
  });

  it('never takes more columns than it is given, never steers, and is gone through only as far as it is shown', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.nat(80), (text, maxColumns) => {
        const fitted = fitText(text, maxColumns);
        expect(fitted.columns).toBeLessThanOrEqual(maxColumns);
        expect(fitted.text).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
        expect(fitText(fitted.text, maxColumns)).toEqual(fitted);
      }),
    );
    const startedAt = performance.now();
    expect(fitText('x'.repeat(50_000_000), 5)).toEqual({ text: 'xxxx…', columns: 5 });
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  it('can be padded to exactly so many columns', () => {
    expect(padText('漢', 4)).toBe('漢  ');
    expect(padText('temperature', 4)).toBe('tem…');
  });
});
