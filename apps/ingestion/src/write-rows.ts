import { isDataError } from '@muster/database';

/** Takes a row that can never be written, and why. */
export type OnUnstorable = (row: unknown, error: unknown) => void;

/**
 * Writes rows at once, and one by one where some of them can never be written. Takes out of `left` what need not be
 * written again: after a failure the others are there.
 * @throws the first error that is not about the data
 */
export async function writeRows<Row>(
  left: Set<Row>,
  write: (rows: readonly Row[]) => Promise<unknown>,
  onUnstorable: OnUnstorable,
  rows: readonly Row[] = [...left],
): Promise<void> {
  if (rows.length === 0) return;
  try {
    await write(rows);
  } catch (error) {
    if (!isDataError(error)) throw error;
    if (rows.length > 1) {
      const middle = Math.ceil(rows.length / 2);
      await writeRows(left, write, onUnstorable, rows.slice(0, middle));
      await writeRows(left, write, onUnstorable, rows.slice(middle));
      return;
    }
    onUnstorable(rows[0], error);
  }
  for (const row of rows) left.delete(row);
}
