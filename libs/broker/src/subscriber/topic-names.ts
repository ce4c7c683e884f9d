/** A power of two: so many topics are remembered at most. */
const PLACES = 131_072;
const MAX_REMEMBERED_BYTES = 256;
const FIRST_NOT_ASCII = 0x80;

/**
 * The names of topics by their bytes. The same ones come again and again: a name that is the same string each time need not
 * be decoded, hashed and collected each time. Each has one place by its bytes, where the last to come is remembered.
 */
export class TopicNames {
  /** Made with the first: an attempt to connect needs none. */
  #names: (string | undefined)[] | undefined;

  /** The name whose bytes in UTF-8 are these; ill-formed ones read as U+FFFD. */
  name(bytes: Buffer, start: number, end: number): string {
    let hash = 0;
    let highest = 0;
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      hash = (Math.imul(hash, 31) + byte) | 0;
      highest |= byte;
    }
    if (highest >= FIRST_NOT_ASCII || end - start > MAX_REMEMBERED_BYTES) return bytes.toString('utf8', start, end);
    // The lowest bits alone would be those of the last letters.
    const place = (hash ^ (hash >>> 15)) & (PLACES - 1);
    this.#names ??= new Array<string | undefined>(PLACES);
    const remembered = this.#names[place];
    if (remembered !== undefined && isAscii(remembered, bytes, start, end)) return remembered;
    const name = bytes.toString('latin1', start, end);
    this.#names[place] = name;
    return name;
  }
}

function isAscii(name: string, bytes: Buffer, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let index = 0; index < name.length; index += 1) {
    if (name.charCodeAt(index) !== bytes[start + index]) return false;
  }
  return true;
}
