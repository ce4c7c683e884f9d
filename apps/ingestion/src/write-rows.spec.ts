import { DatabaseError } from 'pg';
import { describe, expect, it } from 'vitest';
import { ChangedRows, writeRows } from './write-rows.ts';

const AWAY = new Error('PostgreSQL is away');

function dataError(): DatabaseError {
  const error = new DatabaseError('invalid input syntax', 20, 'error');
  error.code = '22P02';
  return error;
}

interface Row {
  readonly name: string;
  isUnwritten: boolean;
}

function rowsOf(count: number): Row[] {
  return Array.from({ length: count }, (_, index) => ({ name: `row-${index}`, isUnwritten: false }));
}

/** A statement. */
function taking<Taken>(take: (rows: readonly Taken[]) => unknown): (rows: readonly Taken[]) => Promise<void> {
  return (rows) => Promise.resolve(rows).then((those) => void take(those));
}

function refused(row: unknown): void {
  expect.unreachable(`given up: ${JSON.stringify(row)}`);
}

describe('rows', () => {
  it('are written at once', async () => {
    const calls: (readonly number[])[] = [];
    const left = await writeRows(
      [1, 2, 3],
      taking((rows) => calls.push(rows)),
      refused,
    );
    expect([left, calls]).toEqual([undefined, [[1, 2, 3]]]);
  });

  it('that can never be written are given up one by one, and cost the others nothing', async () => {
    const written: number[] = [];
    const unstorable: number[] = [];
    const left = await writeRows(
      [0, 1, 2, 3, 4, 5, 6],
      taking((rows) => {
        if (rows.some((row) => row === 0 || row === 5)) throw dataError();
        written.push(...rows);
      }),
      (row) => unstorable.push(row),
    );
    expect([left, written, unstorable]).toEqual([undefined, [1, 2, 3, 4, 6], [0, 5]]);
  });

  it('that were not written when PostgreSQL went away are left, each once', async () => {
    const written: number[] = [];
    let calls = 0;
    const left = await writeRows(
      [1, 2, 3, 4, 5],
      taking((rows) => {
        calls += 1;
        if (calls === 1) throw dataError();
        if (calls > 2) throw AWAY;
        written.push(...rows);
      }),
      refused,
    );
    expect([written, left]).toEqual([[1, 2, 3], { rows: [4, 5], error: AWAY }]);
  });
});

describe('rows that have changed', () => {
  it('are written once, however often they changed, and again when they change while they are written', async () => {
    const [row] = rowsOf(1);
    if (row === undefined) throw new Error('there is one');
    const changed = new ChangedRows<Row>(refused);
    const writes: (readonly Row[])[] = [];
    const write = taking<Row>((rows) => {
      writes.push(rows);
      if (writes.length === 1) changed.take(row);
    });
    changed.take(row);
    changed.take(row);
    expect(await changed.flush(write)).toBe(1);
    expect(await changed.flush(write)).toBe(1);
    expect(await changed.flush(write)).toBe(0);
    expect(writes).toEqual([[row], [row]]);
  });

  it('are written some thousands at a time; those that PostgreSQL did not take come next time, each once', async () => {
    const rows = rowsOf(12_000);
    const changed = new ChangedRows<Row>(refused);
    for (const row of rows) changed.take(row);
    const written: Row[] = [];
    let calls = 0;
    const flush = (): Promise<number> =>
      changed.flush(
        taking((those) => {
          calls += 1;
          if (calls === 2) throw AWAY;
          written.push(...those);
        }),
      );
    await expect(flush()).rejects.toBe(AWAY);
    expect(written).toHaveLength(5_000);
    // Each of them may have changed again meanwhile.
    for (const row of rows) changed.take(row);
    await flush();
    expect(written).toHaveLength(5_000 + 12_000);
    expect(new Set(written)).toEqual(new Set(rows));
  });

  it('stay where they are not due', async () => {
    const rows = rowsOf(4);
    const changed = new ChangedRows<Row>(refused);
    for (const row of rows) changed.take(row);
    const written: string[] = [];
    const write = taking<Row>((those) => written.push(...those.map(({ name }) => name)));
    await changed.flush(write, ({ name }) => name !== 'row-2');
    expect(written).toEqual(['row-0', 'row-1', 'row-3']);
    await changed.flush(write);
    expect(written).toEqual(['row-0', 'row-1', 'row-3', 'row-2']);
  });
});
