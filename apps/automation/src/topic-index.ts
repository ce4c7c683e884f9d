import type { Captures, TopicPattern } from '@muster/contract';

interface Node<Entry> {
  readonly literals: Map<string, Node<Entry>>;
  wildcard: Node<Entry> | undefined;
  readonly entries: { readonly entry: Entry; readonly names: readonly string[] }[];
}

function emptyNode<Entry>(): Node<Entry> {
  return { literals: new Map(), wildcard: undefined, entries: [] };
}

/** Patterns by level: every entry whose pattern a topic matches, at a cost that does not grow with those that it does not. */
export class TopicIndex<Entry> {
  readonly #root = emptyNode<Entry>();

  /** Adds an entry; any number may stand under the same pattern. */
  add(pattern: TopicPattern, entry: Entry): void {
    let node = this.#root;
    const names: string[] = [];
    for (const level of pattern.levels) {
      if (level.kind === 'wildcard') {
        names.push(level.name);
        node = node.wildcard ??= emptyNode();
        continue;
      }
      let next = node.literals.get(level.text);
      if (next === undefined) node.literals.set(level.text, (next = emptyNode()));
      node = next;
    }
    node.entries.push({ entry, names });
  }

  /** Every entry that a topic belongs to, in the order of the levels' precision. */
  matches(topic: string): readonly { readonly entry: Entry; readonly captures: Captures }[] {
    const found: { entry: Entry; captures: Captures }[] = [];
    const levels = topic.split('/');
    const values: string[] = [];
    const descend = (node: Node<Entry>, index: number): void => {
      const level = levels[index];
      if (level === undefined) {
        for (const { entry, names } of node.entries)
          found.push({ entry, captures: Object.fromEntries(names.map((name, at) => [name, values[at] ?? ''])) });
        return;
      }
      const literal = node.literals.get(level);
      if (literal !== undefined) descend(literal, index + 1);
      // A wildcard never begins with $ (MQTT 5, section 4.7.2), and a capture is never empty.
      if (node.wildcard === undefined || level === '' || (index === 0 && level.startsWith('$'))) return;
      values.push(level);
      descend(node.wildcard, index + 1);
      values.pop();
    };
    descend(this.#root, 0);
    return found;
  }
}
