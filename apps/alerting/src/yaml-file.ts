import { isNode, LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';

/** A fault in a YAML text, and where it is; lines and columns count from 1. */
export interface YamlFault {
  readonly line: number;
  readonly column: number;
  /** Keys and positions from the top, `rules.0.above`; empty for what is no YAML at all. */
  readonly path: string;
  readonly message: string;
}

/** A YAML text is none, or not what was expected; the message has every fault with its line. */
export class YamlError extends Error {
  override readonly name = 'YamlError';
  readonly code = 'yaml';

  constructor(readonly faults: readonly YamlFault[]) {
    super(
      faults
        .map(
          ({ line, column, path, message }) =>
            `line ${line}, column ${column}: ${path === '' ? '' : `${path}: `}${message}`,
        )
        .join('; '),
    );
  }
}

/** A parsed text that can say where something stands. */
export interface ParsedYaml<Value> {
  readonly value: Value;
  /** A fault at a path, for checks that a schema cannot make. */
  readonly faultAt: (path: readonly PropertyKey[], message: string) => YamlFault;
}

const MAX_FAULTS = 20;

/**
 * Reads a YAML text by a schema.
 * @throws YamlError
 */
export function parseYaml<Schema extends z.ZodType>(text: string, schema: Schema): ParsedYaml<z.infer<Schema>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number, path: readonly PropertyKey[], message: string): YamlFault => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col, path: path.map(String).join('.'), message };
  };
  if (document.errors.length > 0)
    throw new YamlError(document.errors.slice(0, MAX_FAULTS).map(({ pos, message }) => at(pos[0], [], message)));
  const faultAt: ParsedYaml<unknown>['faultAt'] = (path, message) => at(offsetOf(document, path), path, message);
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    // Aliases of aliases, which would become more than memory can hold.
    throw new YamlError([at(0, [], error instanceof Error ? error.message : String(error))]);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { value: parsed.data, faultAt };
  throw new YamlError(
    parsed.error.issues.slice(0, MAX_FAULTS).map((issue) => {
      const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
      return faultAt(path, issue.message.replace(/^Invalid input: /, ''));
    }),
  );
}

/** Where the node of a path begins, or the nearest one above it that is there. */
function offsetOf(document: Document.Parsed, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length -= 1) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range != null) return node.range[0];
  }
  return document.contents?.range[0] ?? 0;
}
