import { passwordHash, renderPasswordFile } from '../password-file.ts';
import { MAX_ACCOUNTS_LENGTH } from './access-list.ts';
import { textLines, type Place, type Source } from './configuration.ts';

/** One account of a password file; its hash is not kept. */
export interface PasswordEntry {
  readonly username: string;
  /** `sha512` is `$6$`, one salted round; `pbkdf2` is `$7$`. `plain` and `damaged` lines are no accounts to Mosquitto. */
  readonly scheme:
    { readonly kind: 'sha512' | 'plain' | 'damaged' } | { readonly kind: 'pbkdf2'; readonly rounds: number };
  readonly place: Place;
}

/** Rounds that mosquitto_passwd writes. */
const HASH_ROUNDS = 101;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

function schemeOf(hash: string): PasswordEntry['scheme'] {
  if (!hash.startsWith('$')) return { kind: hash === '' ? 'damaged' : 'plain' };
  const [, type = '', ...fields] = hash.split('$');
  const rounds = type === '7' ? Number(fields.shift()) : 1;
  const isWhole = fields.length === 2 && fields.every((field) => BASE64.test(field));
  if (!isWhole || !Number.isInteger(rounds) || rounds < 1) return { kind: 'damaged' };
  if (type === '7') return { kind: 'pbkdf2', rounds };
  return { kind: type === '6' ? 'sha512' : 'damaged' };
}

/**
 * Reads the accounts of a password file.
 * @throws AdvisorError `too-large`, `not-text`
 */
export function parsePasswordFile(source: Source): readonly PasswordEntry[] {
  return textLines(source, MAX_ACCOUNTS_LENGTH).flatMap((text, index) => {
    const colon = text.indexOf(':');
    if (text.startsWith('#') || colon < 1) return [];
    const place = { file: source.file, line: index + 1 };
    return [{ username: text.slice(0, colon), scheme: schemeOf(text.slice(colon + 1).trim()), place }];
  });
}

/** One line of a Mosquitto password file, with the rounds that a password needs which somebody chose. */
export function passwordLine(username: string, password: string): string {
  return renderPasswordFile([{ username, passwordHash: passwordHash(password, HASH_ROUNDS) }]).trimEnd();
}

/**
 * A password file in which passwords that stood there as they are have become hashes; every other line is kept.
 * @throws AdvisorError `too-large`, `not-text`
 */
export function hashPlainPasswords(source: Source): string {
  const plain = new Set(
    parsePasswordFile(source)
      .filter(({ scheme }) => scheme.kind === 'plain')
      .map(({ place }) => place.line),
  );
  const lines = textLines(source, MAX_ACCOUNTS_LENGTH).map((text, index) => {
    if (!plain.has(index + 1)) return text;
    const colon = text.indexOf(':');
    return passwordLine(text.slice(0, colon), text.slice(colon + 1).trim());
  });
  return `${lines.join('\n').trimEnd()}\n`;
}
