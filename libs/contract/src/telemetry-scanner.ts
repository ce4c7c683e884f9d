import { isMetricName, type TelemetryEntry } from './topic-map.ts';
import type { Reading, ReadingValue } from './telemetry.ts';

/** What a flat JSON object says, before times and counters are judged: `ts`, `up`, `session` and `seq` as they stand. */
export interface ScannedObject {
  readonly readings: readonly Reading[];
  readonly ts: number | undefined;
  readonly up: number | undefined;
  readonly session: number | undefined;
  readonly seq: number | undefined;
}

type Counter = 'ts' | 'up' | 'session' | 'seq';

/** What is to be done with the value of a key: `refused` leaves the whole message to the full decoder. */
type KeyUse =
  | { readonly kind: 'counter'; readonly counter: Counter }
  | { readonly kind: 'metric'; readonly metric: string; readonly unit: string | undefined; readonly place: number }
  | { readonly kind: 'ignored' }
  | { readonly kind: 'refused' };

/** A key that was seen before; its name is compared byte by byte, because keys with the same hash exist. */
interface KnownKey {
  readonly name: Uint8Array;
  readonly use: KeyUse;
  /** Number of the last message that had it: twice in one message is left to the full decoder. */
  seenIn: number;
}

const COUNTERS: ReadonlySet<string> = new Set(['ts', 'up', 'session', 'seq'] satisfies readonly Counter[]);
/** Keys that the topic map does not name stand behind those that it names. */
const BEHIND = Number.MAX_SAFE_INTEGER;
/** Beyond so many different keys the cache begins anew: devices choose them. */
const MAX_KNOWN_KEYS = 1_024;
const MAX_KEY_BYTES = 64;

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const FIRST_PRINTABLE = 0x20;
const LAST_PRINTABLE = 0x7e;

/** A whole number of so many digits, and each of these powers, is exact as a 64-bit float: their quotient is rounded once. */
const MAX_EXACT_DIGITS = 15;
const POWERS_OF_TEN: readonly number[] = Array.from({ length: MAX_EXACT_DIGITS + 1 }, (_, index) =>
  Number(`1e${index}`),
);

const NOTHING = new Uint8Array();
const encoder = new TextEncoder();
const decoder = new TextDecoder();

function hashOf(name: Uint8Array): number {
  return name.reduce((hash, byte) => (Math.imul(hash, 31) + byte) | 0, 0);
}

/**
 * Reads what devices send nearly always straight from its bytes: one flat JSON object with printable ASCII, plain numbers,
 * short texts, `true`, `false` and `null`. It decides nothing but that case; whatever else it meets, right or wrong, is
 * undefined, and the full decoder's to judge.
 */
export class TelemetryScanner {
  readonly #entry: Extract<TelemetryEntry, { decoder: 'json' }>;
  readonly #maxReadings: number;
  readonly #maxTextLength: number;
  readonly #places: ReadonlyMap<string, number>;
  readonly #isUsable: boolean;
  readonly #keys = new Map<number, KnownKey>();
  /** Of one message; kept because every message needs them. */
  readonly #readings: Reading[] = [];
  readonly #placesOfReadings: number[] = [];
  #message = 0;
  #bytes: Uint8Array = NOTHING;
  #at = 0;

  constructor(
    entry: Extract<TelemetryEntry, { decoder: 'json' }>,
    limits: { readonly maxReadings: number; readonly maxTextLength: number },
  ) {
    this.#entry = entry;
    this.#maxReadings = limits.maxReadings;
    this.#maxTextLength = limits.maxTextLength;
    this.#places = new Map(Object.keys(entry.fields).map((name, index) => [name, index]));
    // A counter that is a metric as well is used twice.
    this.#isUsable = [...COUNTERS].every((name) => !this.#places.has(name));
    this.#begin();
  }

