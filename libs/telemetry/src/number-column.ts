const FIRST_NUMBERS = 64;

/** Whole numbers from 0 to 2³² − 1, one behind the other, outside of what the garbage collector has to look at. */
export class NumberColumn {
  #numbers = new Uint32Array(FIRST_NUMBERS);
  #length = 0;

  /** Numbers that it has. */
  get length(): number {
    return this.#length;
  }

  /** Adds a number at the end. */
  push(number: number): void {
    if (this.#length === this.#numbers.length) {
      const numbers = new Uint32Array(2 * this.#length);
      numbers.set(this.#numbers);
      this.#numbers = numbers;
    }
    this.#numbers[this.#length] = number;
    this.#length += 1;
  }

  /** Takes all out; the memory stays for those that come next. */
  clear(): void {
    this.#length = 0;
  }

  /** The number at a place; 0 where there is none. */
  at(place: number): number {
    return place < this.#length ? (this.#numbers[place] ?? 0) : 0;
  }
}
