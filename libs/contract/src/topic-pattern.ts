import { ContractError } from './contract-error.ts';

/** One level of a pattern: a fixed text, or a wildcard that captures the level under a name. */
export type PatternLevel =
  { readonly kind: 'literal'; readonly text: string } | { readonly kind: 'wildcard'; readonly name: string };

/** A topic with named single-level wildcards, such as `devices/{device}/status`. */
export interface TopicPattern {
  readonly source: string;
  readonly levels: readonly PatternLevel[];
  /** The MQTT topic filter that covers the pattern: `devices/+/status`. */
  readonly filter: string;
}

/** What the wildcards of a pattern stand for in one topic. */
export type Captures = Readonly<Record<string, string>>;

const WILDCARD = /^\{([A-Za-z][A-Za-z0-9_]*)\}$/;
/** MQTT 5, section 4.7.3: a topic is at most 65,535 bytes of UTF-8. */
const MAX_TOPIC_BYTES = 65_535;
const encoder = new TextEncoder();

function refuse(source: string, why: string): never {
  throw new ContractError('invalid-pattern', `topic pattern ${JSON.stringify(source.slice(0, 200))}: ${why}`);
}

/**
 * Reads a pattern. A wildcard takes a whole level and each name stands once.
 * @throws ContractError `invalid-pattern`
 */
export function parsePattern(source: string): TopicPattern {
  if (source === '') refuse(source, 'is empty');
  if (encoder.encode(source).length > MAX_TOPIC_BYTES) refuse(source, 'is longer than 65,535 bytes');
  const names = new Set<string>();
  const levels = source.split('/').map((text): PatternLevel => {
    const name = WILDCARD.exec(text)?.[1];
    if (name !== undefined) {
      if (names.has(name)) refuse(source, `the name {${name}} stands twice`);
      names.add(name);
      return { kind: 'wildcard', name };
    }
    if (/[+#\0]/.test(text)) refuse(source, 'write a wildcard as {name}; + # and NUL are not allowed');
    if (/[{}]/.test(text)) refuse(source, `a wildcard takes a whole level, found ${JSON.stringify(text)}`);
    return { kind: 'literal', text };
  });
  const filter = levels.map((level) => (level.kind === 'wildcard' ? '+' : level.text)).join('/');
  return { source, levels, filter };
}

/** Whether a text can be published to (MQTT 5, section 4.7). */
export function isTopic(topic: string): boolean {
  return topic !== '' && !/[+#\0]/.test(topic) && encoder.encode(topic).length <= MAX_TOPIC_BYTES;
}

/** Whether a text can be subscribed to (MQTT 5, section 4.7.1): a wildcard takes a whole level, and `#` the last. */
export function isTopicFilter(filter: string): boolean {
  if (filter === '' || filter.includes('\0') || encoder.encode(filter).length > MAX_TOPIC_BYTES) return false;
  const levels = filter.split('/');
  return levels.every(
    (level, index) => !/[+#]/.test(level) || level === '+' || (level === '#' && index === levels.length - 1),
  );
}

/**
 * The topic of a pattern for given captures; the inverse of matching it.
 * @throws ContractError `invalid-topic` when a capture is missing, empty, or would not stay one level
 */
export function buildTopic(pattern: TopicPattern, captures: Captures): string {
  const levels = pattern.levels.map((level) => {
    if (level.kind === 'literal') return level.text;
    const value = Object.hasOwn(captures, level.name) ? captures[level.name] : undefined;
    if (value === undefined || value === '' || /[/+#\0]/.test(value)) {
      throw new ContractError(
        'invalid-topic',
        `{${level.name}} of ${pattern.source} must be one non-empty level without / + # or NUL`,
      );
    }
    return value;
  });
  const topic = levels.join('/');
  if (!isTopic(topic))
    throw new ContractError('invalid-topic', `a topic of ${pattern.source} would be empty or too long`);
  return topic;
}

/** Whether every topic that `narrow` matches is matched by `wide` as well; both are MQTT topic filters. */
export function filterCovers(wide: string, narrow: string): boolean {
  const wideLevels = wide.split('/');
  const narrowLevels = narrow.split('/');
  for (const [index, level] of wideLevels.entries()) {
    if (level === '#') return true;
    const other = narrowLevels[index];
    if (other === undefined || other === '#') return false;
    if (level !== '+' && level !== other) return false;
  }
  return wideLevels.length === narrowLevels.length;
}

/** Whether some topic is matched by both filters (neither may contain `#`). */
export function filtersOverlap(left: string, right: string): boolean {
  const leftLevels = left.split('/');
  const rightLevels = right.split('/');
  if (leftLevels.length !== rightLevels.length) return false;
  return leftLevels.every(
    (level, index) => level === '+' || rightLevels[index] === '+' || level === rightLevels[index],
  );
}
