import type { BulkConnection } from '@muster/database';
import { ArrayColumn } from './array-column.ts';
import type { NewestReading } from './fleet.ts';
import { ChangedRows, type OnUnstorable } from './write-rows.ts';

/** The newest readings that PostgreSQL has not been told of, each once. */
export class LastReadings {
  readonly #changed: ChangedRows<NewestReading>;
  readonly #columns = {
    device: new ArrayColumn(),
    metric: new ArrayColumn(),
    number: new ArrayColumn(),
    boolean: new ArrayColumn(),
    text: new ArrayColumn(),
    unit: new ArrayColumn(),
    epochMs: new ArrayColumn(),
  };

  constructor(
    private readonly bulk: Pick<BulkConnection, 'execute'>,
    onUnstorable: OnUnstorable,
  ) {
    this.#changed = new ChangedRows<NewestReading>(onUnstorable);
  }

  /** Takes a reading that has changed; one that comes late has not. */
  readonly take = (newest: NewestReading): void => this.#changed.take(newest);

  /**
   * Writes them; answers how many there were. What PostgreSQL cannot take now is kept for the next time.
   * @throws the first error that is not about the data
   */
  async flush(): Promise<number> {
    return this.#changed.flush((rows) => this.#write(rows));
  }

  /** By columns: half the work of rows as JSON, for PostgreSQL and here. */
  async #write(rows: readonly NewestReading[]): Promise<void> {
    const { device, metric, number, boolean, text, unit, epochMs } = this.#columns;
    // Times as differences have a third of the digits.
    const nowMs = Date.now();
    for (const column of Object.values(this.#columns)) column.clear();
    for (const row of rows) {
      const { other } = row;
      device.name(row.device);
      metric.name(row.metric);
      number.number(other === undefined ? row.number : null);
      boolean.boolean(typeof other === 'boolean' ? other : null);
      text.text(typeof other === 'string' ? other : null);
      unit.text(row.unit ?? null);
      epochMs.number(row.epochMs - nowMs);
    }
    await this.bulk.execute(
      `INSERT INTO last_reading (device, metric, number, boolean, text, unit, at)
       SELECT device, metric, number, boolean, text, unit, to_timestamp(($8::text::float8 + epoch_ms) / 1000.0)
       FROM unnest($1::text::text[], $2::text::text[], $3::text::float8[], $4::text::boolean[], $5::text::text[],
                   $6::text::text[], $7::text::float8[])
         AS row(device, metric, number, boolean, text, unit, epoch_ms)
       ON CONFLICT (device, metric) DO UPDATE
       SET number = excluded.number, boolean = excluded.boolean, text = excluded.text, unit = excluded.unit, at = excluded.at
       WHERE last_reading.at <= excluded.at`,
      [...Object.values(this.#columns).map(({ bytes }) => bytes), Buffer.from(String(nowMs))],
    );
  }
}
