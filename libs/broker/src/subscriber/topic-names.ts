const FIRST_PLACES = 1_024;
/** Beyond so many names all are forgotten, and those that still come are entered again. */
const MAX_NAMES = 131_072;
/** At most one place in so many is taken: with more, names would stand far from where they belong. */
const PLACES_PER_NAME = 4;
/** A name that finds no place so near is not remembered: who makes up topics with the same hash makes nobody slow. */
const MAX_STEPS = 8;
const MAX_REMEMBERED_BYTES = 256;
const FIRST_NOT_ASCII = 0x80;

/** The number of a topic that is not remembered. */
export const NOT_REMEMBERED = -1;

/**
 * The names of topics by their bytes. The same ones come again and again: a name that is the same string each time need not
 * be decoded, hashed and collected each time, and by its number a consumer finds without a search what it knows of it.
 * The table is as small as it can be, because what is in use has to fit into the processor's caches.
 */
export class TopicNames {
  /** An open hash table of numbers, each one higher; 0 is a free place. */
  #places = new Int32Array(FIRST_PLACES);
  #names: string[] = [];

  /**
   * The number of the topic whose name in UTF-8 is these bytes, from 0, mostly the same each time; or
   * {@link NOT_REMEMBERED}. Another topic may have had it before.
   */
  number(bytes: Buffer, start: number, end: number): number {
    if (end - start > MAX_REMEMBERED_BYTES) return NOT_REMEMBERED;
    let hash = 0;
    let highest = 0;
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      hash = hashWith(hash, byte);
      highest |= byte;
    }
    if (highest >= FIRST_NOT_ASCII) return NOT_REMEMBERED;
    const mask = this.#places.length - 1;
    let place = firstPlace(hash, mask);
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const number = (this.#places[place] ?? 0) - 1;
      if (number < 0) return this.#enter(bytes.toString('latin1', start, end));
      if (isAscii(this.name(number), bytes, start, end)) return number;
      place = (place + 1) & mask;
    }
    return NOT_REMEMBERED;
  }

  /** The name of a topic that was given a number last; the same string each time. */
  name(number: number): string {
    return this.#names[number] ?? '';
  }

  #enter(name: string): number {
    if (this.#names.length === MAX_NAMES) {
      this.#names = [];
      this.#places.fill(0);
    }
    const number = this.#names.push(name) - 1;
    if (this.#names.length * PLACES_PER_NAME > this.#places.length) {
      this.#places = new Int32Array(2 * this.#places.length);
      for (const [each, old] of this.#names.entries()) this.#put(old, each);
    } else this.#put(name, number);
    return number;
  }

  #put(name: string, number: number): void {
    let hash = 0;
    for (let index = 0; index < name.length; index += 1) hash = hashWith(hash, name.charCodeAt(index));
    const mask = this.#places.length - 1;
    let place = firstPlace(hash, mask);
    for (let step = 0; step < MAX_STEPS; step += 1) {
      if (this.#places[place] === 0) {
        this.#places[place] = number + 1;
        return;
      }
      place = (place + 1) & mask;
    }
  }
}

function hashWith(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0;
}

/** Names that differ in a digit have neighbouring hashes: they are spread (the first steps of MurmurHash3's finalizer). */
function firstPlace(hash: number, mask: number): number {
  const spread = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (spread ^ (spread >>> 13)) & mask;
}

function isAscii(name: string, bytes: Buffer, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let index = 0; index < name.length; index += 1) {
    if (name.charCodeAt(index) !== bytes[start + index]) return false;
  }
  return true;
}
