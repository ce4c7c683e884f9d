import { isDataError } from '@muster/database';

/** Takes a row that can never be written, and why. */
export type OnUnstorable<Row = unknown> = (row: Row, error: unknown) => void;

/** Rows that were not written because of an error that may pass, in their order. */
export interface Unwritten<Row> {
  readonly rows: readonly Row[];
  readonly error: unknown;
}

/**
 * Writes rows at once, and by halves where some of them can never be written. Answers what is left to be written again,
 * or undefined where that is nothing; never throws what `write` does.
 */
export async function writeRows<Row>(
  rows: readonly Row[],
  write: (rows: readonly Row[]) => Promise<unknown>,
  onUnstorable: OnUnstorable<Row>,
): Promise<Unwritten<Row> | undefined> {
  const [row] = rows;
  if (row === undefined) return undefined;
  try {
    await write(rows);
    return undefined;
  } catch (error) {
    if (!isDataError(error)) return { rows, error };
    if (rows.length === 1) {
      onUnstorable(row, error);
      return undefined;
    }
    const middle = Math.ceil(rows.length / 2);
    const [first, second] = [rows.slice(0, middle), rows.slice(middle)];
    const left = await writeRows(first, write, onUnstorable);
    if (left === undefined) return writeRows(second, write, onUnstorable);
    return { rows: [...left.rows, ...second], error: left.error };
  }
}

/** More rows at once are not cheaper, and what is made of them for a statement takes memory. */
const MAX_ROWS_AT_ONCE = 5_000;

/** Rows that have changed since they were written last, each once. Where one is written, it is as it is by then. */
export class ChangedRows<Row extends { isUnwritten: boolean }> {
  #rows: Row[] = [];

  constructor(private readonly onUnstorable: OnUnstorable<Row>) {}

  /** Takes that a row has changed. */
  readonly take = (row: Row): void => {
    if (row.isUnwritten) return;
    row.isUnwritten = true;
    this.#rows.push(row);
  };

  /**
   * Writes those that are due; answers how many there were. What PostgreSQL cannot take now is kept for the next time.
   * @param write takes rows as they are when it is called
   * @param isDue where it is given, rows that are not due stay
   * @throws the first error that is not about the data
   */
  async flush(write: (rows: readonly Row[]) => Promise<void>, isDue?: (row: Row) => boolean): Promise<number> {
    const all = this.#rows;
    const due = isDue === undefined ? all : all.filter(isDue);
    this.#rows = isDue === undefined ? [] : all.filter((row) => !isDue(row));
    for (let from = 0; from < due.length; from += MAX_ROWS_AT_ONCE) {
      const rows = due.slice(from, from + MAX_ROWS_AT_ONCE);
      // What changes from now on is to be written again.
      for (const row of rows) row.isUnwritten = false;
      const left = await writeRows(rows, write, this.onUnstorable);
      if (left === undefined) continue;
      this.#rows = [...due.slice(from + MAX_ROWS_AT_ONCE), ...this.#rows];
      for (const row of left.rows) this.take(row);
      throw left.error;
    }
    return due.length;
  }
}
