import type { DeviceId, Telemetry } from '@muster/contract';
import { TELEMETRY_MEASUREMENT, textField } from './line-protocol.ts';
import { NumberColumn } from './number-column.ts';

const FIRST_BYTES = 4_096;
/** UTF-8 has at most so many bytes for a UTF-16 code unit. */
const MAX_BYTES_PER_UNIT = 3;
/** No number is printed with more characters. */
const MAX_NUMBER_BYTES = 26;
/** What stands around a field beside its name and its value: a separator, `_bool=` or `_text=`. */
const MAX_FIELD_BYTES = 8;

const LINE_BREAK = 0x0a;
const SPACE = 0x20;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const EQUALS = 0x3d;

const HEAD = `${TELEMETRY_MEASUREMENT},device=`;
/** A number with at most three decimals is printed as the whole number of its thousandths. */
const SCALE = 1_000;
const MAX_SCALED = 1e15;
const PART_DIGITS = 6;
const PART = 1e6;

/**
 * Lines of line protocol, as the bytes that are sent. Thousands of them wait for their batch: as one piece of memory the
 * garbage collector need not look at them, and a string each would be copied by it more than once.
 */
export class LineBlock {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;
  /** Where each line ends, without its line break. */
  readonly #ends = new NumberColumn();

  /** Lines that it has. */
  get count(): number {
    return this.#ends.length;
  }

  /** Bytes of its lines with a line break each. */
  get byteLength(): number {
    return this.#length;
  }

  /** Takes all lines out; the memory stays for those that come next. */
  clear(): void {
    this.#length = 0;
    this.#ends.clear();
  }

  /** Takes a line, without a line break at its end. */
  add(line: string): void {
    this.#makeRoom(line.length * MAX_BYTES_PER_UNIT + 1);
    this.#length += this.#bytes.write(line, this.#length);
    this.#endLine();
  }

  /**
   * Takes the line that `telemetryLine` gives of the same; there must be a reading. It is written as bytes at once: as a
   * string it would cost three times as much, and be garbage.
   */
  addTelemetry(device: DeviceId, { readings, session, seq }: Telemetry, epochMs: number): void {
    this.#makeRoom(HEAD.length + device.length);
    this.#ascii(HEAD);
    this.#ascii(device);
    let separator = SPACE;
    for (const { metric, value } of readings) {
      this.#makeRoom(metric.length + MAX_FIELD_BYTES + MAX_NUMBER_BYTES);
      this.#byte(separator);
      this.#ascii(metric);
      if (typeof value === 'number') {
        this.#byte(EQUALS);
        this.#number(value);
      } else if (typeof value === 'boolean') {
        this.#ascii(value ? '_bool=true' : '_bool=false');
      } else {
        this.#ascii('_text=');
        this.#text(textField(value));
      }
      separator = COMMA;
    }
    this.#makeRoom(3 * (MAX_FIELD_BYTES + MAX_NUMBER_BYTES));
    if (session !== undefined) {
      this.#ascii(',session=');
      this.#number(session);
    }
    if (seq !== undefined) {
      this.#ascii(',seq=');
      this.#number(seq);
    }
    this.#byte(SPACE);
    this.#number(epochMs);
    this.#endLine();
  }

  /** The line of a number, from 0; empty where there is none. */
  line(number: number): string {
    if (number >= this.count) return '';
    const start = number === 0 ? 0 : this.#ends.at(number - 1) + 1;
    return this.#bytes.toString('utf8', start, this.#ends.at(number));
  }

  /** All lines, with a line break between them: a view that lasts until the next is added. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, Math.max(0, this.#length - 1));
  }

  #endLine(): void {
    this.#ends.push(this.#length);
    this.#byte(LINE_BREAK);
  }

  #byte(byte: number): void {
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  #ascii(text: string): void {
    const bytes = this.#bytes;
    const start = this.#length;
    for (let index = 0; index < text.length; index += 1) bytes[start + index] = text.charCodeAt(index);
    this.#length = start + text.length;
  }

  #text(text: string): void {
    this.#makeRoom(text.length * MAX_BYTES_PER_UNIT + MAX_FIELD_BYTES + MAX_NUMBER_BYTES);
    this.#length += this.#bytes.write(text, this.#length);
  }

  /** As `String` prints it. */
  #number(value: number): void {
    if (Number.isInteger(value) && Math.abs(value) <= MAX_SCALED) {
      if (value < 0) this.#byte(MINUS);
      this.#whole(Math.abs(value));
      return;
    }
    const scaled = Math.round(value * SCALE);
    // What is that many thousandths is printed as its digits: the quotient is rounded once, as the value was when it was read.
    if (scaled / SCALE !== value || scaled > MAX_SCALED || scaled < -MAX_SCALED) {
      this.#ascii(String(value));
      return;
    }
    const magnitude = Math.abs(scaled);
    if (scaled < 0) this.#byte(MINUS);
    const whole = Math.floor(magnitude / SCALE);
    this.#whole(whole);
    let decimals = magnitude - whole * SCALE;
    let places = 3;
    while (decimals % 10 === 0) {
      decimals /= 10;
      places -= 1;
    }
    this.#byte(POINT);
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

  #makeRoom(neededBytes: number): void {
    if (this.#length + neededBytes <= this.#bytes.length) return;
    const bytes = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#length + neededBytes));
    this.#bytes.copy(bytes, 0, 0, this.#length);
    this.#bytes = bytes;
  }
}

function digitsOf(number: number): number {
  let digits = 1;
  for (let limit = 10; number >= limit; limit *= 10) digits += 1;
  return digits;
}
