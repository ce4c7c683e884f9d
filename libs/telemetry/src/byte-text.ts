const FIRST_BYTES = 4_096;
/** UTF-8 has at most so many bytes for a UTF-16 code unit. */
const MAX_BYTES_PER_UNIT = 3;
/** No number is printed with more characters. */
export const MAX_NUMBER_BYTES = 26;

/** A call out of JavaScript costs more than so many characters. */
const SHORT_LENGTH = 32;
const FIRST_NOT_ASCII = 0x80;

const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;

/** A number with at most three decimals is printed as the whole number of its thousandths. */
const SCALE = 1_000;
const MAX_SCALED = 1e15;
const PART_DIGITS = 6;
const PART = 1e6;

/**
 * Text that is made piece by piece, as the bytes that are sent: as strings it would cost three times as much, and be
 * garbage. Who adds ASCII or a number must have made room for it.
 */
export class ByteText {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  /** Bytes that it has. */
  get length(): number {
    return this.#length;
  }

  /** Takes everything behind so many bytes away; the memory stays for what comes next. */
  truncate(length: number): void {
    this.#length = Math.min(length, this.#length);
  }

  /** Its bytes from one place to another: a view that lasts until the next change. */
  bytes(start = 0, end = this.#length): Buffer {
    return this.#bytes.subarray(start, end);
  }

  /** Its text from one place to another. */
  toString(start = 0, end = this.#length): string {
    return this.#bytes.toString('utf8', start, end);
  }

  /** Makes room for so many bytes more. */
  makeRoom(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, needed));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }

  /** Adds a byte, for which there is room. */
  byte(byte: number): void {
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  /** Adds ASCII, for which there is room. */
  ascii(text: string): void {
    const bytes = this.#bytes;
    const start = this.#length;
    for (let index = 0; index < text.length; index += 1) bytes[start + index] = text.charCodeAt(index);
    this.#length = start + text.length;
  }

  /** Adds any text, and makes room for it. */
  text(text: string): void {
    this.makeRoom(text.length * MAX_BYTES_PER_UNIT);
    if (text.length > SHORT_LENGTH || !this.#isShortAscii(text)) {
      this.#length += this.#bytes.write(text, this.#length);
    }
  }

  /** Whether a text is of ASCII, and has been added. */
  #isShortAscii(text: string): boolean {
    const bytes = this.#bytes;
    const start = this.#length;
    for (let index = 0; index < text.length; index += 1) {
      const unit = text.charCodeAt(index);
      if (unit >= FIRST_NOT_ASCII) return false;
      bytes[start + index] = unit;
    }
    this.#length = start + text.length;
    return true;
  }

  /** Adds a number as `String` prints it; there is room of {@link MAX_NUMBER_BYTES}. */
  number(value: number): void {
    if (Number.isInteger(value) && Math.abs(value) <= MAX_SCALED) {
      if (value < 0) this.byte(MINUS);
      this.#whole(Math.abs(value));
      return;
    }
    const scaled = Math.round(value * SCALE);
    // What is that many thousandths is printed as its digits: the quotient is rounded once, as the value was when it was read.
    if (scaled / SCALE !== value || scaled > MAX_SCALED || scaled < -MAX_SCALED) {
      this.ascii(String(value));
      return;
    }
    const magnitude = Math.abs(scaled);
    if (scaled < 0) this.byte(MINUS);
    const whole = Math.floor(magnitude / SCALE);
    this.#whole(whole);
    let decimals = magnitude - whole * SCALE;
    let places = 3;
    while (decimals % 10 === 0) {
      decimals /= 10;
      places -= 1;
    }
    this.byte(POINT);
    this.#digits(decimals, places);
  }

  /** At most 10¹⁵: in parts that fit into 32 bits, because beyond them a division costs several times as much. */
  #whole(number: number): void {
    if (number < PART) {
      this.#digits(number, digitsOf(number));
      return;
    }
    const high = Math.floor(number / PART);
    this.#digits(high, digitsOf(high));
    this.#digits(number - high * PART, PART_DIGITS);
  }

  /** The lowest digits of a whole number below 2³¹, with zeros in front. */
  #digits(number: number, count: number): void {
    const bytes = this.#bytes;
    let rest = number;
    for (let at = this.#length + count - 1; at >= this.#length; at -= 1) {
      const tenth = (rest / 10) | 0;
      bytes[at] = ZERO + rest - tenth * 10;
      rest = tenth;
    }
    this.#length += count;
  }
}

function digitsOf(number: number): number {
  let digits = 1;
  for (let limit = 10; number >= limit; limit *= 10) digits += 1;
  return digits;
}
