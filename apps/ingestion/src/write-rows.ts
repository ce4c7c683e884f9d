import { isDataError } from '@muster/database';

/** Takes a row that can never be written, and why. */
export type OnUnstorable = (row: unknown, error: unknown) => void;

/**
 * Writes rows at once, and one by one where some of them can never be written. Takes out of `left` what need not be
 * written again: after a failure the others are there.
 * @throws the first error that is not about the data
 */
export async function writeRows<Key, Row>(
  left: Map<Key, Row>,
  write: (rows: readonly Row[]) => Promise<unknown>,
  onUnstorable: OnUnstorable,
  entries: readonly (readonly [Key, Row])[] = [...left],
): Promise<void> {
  if (entries.length === 0) return;
  try {
    await write(entries.map(([, row]) => row));
  } catch (error) {
    if (!isDataError(error)) throw error;
    if (entries.length > 1) {
      const middle = Math.ceil(entries.length / 2);
      await writeRows(left, write, onUnstorable, entries.slice(0, middle));
      await writeRows(left, write, onUnstorable, entries.slice(middle));
      return;
    }
    onUnstorable(entries[0]?.[1], error);
  }
  for (const [key] of entries) left.delete(key);
}
