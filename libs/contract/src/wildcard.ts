/**
 * Whether a text matches a pattern in which `*` stands for any number of characters. Goes back to the last `*` only, so
 * its cost is at most the product of both lengths: patterns are what people send.
 */
export function matchesWildcard(pattern: string, text: string): boolean {
  let at = 0;
  let inText = 0;
  let starAt = -1;
  let resumeAt = 0;
  while (inText < text.length) {
    if (pattern[at] === '*') {
      starAt = at;
      at += 1;
      resumeAt = inText;
    } else if (at < pattern.length && pattern[at] === text[inText]) {
      at += 1;
      inText += 1;
    } else if (starAt >= 0) {
      at = starAt + 1;
      resumeAt += 1;
      inText = resumeAt;
    } else return false;
  }
  while (pattern[at] === '*') at += 1;
  return at === pattern.length;
}

/** Whether labels have all that matchers ask for; a label that is not there matches nothing. */
export function matchesLabels(
  matchers: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(matchers).every(([name, pattern]) => {
    const value = Object.hasOwn(labels, name) ? labels[name] : undefined;
    return value !== undefined && matchesWildcard(pattern, value);
  });
}

const NOTHING: readonly never[] = [];
/** An index remembers what it found for so many texts; they come from outside, so that is bounded. */
const MAX_REMEMBERED = 100_000;

/**
 * Entries found by texts that their patterns match. What was found is remembered: in the long run a look costs nothing
 * for all the entries that do not match.
 */
export class WildcardIndex<Entry> {
  readonly #exact = new Map<string, number[]>();
  readonly #patterns: { readonly pattern: string; readonly position: number }[] = [];
  readonly #entries: Entry[] = [];
  readonly #found = new Map<string, readonly Entry[]>();

  /** Adds an entry under patterns; without any it matches every text. */
  add(patterns: readonly string[] | undefined, entry: Entry): void {
    const position = this.#entries.push(entry) - 1;
    for (const pattern of patterns ?? ['*']) {
      if (pattern.includes('*')) this.#patterns.push({ pattern, position });
      else this.#exact.set(pattern, [...(this.#exact.get(pattern) ?? []), position]);
    }
    this.#found.clear();
  }

  /** The entries that match a text, each once, in the order in which they were added. */
  matches(text: string): readonly Entry[] {
    const remembered = this.#found.get(text);
    if (remembered !== undefined) return remembered;
    const positions = new Set(this.#exact.get(text));
    for (const { pattern, position } of this.#patterns) if (matchesWildcard(pattern, text)) positions.add(position);
    const found =
      positions.size === 0
        ? NOTHING
        : [...positions]
            .sort((one, other) => one - other)
            .flatMap((position) => this.#entries.slice(position, position + 1));
    if (this.#found.size >= MAX_REMEMBERED) this.#found.clear();
    this.#found.set(text, found);
    return found;
  }
}
