import type { Captures, TopicPattern } from './topic-pattern.ts';

/** The entry of a trie that a topic belongs to, with what its wildcards stand for. */
export interface TrieMatch<Entry> {
  readonly entry: Entry;
  readonly captures: Captures;
}

interface TrieNode<Entry> {
  readonly literals: Map<string, TrieNode<Entry>>;
  wildcard: TrieNode<Entry> | undefined;
  terminal: { readonly entry: Entry; readonly names: readonly string[] } | undefined;
}

function emptyNode<Entry>(): TrieNode<Entry> {
  return { literals: new Map(), wildcard: undefined, terminal: undefined };
}

/**
 * Topic patterns arranged by level, so that finding the pattern of a topic costs in proportion to the topic's levels
 * and not to the number of patterns. Where several patterns match, a literal level beats a wildcard, from the left.
 */
export class TopicTrie<Entry> {
  readonly #root = emptyNode<Entry>();
  #depth = 0;

  /** Adds a pattern; answers the entry that already stood under the same filter, or undefined. */
  insert(pattern: TopicPattern, entry: Entry): Entry | undefined {
    let node = this.#root;
    const names: string[] = [];
    for (const level of pattern.levels) {
      if (level.kind === 'wildcard') {
        names.push(level.name);
        node = node.wildcard ??= emptyNode();
      } else {
        let next = node.literals.get(level.text);
        if (next === undefined) {
          next = emptyNode();
          node.literals.set(level.text, next);
        }
        node = next;
      }
    }
    const before = node.terminal?.entry;
    node.terminal = { entry, names };
    this.#depth = Math.max(this.#depth, pattern.levels.length);
    return before;
  }

  /** The most specific entry for a topic. Topics that begin with `$` match no leading wildcard (MQTT 5, section 4.7.2). */
  match(topic: string): TrieMatch<Entry> | undefined {
    const levels = topic.split('/', this.#depth + 1);
    if (levels.length > this.#depth) return undefined;
    const values: string[] = [];
    const terminal = descend(this.#root, levels, 0, values);
    if (terminal === undefined) return undefined;
    return {
      entry: terminal.entry,
      captures: Object.fromEntries(terminal.names.map((name, index) => [name, values[index] ?? ''])),
    };
  }
}

function descend<Entry>(
  node: TrieNode<Entry>,
  levels: readonly string[],
  index: number,
  values: string[],
): TrieNode<Entry>['terminal'] {
  const level = levels[index];
  if (level === undefined) return node.terminal;
  const literal = node.literals.get(level);
  if (literal !== undefined) {
    const found = descend(literal, levels, index + 1, values);
    if (found !== undefined) return found;
  }
  if (node.wildcard === undefined || (index === 0 && level.startsWith('$'))) return undefined;
  values.push(level);
  const found = descend(node.wildcard, levels, index + 1, values);
  if (found === undefined) values.pop();
  return found;
}