  /** What the object says; undefined where it is not as plain as that. */
  scan(payload: Uint8Array): ScannedObject | undefined {
    if (!this.#isUsable) return undefined;
    if (this.#keys.size > MAX_KNOWN_KEYS) this.#begin();
    this.#message += 1;
    this.#bytes = payload;
    this.#at = 0;
    const scanned = this.#object();
    // A payload is a view of a whole chunk from the network, which would stay in memory with it.
    this.#bytes = NOTHING;
    return scanned;
  }

  /** Keys that the topic map and the contract name are there first: no device's key can take their place. */
  #begin(): void {
    this.#keys.clear();
    for (const name of [...COUNTERS, ...this.#places.keys()]) {
      const bytes = encoder.encode(name);
      this.#keys.set(hashOf(bytes), { name: bytes, use: this.#useOf(name), seenIn: 0 });
    }
  }

  #useOf(name: string): KeyUse {
    switch (name) {
      case 'ts':
      case 'up':
      case 'session':
      case 'seq':
        return { kind: 'counter', counter: name };
    }
    const place = this.#places.get(name);
    if (place !== undefined) {
      // A name with a dot is a path into nested objects, and none is flat.
      const field = name.includes('.') ? undefined : this.#entry.fields[name];
      return field === undefined
        ? { kind: 'ignored' }
        : { kind: 'metric', metric: field.metric, unit: field.unit, place };
    }
    if (this.#entry.others === 'drop') return { kind: 'ignored' };
    return isMetricName(name) ? { kind: 'metric', metric: name, unit: undefined, place: BEHIND } : { kind: 'refused' };
  }

  #object(): ScannedObject | undefined {
    let count = 0;
    let ts: number | undefined;
    let up: number | undefined;
    let session: number | undefined;
    let seq: number | undefined;
    if (this.#token() !== OPEN) return undefined;
    let next = this.#token();
    let isOpen = next !== CLOSE;
    while (isOpen) {
      if (next !== QUOTE) return undefined;
      const key = this.#key();
      if (key === undefined || this.#token() !== COLON) return undefined;
      const value = this.#value();
      if (value === undefined) return undefined;
      const { use } = key;
      if (use.kind === 'metric') {
        if (value !== null) {
          if (count >= this.#maxReadings) return undefined;
          this.#insert(count, use.place, { metric: use.metric, value, unit: use.unit });
          count += 1;
        }
      } else if (use.kind === 'counter') {
        if (typeof value !== 'number') return undefined;
        if (use.counter === 'seq') seq = value;
        else if (use.counter === 'session') session = value;
        else if (use.counter === 'ts') ts = value;
        else up = value;
      }
      const separator = this.#token();
      isOpen = separator === COMMA;
      if (isOpen) next = this.#token();
      else if (separator !== CLOSE) return undefined;
    }
    return this.#isAtEnd() ? { readings: this.#readings.slice(0, count), ts, up, session, seq } : undefined;
  }

  /** Adds a reading behind those whose places are not greater: what the topic map names comes in its order. */
  #insert(count: number, place: number, reading: Reading): void {
    const readings = this.#readings;
    const places = this.#placesOfReadings;
    let index = count;
    for (; index > 0; index -= 1) {
      const before = readings[index - 1];
      const placeBefore = places[index - 1] ?? 0;
      if (before === undefined || placeBefore <= place) break;
      readings[index] = before;
      places[index] = placeBefore;
    }
    readings[index] = reading;
    places[index] = place;
  }

  /** The next byte that is no white space (RFC 8259, section 2), or -1; it is passed. */
  #token(): number {
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) return -1;
      this.#at += 1;
      if (byte > 0x20 || !(byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09)) return byte;
    }
  }

