const FIRST_BYTES = 4_096;
/** UTF-8 has at most so many bytes for a UTF-16 code unit. */
const MAX_BYTES_PER_UNIT = 3;
const LINE_BREAK = 0x0a;

/**
 * Lines of line protocol, as the bytes that are sent. Thousands of them wait for their batch: as one piece of memory the
 * garbage collector need not look at them, and a string each would be copied by it more than once.
 */
export class LineBlock {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;
  /** Where each line ends, without its line break. */
  readonly #ends: number[] = [];

  /** Lines that it has. */
  get count(): number {
    return this.#ends.length;
  }

  /** Bytes of its lines with a line break each. */
  get byteLength(): number {
    return this.#length;
  }

  /** Takes a line, without a line break at its end; answers its number, from 0. */
  add(line: string): number {
    this.#makeRoom(line.length * MAX_BYTES_PER_UNIT + 1);
    this.#length += this.#bytes.write(line, this.#length);
    this.#ends.push(this.#length);
    this.#bytes[this.#length] = LINE_BREAK;
    this.#length += 1;
    return this.#ends.length - 1;
  }

  /** The line of a number; empty where there is none. */
  line(number: number): string {
    const end = this.#ends[number];
    return end === undefined ? '' : this.#bytes.toString('utf8', (this.#ends[number - 1] ?? -1) + 1, end);
  }

  /** All lines, with a line break between them: a view that lasts until the next is added. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, Math.max(0, this.#length - 1));
  }

  #makeRoom(neededBytes: number): void {
    if (this.#length + neededBytes <= this.#bytes.length) return;
    const bytes = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#length + neededBytes));
    this.#bytes.copy(bytes, 0, 0, this.#length);
    this.#bytes = bytes;
  }
}
