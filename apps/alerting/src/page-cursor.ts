import { ProblemError } from '@muster/service';

/** The cursor behind an item, from what it is ordered by. */
export function cursorOf(parts: readonly string[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/**
 * What a cursor was made of.
 * @throws ProblemError 422
 */
export function partsOf(cursor: string, count: number): readonly string[] {
  const refused = new ProblemError(422, 'cursor: expected `next` of an earlier page');
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw refused;
  }
  if (!Array.isArray(parts) || parts.length !== count) throw refused;
  if (!parts.every((part) => typeof part === 'string' && !part.includes('\0') && part.isWellFormed())) throw refused;
  return parts as string[];
}
