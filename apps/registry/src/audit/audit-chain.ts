import { createHash } from 'node:crypto';
import type { AuditEntry } from '@muster/contract';
import { canonicalJson } from '@muster/security';

/** The last entry of a chain, or of a part of it. */
export interface ChainEnd {
  readonly id: number;
  readonly hash: string;
}

/** What the first entry follows. */
export const CHAIN_START: ChainEnd = { id: 0, hash: '0'.repeat(64) };

/** An entry with its hash: SHA-256 over the canonical JSON (RFC 8785) of everything else in it. */
export function sealed(entry: Omit<AuditEntry, 'hash'>): AuditEntry {
  return { ...entry, hash: createHash('sha256').update(canonicalJson(entry)).digest('hex') };
}

/** How far a chain holds, and its first entry that does not follow from the one before. */
export interface ChainVerdict {
  readonly end: ChainEnd;
  readonly broken: { readonly id: number; readonly why: string } | null;
}

/** Whether entries, in the order of their ids, follow from each other and from what comes before them. */
export function verifyChain(entries: Iterable<AuditEntry>, start: ChainEnd = CHAIN_START): ChainVerdict {
  let end = start;
  for (const entry of entries) {
    const why = faultOf(entry, end);
    if (why !== undefined) return { end, broken: { id: entry.id, why } };
    end = { id: entry.id, hash: entry.hash };
  }
  return { end, broken: null };
}

function faultOf({ hash, ...entry }: AuditEntry, before: ChainEnd): string | undefined {
  const missing = entry.id - before.id - 1;
  if (missing !== 0) return `${missing === 1 ? 'an entry is' : `${missing} entries are`} missing before it`;
  if (entry.previousHash !== before.hash)
    return 'it does not carry the hash of the entry before: one of them was replaced';
  if (sealed(entry).hash !== hash) return 'its hash is not that of what it says: it was changed';
  return undefined;
}
