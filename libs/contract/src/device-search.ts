import { ContractError } from './contract-error.ts';
import { isStorableText } from './payload.ts';
import { lifeStateSchema, presenceStateSchema, type LifeState, type PresenceState } from './rest/device.ts';
import { isMetricName } from './topic-map.ts';

/** A search has at most so many characters. */
export const MAX_SEARCH_LENGTH = 1_000;
/** And so many terms, which all must hold. */
export const MAX_SEARCH_TERMS = 16;
/** And so many values in one term, of which one must hold. */
export const MAX_SEARCH_VALUES = 50;

/** How a value is compared. */
export type Comparison = '<' | '<=' | '>' | '>=';

/**
 * A text with wildcards: the pieces between its `*`. One piece is a whole text; `['esp32', '']` begins with `esp32`;
 * `['', '']` is any text. No piece but the first and the last is empty.
 */
export type TextPattern = readonly string[];

/** Fields that are compared as texts, whatever their case. */
export const TEXT_FIELDS = ['id', 'name', 'model', 'tag', 'group', 'broker'] as const;
/** See {@link TEXT_FIELDS}. */
export type TextField = (typeof TEXT_FIELDS)[number];

/** A firmware: as a text, or by the order of versions. */
export type SearchedFirmware =
  | { readonly kind: 'pattern'; readonly pattern: TextPattern }
  | { readonly kind: 'version'; readonly comparison: Comparison | '='; readonly version: string };

/** A last reading: as a text (which may be a number or a boolean), or by the order of numbers. */
export type SearchedReading =
  | { readonly kind: 'pattern'; readonly pattern: TextPattern }
  | { readonly kind: 'number'; readonly comparison: Comparison; readonly number: number };

/** How long a device has been silent. */
export type SearchedSilence =
  | { readonly kind: 'never' }
  | { readonly kind: 'duration'; readonly comparison: Comparison; readonly durationMs: number };

/** What is asked of a device: of several values one must hold. */
export type DeviceCondition =
  | { readonly field: 'text'; readonly pattern: TextPattern }
  | { readonly field: TextField; readonly values: readonly TextPattern[] }
  | { readonly field: 'presence'; readonly values: readonly PresenceState[] }
  | { readonly field: 'state'; readonly values: readonly LifeState[] }
  | { readonly field: 'fw'; readonly values: readonly SearchedFirmware[] }
  | { readonly field: 'seen'; readonly values: readonly SearchedSilence[] }
  | { readonly field: 'last'; readonly metric: string; readonly values: readonly SearchedReading[] };

/** One term of a search: a condition that must hold, or must not. */
export type SearchTerm = DeviceCondition & { readonly negated: boolean };

/**
 * What counts as a firmware version, as the source of a regular expression that JavaScript and PostgreSQL read alike:
 * numbers between dots, then a pre-release, then a build (after semver 2.0.0, section 9 and 10, with any count of
 * numbers). Its groups are the numbers and the pre-release.
 */
export const FIRMWARE_VERSION = String.raw`^[vV]?([0-9]{1,9}(?:[.][0-9]{1,9}){0,7})(-[0-9A-Za-z][0-9A-Za-z.-]*|[A-Za-z][0-9A-Za-z.-]*)?(?:[+][0-9A-Za-z.-]*)?$`;

const firmwareVersion = new RegExp(FIRMWARE_VERSION);
const FIELDS: readonly string[] = [...TEXT_FIELDS, 'presence', 'state', 'fw', 'seen', 'last.METRIC'];
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$/;
const DURATION = /^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h|d|w)$/;
/** 100 years: PostgreSQL has no time before 4713 BC. */
const LONGEST_SILENCE_MS = 36_525 * 86_400_000;
const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const SPACE = /\s/;

/** A value as it was written: its comparison, and its text with wildcards. */
interface WrittenValue {
  readonly comparison: Comparison | '=' | undefined;
  readonly pattern: TextPattern;
  /** Of its first character, counted from 1. */
  readonly position: number;
}

function fault(position: number, found: string, mend: string): ContractError {
  return new ContractError('invalid-search', `search, position ${position}: ${found}; ${mend}`);
}

