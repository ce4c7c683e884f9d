import { ContractError } from './contract-error.ts';
import { decodeBoolean, decodeJson, decodeNumber, decodeText, isStorableText } from './payload.ts';
import { sessionSchema } from './status.ts';
import { scanNumber, TelemetryScanner, type ScannedObject } from './telemetry-scanner.ts';
import { isMetricName, type TelemetryEntry } from './topic-map.ts';

/** The value of a reading; numbers are finite. */
export type ReadingValue = number | boolean | string;

/** One metric at one time. */
export interface Reading {
  readonly metric: string;
  readonly value: ReadingValue;
  readonly unit: string | undefined;
}

/** When a device says that its readings were taken. */
export type ClaimedTime =
  /** Milliseconds since 1970, from the device's clock. */
  | { readonly kind: 'clock'; readonly epochMs: number }
  /** Milliseconds since the device booted: it has no clock. */
  | { readonly kind: 'uptime'; readonly uptimeMs: number }
  /** Nothing said: the time of receipt counts. */
  | { readonly kind: 'none' };

/** A field that was left out of a message whose other fields are good. */
export interface RejectedField {
  readonly field: string;
  readonly reason: 'bad-name' | 'bad-value' | 'bad-time' | 'too-many-metrics';
}

/** What a telemetry message says. */
export interface Telemetry {
  readonly readings: readonly Reading[];
  readonly time: ClaimedTime;
  readonly session: number | undefined;
  readonly seq: number | undefined;
  readonly rejected: readonly RejectedField[];
}

/** A device has at most so many metrics; beyond that they are counted, not stored. */
export const MAX_METRICS_PER_DEVICE = 64;
/** A telemetry payload has at most so many bytes. */
export const MAX_TELEMETRY_BYTES = 65_536;
const MAX_TEXT_LENGTH = 256;
/** No device runs for ten years; a larger number is a fault, and would lead to dates that no store takes. */
const MAX_UPTIME_MS = 10 * 365 * 86_400_000;
/** Values below are seconds since 1970, not milliseconds: 1e11 ms is March 1973. */
const SECONDS_BELOW = 1e11;

function clockTime(ts: unknown): ClaimedTime | undefined {
  if (typeof ts !== 'number' || !Number.isFinite(ts) || ts <= 0) return undefined;
  return { kind: 'clock', epochMs: Math.round(ts < SECONDS_BELOW ? ts * 1000 : ts) };
}

function claimedTime(ts: unknown, up: unknown, rejected: RejectedField[]): ClaimedTime {
  const clock = clockTime(ts);
  if (clock !== undefined) return clock;
  if (ts !== undefined) rejected.push({ field: 'ts', reason: 'bad-time' });
  if (typeof up === 'number' && up >= 0 && up <= MAX_UPTIME_MS) return { kind: 'uptime', uptimeMs: Math.round(up) };
  if (up !== undefined) rejected.push({ field: 'up', reason: 'bad-time' });
  return { kind: 'none' };
}

function isTextReading(value: string): boolean {
  return value.length <= MAX_TEXT_LENGTH && isStorableText(value);
}

function isStorable(value: unknown): value is ReadingValue {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value === 'string') return isTextReading(value);
  return typeof value === 'boolean';
}

function valueAt(value: Readonly<Record<string, unknown>>, path: string): unknown {
  let current: unknown = value;
  for (const step of path.split('.')) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Readonly<Record<string, unknown>>)[step];
  }
  return current;
}

type JsonEntry = Extract<TelemetryEntry, { decoder: 'json' }>;

function fromJson(value: unknown, entry: JsonEntry): Telemetry {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ContractError('invalid-json', 'expected a JSON object');
  }
  const body = value as Readonly<Record<string, unknown>>;
  const rejected: RejectedField[] = [];
  const readings: Reading[] = [];
  const add = (field: string, metric: string, unit: string | undefined, found: unknown): void => {
    if (!isStorable(found)) rejected.push({ field, reason: 'bad-value' });
    else if (readings.length >= MAX_METRICS_PER_DEVICE) rejected.push({ field, reason: 'too-many-metrics' });
    else readings.push({ metric, value: found, unit });
  };
  for (const [path, field] of Object.entries(entry.fields)) {
    const found = valueAt(body, path);
    if (found !== undefined && found !== null) add(path, field.metric, field.unit, found);
  }
  if (entry.others === 'keep') {
    for (const [name, found] of Object.entries(body)) {
      if (name === 'ts' || name === 'up' || name === 'seq' || name === 'session') continue;
      if (found === null || Object.hasOwn(entry.fields, name)) continue;
      if (isMetricName(name)) add(name, name, undefined, found);
      else rejected.push({ field: name.slice(0, 64), reason: 'bad-name' });
    }
  }
  const session = sessionSchema.safeParse(body['session']);
  const seq = sessionSchema.safeParse(body['seq']);
  if (!session.success && body['session'] !== undefined) rejected.push({ field: 'session', reason: 'bad-value' });
  if (!seq.success && body['seq'] !== undefined) rejected.push({ field: 'seq', reason: 'bad-value' });
  return {
    readings,
    time: claimedTime(body['ts'], body['up'], rejected),
    session: session.data,
    seq: seq.data,
    rejected,
  };
}

