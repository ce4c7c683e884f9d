import { ContractError } from './contract-error.ts';

/**
 * Whether every store takes a text: PostgreSQL has no U+0000, and neither its jsonb nor UTF-8 has lone surrogates, which
 * JSON can escape (`"\\ud800"`) and which cutting a text in the middle of a character leaves behind.
 */
export function isStorableText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

/** A text made storable and not longer than `maxLength`; what cannot be stored becomes U+FFFD. */
export function storableText(text: string, maxLength: number): string {
  return text.slice(0, maxLength).replaceAll('\0', '\uFFFD').toWellFormed();
}

/** How the bytes of a payload are to be read. */
export type Decoder = 'json' | 'number' | 'text' | 'boolean';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const BOOLEANS: Readonly<Record<string, boolean>> = {
  true: true,
  false: false,
  on: true,
  off: false,
  '1': true,
  '0': false,
};

/**
 * The payload as text.
 * @throws ContractError `payload-empty`, `payload-too-large` (checked before anything is decoded), `invalid-utf8`
 */
export function decodeText(payload: Uint8Array, maxBytes: number): string {
  if (payload.length === 0) throw new ContractError('payload-empty', 'the payload is empty');
  if (payload.length > maxBytes) {
    throw new ContractError(
      'payload-too-large',
      `the payload has ${payload.length} bytes, at most ${maxBytes} are read`,
    );
  }
  try {
    return utf8.decode(payload);
  } catch {
    throw new ContractError('invalid-utf8', 'the payload is not UTF-8');
  }
}

/**
 * A decimal number written as text, surrounding white space allowed (`dtostrf` pads).
 * @throws ContractError `not-a-number`, `not-finite` (`1e999` overflows)
 */
export function decodeNumber(text: string): number {
  const trimmed = text.trim();
  if (!DECIMAL.test(trimmed)) throw new ContractError('not-a-number', 'expected a decimal number such as 22.50');
  const value = Number(trimmed);
  if (!Number.isFinite(value)) throw new ContractError('not-finite', 'the number is too large for a 64-bit float');
  return value;
}

/**
 * `true` `false` `ON` `OFF` `1` `0`, in any case.
 * @throws ContractError `not-a-boolean`
 */
export function decodeBoolean(text: string): boolean {
  const key = text.trim().toLowerCase();
  const value = Object.hasOwn(BOOLEANS, key) ? BOOLEANS[key] : undefined;
  if (value === undefined) throw new ContractError('not-a-boolean', 'expected true, false, ON, OFF, 1 or 0');
  return value;
}

/**
 * The JSON value of a text.
 * @throws ContractError `invalid-json`
 */
export function decodeJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ContractError('invalid-json', 'the payload is not JSON');
  }
}
