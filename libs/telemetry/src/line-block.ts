import type { DeviceId, Telemetry } from '@muster/contract';
import { ByteText, MAX_NUMBER_BYTES } from './byte-text.ts';
import { TELEMETRY_MEASUREMENT, textField } from './line-protocol.ts';
import { NumberColumn } from './number-column.ts';

/** What stands around a field beside its name and its value: a separator, `_bool=` or `_text=`. */
const MAX_FIELD_BYTES = 8;

const LINE_BREAK = 0x0a;
const SPACE = 0x20;
const COMMA = 0x2c;
const EQUALS = 0x3d;

const HEAD = `${TELEMETRY_MEASUREMENT},device=`;

/**
 * Lines of line protocol, as the bytes that are sent. Thousands of them wait for their batch: as one piece of memory the
 * garbage collector need not look at them, and a string each would be copied by it more than once.
 */
export class LineBlock {
  readonly #text = new ByteText();
  /** Where each line ends, without its line break. */
  readonly #ends = new NumberColumn();

  /** Lines that it has. */
  get count(): number {
    return this.#ends.length;
  }

  /** Bytes of its lines with a line break each. */
  get byteLength(): number {
    return this.#text.length;
  }

  /** Takes all lines out; the memory stays for those that come next. */
  clear(): void {
    this.#text.truncate(0);
    this.#ends.clear();
  }

  /** Takes a line, without a line break at its end. */
  add(line: string): void {
    this.#text.text(line);
    this.#endLine();
  }

  /**
   * Takes the line that `telemetryLine` gives of the same; there must be a reading. It is written as bytes at once: as a
   * string it would cost three times as much, and be garbage.
   */
  addTelemetry(device: DeviceId, { readings, session, seq }: Telemetry, epochMs: number): void {
    const text = this.#text;
    text.makeRoom(HEAD.length + device.length);
    text.ascii(HEAD);
    text.ascii(device);
    let separator = SPACE;
    for (const { metric, value } of readings) {
      text.makeRoom(metric.length + MAX_FIELD_BYTES + MAX_NUMBER_BYTES);
      text.byte(separator);
      text.ascii(metric);
      if (typeof value === 'number') {
        text.byte(EQUALS);
        text.number(value);
      } else if (typeof value === 'boolean') {
        text.ascii(value ? '_bool=true' : '_bool=false');
      } else {
        text.ascii('_text=');
        text.text(textField(value));
      }
      separator = COMMA;
    }
    text.makeRoom(3 * (MAX_FIELD_BYTES + MAX_NUMBER_BYTES));
    if (session !== undefined) {
      text.ascii(',session=');
      text.number(session);
    }
    if (seq !== undefined) {
      text.ascii(',seq=');
      text.number(seq);
    }
    text.byte(SPACE);
    text.number(epochMs);
    this.#endLine();
  }

  /** The line of a number, from 0; empty where there is none. */
  line(number: number): string {
    if (number >= this.count) return '';
    const start = number === 0 ? 0 : this.#ends.at(number - 1) + 1;
    return this.#text.toString(start, this.#ends.at(number));
  }

  /** All lines, with a line break between them: a view that lasts until the next is added. */
  get bytes(): Buffer {
    return this.#text.bytes(0, Math.max(0, this.#text.length - 1));
  }

  #endLine(): void {
    this.#ends.push(this.#text.length);
    this.#text.makeRoom(1);
    this.#text.byte(LINE_BREAK);
  }
}
