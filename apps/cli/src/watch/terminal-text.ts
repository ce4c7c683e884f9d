import { eastAsianWidth } from 'get-east-asian-width';

const REPLACEMENT = '\uFFFD';
/** With more marks it is no letter of a language, but a pile that covers the lines above and below. */
const LETTER_WITH_MARKS = /^\p{L}\p{M}{1,3}$/u;
/** Control, format (bidirectional overrides, zero width), surrogate, private and unassigned characters. */
const NO_GLYPH = /^\p{C}$/u;
/** Line and paragraph separators, and the marks and selectors that stand alone. */
const NO_WIDTH = /^[\p{Zl}\p{Zp}\p{M}]$/u;

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** A text and the columns that it takes in a terminal. */
export interface FittedText {
  readonly text: string;
  readonly columns: number;
}

/** Columns of one grapheme; undefined where terminals do not agree, or where it would steer them. */
function columnsOf(grapheme: string): 1 | 2 | undefined {
  const codePoint = grapheme.codePointAt(0);
  if (codePoint === undefined) return undefined;
  const isSingle = grapheme.length === String.fromCodePoint(codePoint).length;
  if (isSingle) return NO_GLYPH.test(grapheme) || NO_WIDTH.test(grapheme) ? undefined : eastAsianWidth(codePoint);
  return LETTER_WITH_MARKS.test(grapheme) ? eastAsianWidth(codePoint) : undefined;
}

/**
 * A text that others wrote, safe for one line of a terminal: not wider than `maxColumns`, cut with `…`. What could steer
 * the terminal, and what terminals draw with different widths (sequences of emoji), becomes U+FFFD.
 */
export function fitText(text: string, maxColumns: number): FittedText {
  // Nearly all of it is, and one column each.
  if (text.length <= maxColumns && PRINTABLE_ASCII.test(text)) return { text, columns: text.length };
  // Enough for any honest text, and a huge one is not gone through for each frame.
  const start = text.slice(0, 4 * Math.max(0, maxColumns) + 64);
  let fitted = '';
  let columns = 0;
  let shorter: FittedText = { text: '', columns: 0 };
  let isCut = start.length < text.length;
  for (const { segment } of graphemes.segment(start.normalize('NFC'))) {
    const known = columnsOf(segment);
    const width = known ?? 1;
    if (columns + width > maxColumns) {
      isCut = true;
      break;
    }
    fitted += known === undefined ? REPLACEMENT : segment;
    columns += width;
    // The ellipsis needs a column of its own.
    if (columns < maxColumns) shorter = { text: fitted, columns };
  }
  if (!isCut) return { text: fitted, columns };
  return maxColumns < 1 ? shorter : { text: `${shorter.text}…`, columns: shorter.columns + 1 };
}

/** A text in exactly so many columns, cut or followed by blanks. */
export function padText(text: string, columns: number): string {
  const fitted = fitText(text, columns);
  return fitted.text + ' '.repeat(Math.max(0, columns - fitted.columns));
}
