import { createHash } from 'node:crypto';

/** An entry names so many devices; of more it has the hash. */
const MAX_NAMED = 500;

const notes = new WeakMap<object, object>();

/** Has something that only the operation of a request knows recorded in the entry that tells how the request ended. */
export function noteInAudit(request: object, note: object): void {
  notes.set(request, { ...notes.get(request), ...note });
}

/** All that was noted about a request. */
export function notesOf(request: object): Readonly<Record<string, unknown>> {
  return { ...notes.get(request) };
}

/** Which devices were changed, as an entry of the audit log has it. */
export interface ChangedDevices {
  readonly changed: number;
  /** The first of them, in the order of their code points. */
  readonly devices: readonly string[];
  /** SHA-256 over all of them in this order, each with a line feed behind it: `LC_ALL=C sort | sha256sum`. */
  readonly devicesSha256: string;
}

/** The devices that were changed at once, however many they are. */
export function changedDevices(ids: readonly string[]): ChangedDevices {
  // Ids are ASCII: the order of their UTF-16 units is that of their bytes.
  const sorted = [...ids].sort();
  return {
    changed: sorted.length,
    devices: sorted.slice(0, MAX_NAMED),
    devicesSha256: sha256(sorted.map((id) => `${id}\n`).join('')),
  };
}

/** Which file was read, as an entry of the audit log has it. */
export function fileRead(bytes: Uint8Array): { readonly bytes: number; readonly sha256: string } {
  return { bytes: bytes.length, sha256: sha256(bytes) };
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
