/**
 * What was used lately, by its key; bounded. It holds two generations: when the younger is full it becomes the older, and
 * what the older held is forgotten, except for what has been used since. So at least the `generationSize` entries that
 * were used last are there, never more than twice as many, and a hit in the younger costs one look-up.
 */
export class RecentlyUsed<Value> {
  #younger = new Map<string, Value>();
  #older = new Map<string, Value>();

  constructor(private readonly generationSize: number) {}

  /** Entries that are held. */
  get size(): number {
    return this.#younger.size + this.#older.size;
  }

  /** What was put under a key; undefined where that was never or has been forgotten. */
  get(key: string): Value | undefined {
    const recent = this.#younger.get(key);
    if (recent !== undefined) return recent;
    const value = this.#older.get(key);
    if (value === undefined) return undefined;
    this.#older.delete(key);
    this.set(key, value);
    return value;
  }

  /** Puts what is under a key; the same key must always have the same value. */
  set(key: string, value: Value): void {
    if (this.#younger.size >= this.generationSize && !this.#younger.has(key)) {
      this.#older = this.#younger;
      this.#younger = new Map();
    }
    this.#younger.set(key, value);
  }
}
