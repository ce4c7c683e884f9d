import { isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
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
  readonly code = 'invalid-yaml';

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

const MAX_FAULTS = 50;
/** Aliases multiply: a small text could become more than memory can hold. */
const MAX_ALIASES = 100;
/** A parser that calls itself for each level comes to the end of its stack, which ends the process. */
const MAX_DEPTH = 100;

/** A YAML text that has been read, and can say where in it something stands. */
export class YamlSource {
  readonly value: unknown;
  readonly #document: Document.Parsed;
  readonly #lines = new LineCounter();

  /** @throws YamlError */
  constructor(text: string) {
    const tooDeep = tooDeepAt(text);
    if (tooDeep !== undefined)
      throw new YamlError([{ ...tooDeep, path: '', message: `more than ${MAX_DEPTH} levels within each other` }]);
    this.#document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      uniqueKeys: true,
      logLevel: 'error',
    });
    if (this.#document.errors.length > 0)
      throw new YamlError(
        this.#document.errors.slice(0, MAX_FAULTS).map(({ pos, message }) => this.#fault(pos[0], [], message)),
      );
    try {
      this.value = this.#document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      throw new YamlError([this.#fault(0, [], error instanceof Error ? error.message : String(error))]);
    }
  }

  /**
   * The text as a schema has it.
   * @throws YamlError
   */
  as<Schema extends z.ZodType>(schema: Schema): z.infer<Schema> {
    const parsed = schema.safeParse(this.value);
    if (parsed.success) return parsed.data;
    throw new YamlError(this.faultsOf(parsed.error).slice(0, MAX_FAULTS));
  }

  /** What a schema found wrong with the part of the text that stands at a path. */
  faultsOf({ issues }: z.ZodError, path: readonly PropertyKey[] = []): readonly YamlFault[] {
    return issues.map((issue) => {
      const key = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
      return this.faultAt([...path, ...issue.path, ...key], issue.message.replace(/^Invalid input: /, ''));
    });
  }

  /**
   * A fault that no schema finds, at a path; of what is missing, at the thing that should have it.
   * @param offset where in the value, for a text that has a syntax of its own
   */
  faultAt(path: readonly PropertyKey[], message: string, offset = 0): YamlFault {
    return this.#fault(this.#offsetOf(path) + offset, path, message);
  }

  /**
   * Throws what was found, if anything was.
   * @throws YamlError
   */
  static refuse(faults: readonly YamlFault[]): void {
    if (faults.length > 0) throw new YamlError(faults.slice(0, MAX_FAULTS));
  }

  #fault(offset: number, path: readonly PropertyKey[], message: string): YamlFault {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col), path: path.map(String).join('.'), message };
  }

  #offsetOf(path: readonly PropertyKey[]): number {
    for (let length = path.length; length >= 0; length -= 1) {
      const node: unknown = length === 0 ? this.#document.contents : this.#document.getIn(path.slice(0, length), true);
      if (!isNode(node) || node.range == null) continue;
      const isQuoted = isScalar(node) && (node.type === 'QUOTE_DOUBLE' || node.type === 'QUOTE_SINGLE');
      return node.range[0] + (isQuoted ? 1 : 0);
    }
    return 0;
  }
}

/**
 * Where a text may be nested too deeply, by its brackets and its indicators alone: those within quotes count as well, of
 * which nobody has so many in a line, unless it is JSON.
 */
function tooDeepAt(text: string): Pick<YamlFault, 'line' | 'column'> | undefined {
  let depth = 0;
  for (const [index, line] of withoutJsonTexts(text).split('\n').entries()) {
    // `- - - x` opens a level with each indicator; the indentation of a line is at least its depth.
    const indicators = line.match(/(?:^|[ \t])[-?:](?=[ \t]|$)/g)?.length ?? 0;
    if (depth + indicators > MAX_DEPTH) return { line: index + 1, column: 1 };
    for (const { 0: bracket, index: column } of line.matchAll(/[[\]{}]/g)) {
      depth = bracket === '[' || bracket === '{' ? depth + 1 : Math.max(0, depth - 1);
      if (depth + indicators > MAX_DEPTH) return { line: index + 1, column: column + 1 };
    }
  }
  return undefined;
}

/** Blanks the texts within JSON; any other text is answered as it is, because quotes may mean something else in it. */
function withoutJsonTexts(text: string): string {
  try {
    JSON.parse(text);
  } catch {
    // It is no JSON.
    return text;
  }
  return text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"/g, (quoted) => '"'.repeat(quoted.length));
}
