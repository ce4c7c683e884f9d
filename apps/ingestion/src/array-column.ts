import { ByteText, MAX_NUMBER_BYTES } from '@muster/telemetry';

const OPEN = 0x7b;
const CLOSE = 0x7d;
const COMMA = 0x2c;
const QUOTE = 0x22;
const NULL = 'null';
const TO_ESCAPE = /["\\]/g;

/**
 * A column of rows as PostgreSQL reads an array (section 8.15.2 of its manual), filled again and again. Nulls at its end
 * are left out: `unnest` puts them there where another column is longer (section 9.19), and most columns that may be null
 * are so in every row.
 */
export class ArrayColumn {
  readonly #text = new ByteText();
  /** Since the last element that was written. */
  #nulls = 0;
  /** The last text, and as it is written: a broker's name comes again and again. */
  #lastText = '';
  #lastEscaped = '';

  constructor() {
    this.clear();
  }

  /** Takes all elements out; the memory stays for those that come next. */
  clear(): void {
    this.#text.truncate(0);
    this.#text.byte(OPEN);
    this.#nulls = 0;
  }

  /** Adds a number. */
  number(value: number | null): void {
    if (value === null) {
      this.#nulls += 1;
      return;
    }
    this.#separate(MAX_NUMBER_BYTES);
    this.#text.number(value);
  }

  /** Adds a boolean. */
  boolean(value: boolean | null): void {
    if (value === null) {
      this.#nulls += 1;
      return;
    }
    this.#separate(MAX_NUMBER_BYTES);
    this.#text.ascii(String(value));
  }

  /** Adds a name of ASCII, in which there is neither a quote nor a backslash. */
  name(name: string): void {
    this.#separate(name.length + 2);
    this.#text.byte(QUOTE);
    this.#text.ascii(name);
    this.#text.byte(QUOTE);
  }

  /** Adds any text: in quotes, so that one of the letters null is none. */
  text(text: string | null): void {
    if (text === null) {
      this.#nulls += 1;
      return;
    }
    if (text !== this.#lastText) {
      this.#lastText = text;
      this.#lastEscaped = text.replace(TO_ESCAPE, '\\$&');
    }
    this.#separate(1);
    this.#text.byte(QUOTE);
    this.#text.text(this.#lastEscaped);
    this.#text.makeRoom(1);
    this.#text.byte(QUOTE);
  }

  /** The array: a view that lasts until the next change. */
  get bytes(): Buffer {
    const text = this.#text;
    const { length } = text;
    text.makeRoom(1);
    text.byte(CLOSE);
    text.truncate(length);
    return text.bytes(0, length + 1);
  }

  #separate(roomBytes: number): void {
    const text = this.#text;
    text.makeRoom((this.#nulls + 1) * (NULL.length + 1) + roomBytes);
    for (; this.#nulls > 0; this.#nulls -= 1) {
      if (text.length > 1) text.byte(COMMA);
      text.ascii(NULL);
    }
    if (text.length > 1) text.byte(COMMA);
  }
}
