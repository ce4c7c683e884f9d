import { createHash, randomBytes } from 'node:crypto';

/** A new API token: 256 random bits behind a prefix by which scanners of source code find it. */
export function newToken(): string {
  return `muster_${randomBytes(32).toString('base64url')}`;
}

/** What is kept of a token. One round of SHA-256 is enough for a value that nobody can guess. */
export function tokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
