import { emitKeypressEvents, type Key } from 'node:readline';
import type { Line, Tone } from './screen-lines.ts';

/** What somebody wants who presses a key. */
export type ScreenKey = 'quit' | 'help' | 'up' | 'down' | 'page-up' | 'page-down' | 'home' | 'end';

/** Columns and rows of a window. */
export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** Whether a screen has colours, and whom it tells. */
export interface TerminalScreenOptions {
  readonly colour: boolean;
  readonly onKey: (key: ScreenKey) => void;
  readonly onResize: () => void;
}

/*
 * Control functions of ECMA-48 and xterm that every terminal of today has: the alternate screen (1049), no cursor (25),
 * and no wrapping (7), so that a line that a terminal draws wider than it should be ends at the edge.
 */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[H\u001b[2J';
const LEAVE = '\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l';
const CLEAR = '\u001b[H\u001b[2J';
const CLEAR_TO_END_OF_LINE = '\u001b[K';
/** Terminals that know it (2026) show what is between at once; the others ignore it. */
const BEGIN_FRAME = '\u001b[?2026h';
const END_FRAME = '\u001b[?2026l';
/** A window of no known size. */
const FALLBACK: WindowSize = { columns: 80, rows: 24 };

/** Parameters of SGR: weight and inversion, which are no colours, and a colour. */
const STYLES: Readonly<Record<Tone, readonly [weight: string, colour: string]>> = {
  plain: ['', ''],
  dim: ['2', ''],
  strong: ['1', ''],
  bar: ['7', ''],
  good: ['', '32'],
  info: ['', '36'],
  warn: ['', '33'],
  critical: ['1', '31'],
};

const KEYS: Readonly<Record<string, ScreenKey>> = {
  q: 'quit',
  h: 'help',
  k: 'up',
  up: 'up',
  j: 'down',
  down: 'down',
  b: 'page-up',
  pageup: 'page-up',
  space: 'page-down',
  pagedown: 'page-down',
  home: 'home',
  end: 'end',
};

/** What a key that was pressed is for; undefined for the others. */
export function screenKey(text: string | undefined, key: Key): ScreenKey | undefined {
  if (key.ctrl === true) return key.name === 'c' || key.name === 'd' ? 'quit' : undefined;
  if (key.meta === true) return undefined;
  if (text === '?') return 'help';
  if (key.name === 'g') return key.shift === true ? 'end' : 'home';
  return key.name === undefined || !Object.hasOwn(KEYS, key.name) ? undefined : KEYS[key.name];
}

/** A line with its tones as a terminal takes it. */
export function styledLine(line: Line, colour: boolean): string {
  return line
    .map(({ text, tone }) => {
      const [weight, ofColour] = STYLES[tone];
      const parameters = [weight, colour ? ofColour : ''].filter((parameter) => parameter !== '').join(';');
      return parameters === '' ? text : `\u001b[${parameters}m${text}\u001b[0m`;
    })
    .join('');
}

/** What makes one frame into the next: the rows that differ, each written over what stood there; empty where none does. */
export function frameUpdate(before: readonly string[], after: readonly string[]): string {
  const rows = Array.from({ length: Math.max(before.length, after.length) }, (_, row) => {
    const text = after[row] ?? '';
    return text === (before[row] ?? '') ? '' : `\u001b[${row + 1};1H${text}${CLEAR_TO_END_OF_LINE}`;
  });
  const changed = rows.join('');
  return changed === '' ? '' : `${BEGIN_FRAME}${changed}${END_FRAME}`;
}

/** The whole window of the terminal at standard output, and the keys of the one at standard input. */
export class TerminalScreen {
  readonly #options: TerminalScreenOptions;
  #shown: readonly string[] = [];
  #isOpen = true;

  /** Takes the terminal; close() gives it back. */
  constructor(options: TerminalScreenOptions) {
    this.#options = options;
    const { stdin, stdout } = process;
    stdout.write(ENTER);
    stdout.on('resize', this.#resized);
    // Whatever ends this process: a shell in the alternate screen is of no use.
    process.once('exit', this.close);
    // Without a terminal to type at, a signal ends it.
    if (!stdin.isTTY) return;
    emitKeypressEvents(stdin);
    stdin.setRawMode(true);
    stdin.on('keypress', this.#pressed);
    stdin.resume();
  }

  get size(): WindowSize {
    const { columns, rows } = process.stdout;
    // A terminal that does not know its size says 0.
    return columns > 0 && rows > 0 ? { columns, rows } : FALLBACK;
  }

  /** Shows these lines, from the top of the window. */
  draw(lines: readonly Line[]): void {
    if (!this.#isOpen) return;
    const next = lines.map((line) => styledLine(line, this.#options.colour));
    const update = frameUpdate(this.#shown, next);
    this.#shown = next;
    if (update !== '') process.stdout.write(update);
  }

  /** Gives the terminal back as it was. */
  readonly close = (): void => {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { stdin, stdout } = process;
    process.removeListener('exit', this.close);
    stdout.removeListener('resize', this.#resized);
    if (stdin.isTTY) {
      stdin.removeListener('keypress', this.#pressed);
      stdin.setRawMode(false);
      stdin.pause();
    }
    stdout.write(LEAVE);
  };

  /** A terminal moves lines around when its size changes, so the next frame begins from nothing. */
  readonly #resized = (): void => {
    this.#shown = [];
    process.stdout.write(CLEAR);
    this.#options.onResize();
  };

  readonly #pressed = (text: string | undefined, key: Key): void => {
    const pressed = screenKey(text, key);
    if (pressed !== undefined) this.#options.onKey(pressed);
  };
}
