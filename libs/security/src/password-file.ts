import { pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * Rounds of PBKDF2. Mosquitto is single-threaded and derives the key anew for every connected client at each reload, so
 * 101 rounds (its own default) hold 1,000 clients up for 0.3 s. Rounds make weak passwords dearer to guess; ours are
 * 192 random bits, which no number of rounds makes any safer (docs/decisions/006-broker-accounts.md).
 */
const HASH_ROUNDS = 1;
const KEY_BYTES = 64;

/** A password that nobody chose: 192 random bits. */
export function randomPassword(): string {
  return randomBytes(24).toString('base64url');
}

/** A password as Mosquitto keeps it: PBKDF2 with SHA-512, its type 7. */
export function passwordHash(password: string, rounds = HASH_ROUNDS): string {
  const salt = randomBytes(12);
  const key = pbkdf2Sync(password, salt, rounds, KEY_BYTES, 'sha512');
  return `$7$${rounds}$${salt.toString('base64')}$${key.toString('base64')}`;
}

/** Whether a hash of {@link passwordHash} was made of this password, with the rounds that are in use now. */
export function isPasswordOf(hash: string, password: string): boolean {
  const [, type, rounds, salt, key] = hash.split('$');
  if (type !== '7' || Number(rounds) !== HASH_ROUNDS || salt === undefined || key === undefined) return false;
  const kept = Buffer.from(key, 'base64');
  const derived = pbkdf2Sync(password, Buffer.from(salt, 'base64'), HASH_ROUNDS, KEY_BYTES, 'sha512');
  return kept.length === derived.length && timingSafeEqual(kept, derived);
}

/** One line of a password file. */
export interface PasswordEntry {
  readonly username: string;
  readonly passwordHash: string;
}

/** Mosquitto's password file. */
export function renderPasswordFile(entries: readonly PasswordEntry[]): string {
  return entries.map((entry) => `${entry.username}:${entry.passwordHash}\n`).join('');
}