/** Goes through a search from left to right. */
class SearchReader {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  get position(): number {
    return this.#at + 1;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Skips space; whether anything stands behind it. */
  findsTerm(): boolean {
    while (SPACE.test(this.#text.charAt(this.#at))) this.#at += 1;
    return !this.isAtEnd;
  }

  take(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** The name before a colon, where one stands here. */
  fieldName(): string | undefined {
    const name = /^[A-Za-z][A-Za-z0-9_.-]*(?=:)/.exec(this.#text.slice(this.#at))?.[0];
    if (name !== undefined) this.#at += name.length + 1;
    return name;
  }

  /** A text up to the next space (or comma, where they divide values), some of it in quotes. */
  pattern(commaDivides: boolean): TextPattern {
    const pieces = [''];
    const append = (character: string): void => void pieces.push(`${pieces.pop() ?? ''}${character}`);
    for (; !this.isAtEnd; this.#at += 1) {
      const character = this.#text.charAt(this.#at);
      if (SPACE.test(character) || (commaDivides && character === ',')) break;
      if (character === '"') this.#quoted(append);
      else if (character !== '*') append(character);
      else if (pieces.length === 1 || pieces.at(-1) !== '') pieces.push('');
    }
    return pieces;
  }

  /** What stands between quotes: \" and \\ are a quote and a backslash, everything else is itself. Ends at the last quote. */
  #quoted(append: (character: string) => void): void {
    const start = this.position;
    for (this.#at += 1; !this.isAtEnd; this.#at += 1) {
      let character = this.#text.charAt(this.#at);
      if (character === '"') return;
      if (character === '\\' && /["\\]/.test(this.#text.charAt(this.#at + 1))) {
        this.#at += 1;
        character = this.#text.charAt(this.#at);
      }
      append(character);
    }
    throw fault(start, 'this quote has no end', 'write " at the end of the value, and \\" for a quote inside it');
  }
}

function comparisonOf(reader: SearchReader): Comparison | '=' | undefined {
  return (['<=', '>=', '<', '>', '='] as const).find((sign) => reader.take(sign));
}

function writtenValues(reader: SearchReader, field: string): readonly WrittenValue[] {
  const values: WrittenValue[] = [];
  do {
    const { position } = reader;
    const comparison = comparisonOf(reader);
    const pattern = reader.pattern(true);
    if (isEmpty(pattern))
      throw fault(reader.position, `${field}: has no value here`, 'write one behind it, or * for any');
    if (values.length === MAX_SEARCH_VALUES)
      throw fault(position, `${field}: has more than ${MAX_SEARCH_VALUES} values`, 'search for them in parts');
    values.push({ comparison, pattern, position });
  } while (reader.take(','));
  return values;
}

function isEmpty(pattern: TextPattern): boolean {
  return pattern.length === 1 && pattern[0] === '';
}

/** The text of a pattern without wildcards; undefined where it has some. */
export function wholeText(pattern: TextPattern): string | undefined {
  return pattern.length === 1 ? pattern[0] : undefined;
}

function textValue(field: TextField, { comparison, pattern, position }: WrittenValue): TextPattern {
  if (comparison !== undefined && comparison !== '=')
    throw fault(position, `${field}: has no order`, `write a text; ${comparison} is for fw, seen and last.METRIC`);
  return field === 'tag' || field === 'group' ? pattern.map((piece) => piece.toLowerCase()) : pattern;
}

function optionValue<Option extends string>(
  field: string,
  options: readonly Option[],
  { comparison, pattern, position }: WrittenValue,
): Option {
  const found = options.find((option) => option === wholeText(pattern)?.toLowerCase());
  if (found === undefined || (comparison !== undefined && comparison !== '='))
    throw fault(position, `not a value of ${field}`, `expected one of ${options.join(', ')}`);
  return found;
}

function firmwareValue({ comparison, pattern, position }: WrittenValue): SearchedFirmware {
  const version = wholeText(pattern);
  if (version !== undefined && firmwareVersion.test(version))
    return { kind: 'version', comparison: comparison ?? '=', version };
  if (comparison !== undefined && comparison !== '=')
    throw fault(position, 'not a version', `expected one such as fw:${comparison}1.4 or fw:${comparison}2.0.0-rc1`);
  return { kind: 'pattern', pattern };
}

function readingValue(metric: string, { comparison, pattern, position }: WrittenValue): SearchedReading {
  if (comparison === undefined || comparison === '=') return { kind: 'pattern', pattern };
  const text = wholeText(pattern) ?? '';
  const number = Number(text);
  if (!DECIMAL.test(text) || !Number.isFinite(number))
    throw fault(position, 'not a number', `expected one such as last.${metric}:${comparison}30`);
  return { kind: 'number', comparison, number };
}

function silenceValue({ comparison, pattern, position }: WrittenValue): SearchedSilence {
  const text = wholeText(pattern) ?? '';
  if (comparison === undefined && text.toLowerCase() === 'never') return { kind: 'never' };
  const [, amount, unit = ''] = DURATION.exec(text) ?? [];
  if (amount === undefined || comparison === undefined || comparison === '=')
    throw fault(
      position,
      'not a time of silence',
      'expected one such as seen:>10m (silent for longer), seen:<1h (heard since) or seen:never; units are ms s m h d w',
    );
  const durationMs = Math.round(Number(amount) * (UNIT_MS[unit] ?? 0));
  if (durationMs > LONGEST_SILENCE_MS)
    throw fault(position, 'longer than 100 years', 'seen:never has those never heard');
  return { kind: 'duration', comparison, durationMs };
}

function conditionOf(reader: SearchReader): DeviceCondition {
  const { position } = reader;
  const name = reader.fieldName();
  if (name === undefined) {
    const pattern = reader.pattern(false);
    if (isEmpty(pattern)) throw fault(position, 'this text is empty', 'write a text, or leave it out');
    return { field: 'text', pattern };
  }
  const field = name.toLowerCase() === 'firmware' ? 'fw' : name.toLowerCase();
  const text = TEXT_FIELDS.find((one) => one === field);
  if (text !== undefined)
    return { field: text, values: writtenValues(reader, field).map((value) => textValue(text, value)) };
  if (field === 'presence') {
    const { options } = presenceStateSchema;
    return { field, values: writtenValues(reader, field).map((value) => optionValue(field, options, value)) };
  }
  if (field === 'state') {
    const { options } = lifeStateSchema;
    return { field, values: writtenValues(reader, field).map((value) => optionValue(field, options, value)) };
  }
  if (field === 'fw') return { field, values: writtenValues(reader, field).map(firmwareValue) };
  if (field === 'seen') return { field, values: writtenValues(reader, field).map(silenceValue) };
  if (field.startsWith('last.')) {
    const metric = name.slice('last.'.length);
    if (!isMetricName(metric))
      throw fault(position, `${JSON.stringify(metric)} is no metric`, 'expected a name such as last.temp');
    return { field: 'last', metric, values: writtenValues(reader, name).map((value) => readingValue(metric, value)) };
  }
  throw fault(
    position,
    `there is no field ${JSON.stringify(name)}`,
    `expected one of ${FIELDS.join(', ')}; a text with a colon stands in quotes`,
  );
}

/**
 * Reads a search such as `presence:lost fw:<1.4 -tag:test "garden shed"`: terms that must all hold. `-` before a term
 * negates it, a comma divides values of which one must hold, `*` stands for any characters, and quotes take away the
 * meaning of every sign between them. docs/devices.md has the fields. An empty text has no terms.
 * @throws ContractError `invalid-search`, with the position (counted from 1), what was expected, and how to mend it
 */
export function parseDeviceSearch(text: string): readonly SearchTerm[] {
  if (text.length > MAX_SEARCH_LENGTH)
    throw fault(MAX_SEARCH_LENGTH + 1, 'it is too long', `at most ${MAX_SEARCH_LENGTH} characters are read`);
  if (!isStorableText(text)) throw fault(1, 'it has U+0000 or a lone surrogate', 'leave that out; nothing has it');
  const reader = new SearchReader(text);
  const terms: SearchTerm[] = [];
  while (reader.findsTerm()) {
    if (terms.length === MAX_SEARCH_TERMS)
      throw fault(reader.position, 'it has too many terms', `at most ${MAX_SEARCH_TERMS} are read`);
    const negated = reader.take('-');
    terms.push({ ...conditionOf(reader), negated });
  }
  return terms;
}

/** A text as a value, in quotes where a sign of it would mean something. */
function printPattern(pattern: TextPattern): string {
  return pattern
    .map((piece) =>
      piece === '' || /^[\p{L}\p{N}_./+-]+$/u.test(piece) ? piece : `"${piece.replaceAll(/["\\]/g, '\\$&')}"`,
    )
    .join('*');
}

function printSilence(durationMs: number): string {
  const unit = ['w', 'd', 'h', 'm', 's'].find((one) => durationMs % (UNIT_MS[one] ?? 1) === 0) ?? 'ms';
  return `${durationMs / (UNIT_MS[unit] ?? 1)}${unit}`;
}

function printValues(condition: Exclude<DeviceCondition, { field: 'text' }>): readonly string[] {
  switch (condition.field) {
    case 'presence':
    case 'state':
      return condition.values;
    case 'fw':
      return condition.values.map((value) =>
        value.kind === 'pattern' ? printPattern(value.pattern) : `${value.comparison}${value.version}`,
      );
    case 'seen':
      return condition.values.map((value) =>
        value.kind === 'never' ? 'never' : `${value.comparison}${printSilence(value.durationMs)}`,
      );
    case 'last':
      return condition.values.map((value) =>
        value.kind === 'pattern' ? printPattern(value.pattern) : `${value.comparison}${value.number}`,
      );
    default:
      return condition.values.map(printPattern);
  }
}

/** A search as text: read again it is the same search. */
export function printDeviceSearch(terms: readonly SearchTerm[]): string {
  return terms
    .map((term) => {
      const sign = term.negated ? '-' : '';
      if (term.field === 'text') {
        const [first = ''] = term.pattern;
        const text = printPattern(term.pattern);
        // Bare it would read as a negation.
        return `${sign}${first.startsWith('-') && !text.startsWith('"') ? `"${first}"${text.slice(first.length)}` : text}`;
      }
      return `${sign}${term.field === 'last' ? `last.${term.metric}` : term.field}:${printValues(term).join(',')}`;
    })
    .join(' ');
}
