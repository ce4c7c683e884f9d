import { isDataError } from '@muster/database';

/** Takes a row that can never be written, and why. */
export type OnUnstorable = (row: unknown, error: unknown) => void;

/**
 * Writes rows at once, and one by one where some of them can never be written.
 * @throws the first error that is not about the data
 */
export async function writeRows<Row>(
  rows: readonly Row[],
  write: (rows: readonly Row[]) => Promise<unknown>,
  onUnstorable: OnUnstorable,
): Promise<void> {
  if (rows.length === 0) return;
  try {
    await write(rows);
  } catch (error) {
    if (!isDataError(error)) throw error;
    if (rows.length === 1) {
      onUnstorable(rows[0], error);
      return;
    }
    const middle = Math.ceil(rows.length / 2);
    await writeRows(rows.slice(0, middle), write, onUnstorable);
    await writeRows(rows.slice(middle), write, onUnstorable);
  }
}