  #isAtEnd(): boolean {
    return this.#token() === -1;
  }

  /** The key whose opening quote has been passed, with its closing quote. */
  #key(): KnownKey | undefined {
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    let hash = 0;
    for (;;) {
      const byte = bytes[at];
      if (byte === undefined || byte < FIRST_PRINTABLE || byte > LAST_PRINTABLE || byte === BACKSLASH) return undefined;
      if (byte === QUOTE) break;
      hash = (Math.imul(hash, 31) + byte) | 0;
      at += 1;
    }
    const length = at - start;
    if (length > MAX_KEY_BYTES) return undefined;
    this.#at = at + 1;
    let key = this.#keys.get(hash);
    if (key === undefined) {
      const name = bytes.slice(start, at);
      key = { name, use: this.#useOf(decoder.decode(name)), seenIn: 0 };
      this.#keys.set(hash, key);
    } else {
      if (key.name.length !== length) return undefined;
      for (let index = 0; index < length; index += 1) {
        if (key.name[index] !== bytes[start + index]) return undefined;
      }
    }
    if (key.seenIn === this.#message || key.use.kind === 'refused') return undefined;
    key.seenIn = this.#message;
    return key;
  }

  #value(): ReadingValue | null | undefined {
    const byte = this.#token();
    if (byte === MINUS || (byte >= ZERO && byte <= NINE)) {
      this.#at -= 1;
      return this.#number();
    }
    if (byte === QUOTE) return this.#text();
    if (byte === 0x74) return this.#literal('rue') ? true : undefined;
    if (byte === 0x66) return this.#literal('alse') ? false : undefined;
    if (byte === 0x6e) return this.#literal('ull') ? null : undefined;
    return undefined;
  }

  #literal(rest: string): boolean {
    for (let index = 0; index < rest.length; index += 1) {
      if (this.#bytes[this.#at + index] !== rest.charCodeAt(index)) return false;
    }
    this.#at += rest.length;
    return true;
  }

  #text(): string | undefined {
    const start = this.#at;
    for (let at = start; at - start <= this.#maxTextLength; at += 1) {
      const byte = this.#bytes[at];
      if (byte === undefined || byte < FIRST_PRINTABLE || byte > LAST_PRINTABLE || byte === BACKSLASH) return undefined;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return decoder.decode(this.#bytes.subarray(start, at));
      }
    }
    return undefined;
  }

  /** A number in the grammar of JSON (RFC 8259, section 6) that a 64-bit float can hold. */
  #number(): number | undefined {
    const start = this.#at;
    const isNegative = this.#bytes[start] === MINUS;
    const first = isNegative ? start + 1 : start;
    const whole = digitsEnd(this.#bytes, first);
    if (whole === first || (this.#bytes[first] === ZERO && whole > first + 1)) return undefined;
    let end = whole;
    if (this.#bytes[whole] === POINT) {
      end = digitsEnd(this.#bytes, whole + 1);
      if (end === whole + 1) return undefined;
    }
    const mantissaEnd = end;
    const mark = this.#bytes[end];
    if (mark === 0x65 || mark === 0x45) {
      const sign = this.#bytes[end + 1];
      const power = sign === PLUS || sign === MINUS ? end + 2 : end + 1;
      end = digitsEnd(this.#bytes, power);
      if (end === power) return undefined;
    }
    this.#at = end;
    if (end === mantissaEnd && end - first <= MAX_EXACT_DIGITS) return exact(this.#bytes, first, end, isNegative);
    const value = Number(decoder.decode(this.#bytes.subarray(start, end)));
    return Number.isFinite(value) ? value : undefined;
  }
}

function digitsEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = bytes[at];
    if (byte === undefined || byte < ZERO || byte > NINE) return at;
    at += 1;
  }
}

/** The value of digits with at most one point among them; at most {@link MAX_EXACT_DIGITS} bytes. */
function exact(bytes: Uint8Array, from: number, to: number, isNegative: boolean): number {
  let mantissa = 0;
  let decimals = -1;
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at] ?? POINT;
    if (byte === POINT) decimals = 0;
    else {
      mantissa = mantissa * 10 + (byte - ZERO);
      if (decimals >= 0) decimals += 1;
    }
  }
  const value = decimals > 0 ? mantissa / (POWERS_OF_TEN[decimals] ?? Number.NaN) : mantissa;
  return isNegative ? -value : value;
}

/**
 * A number that is the whole payload: an optional minus, digits, and decimals; spaces may stand before it (`dtostrf` pads).
 * Undefined where it is written in any other way, which the full decoder judges.
 */
export function scanNumber(payload: Uint8Array): number | undefined {
  let start = 0;
  while (payload[start] === 0x20) start += 1;
  const isNegative = payload[start] === MINUS;
  const first = isNegative ? start + 1 : start;
  let end = digitsEnd(payload, first);
  if (end === first) return undefined;
  if (payload[end] === POINT) end = digitsEnd(payload, end + 1);
  return end === payload.length && end - first <= MAX_EXACT_DIGITS ? exact(payload, first, end, isNegative) : undefined;
}