/** Whether {@link sessionSchema} takes a number; it is asked for every message. */
function isSession(value: number): boolean {
  return value >= 0 && Number.isSafeInteger(value);
}

const NOTHING_REJECTED: readonly RejectedField[] = Object.freeze([]);

function fromScan({ readings, ts, up, session, seq }: ScannedObject): Telemetry | undefined {
  if ((session !== undefined && !isSession(session)) || (seq !== undefined && !isSession(seq))) return undefined;
  const clock = clockTime(ts);
  if (clock !== undefined) return { readings, time: clock, session, seq, rejected: NOTHING_REJECTED };
  const rejected: RejectedField[] = [];
  return { readings, time: claimedTime(ts, up, rejected), session, seq, rejected };
}

function ofOneReading(entry: Exclude<TelemetryEntry, JsonEntry>, value: ReadingValue): Telemetry {
  return {
    readings: [{ metric: entry.metric, value, unit: entry.unit }],
    time: { kind: 'none' },
    session: undefined,
    seq: undefined,
    rejected: [],
  };
}

const scanners = new WeakMap<JsonEntry, TelemetryScanner>();

function scannerOf(entry: JsonEntry): TelemetryScanner {
  let scanner = scanners.get(entry);
  if (scanner === undefined) {
    scanner = new TelemetryScanner(entry, { maxReadings: MAX_METRICS_PER_DEVICE, maxTextLength: MAX_TEXT_LENGTH });
    scanners.set(entry, scanner);
  }
  return scanner;
}

function fromCommonForm(payload: Uint8Array, entry: TelemetryEntry): Telemetry | undefined {
  if (payload.length === 0 || payload.length > MAX_TELEMETRY_BYTES) return undefined;
  if (entry.decoder === 'json') {
    const scanned = scannerOf(entry).scan(payload);
    return scanned === undefined ? undefined : fromScan(scanned);
  }
  if (entry.decoder !== 'number') return undefined;
  const value = scanNumber(payload);
  return value === undefined ? undefined : ofOneReading(entry, value);
}

/**
 * What a telemetry payload says. A bad field never costs the good ones: it is listed in `rejected`. Payloads in the form
 * that devices use are read straight from their bytes; {@link decodeTelemetryFully} says what all of them mean.
 * @throws ContractError as {@link decodeTelemetryFully}
 */
export function decodeTelemetry(payload: Uint8Array, entry: TelemetryEntry): Telemetry {
  return fromCommonForm(payload, entry) ?? decodeTelemetryFully(payload, entry);
}

/**
 * What a telemetry payload says, by way of its JSON and its schemas: the definition that {@link decodeTelemetry} keeps to.
 * @throws ContractError when nothing of the payload can be used: `payload-empty`, `payload-too-large`, `invalid-utf8`,
 * `invalid-json`, `not-a-number`, `not-finite`, `not-a-boolean`, `not-a-text`
 */
export function decodeTelemetryFully(payload: Uint8Array, entry: TelemetryEntry): Telemetry {
  const text = decodeText(payload, MAX_TELEMETRY_BYTES);
  return entry.decoder === 'json'
    ? fromJson(decodeJson(text), entry)
    : ofOneReading(entry, scalar(text, entry.decoder));
}

function scalar(text: string, decoder: 'number' | 'text' | 'boolean'): ReadingValue {
  switch (decoder) {
    case 'number':
      return decodeNumber(text);
    case 'boolean':
      return decodeBoolean(text);
    case 'text':
      if (!isTextReading(text)) {
        throw new ContractError(
          'not-a-text',
          `a text reading has at most ${MAX_TEXT_LENGTH} characters, no U+0000 and no lone surrogates`,
        );
      }
      return text;
  }
}
