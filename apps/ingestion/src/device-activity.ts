import type { BulkConnection } from '@muster/database';
import { ArrayColumn } from './array-column.ts';
import type { KnownDevice } from './fleet.ts';
import { ChangedRows, type OnUnstorable } from './write-rows.ts';

/** What devices have done since PostgreSQL was told. It stays with them until PostgreSQL has taken it. */
export class DeviceActivity {
  readonly #changed: ChangedRows<KnownDevice>;
  readonly #columns = {
    device: new ArrayColumn(),
    heardAtMs: new ArrayColumn(),
    messages: new ArrayColumn(),
    bytes: new ArrayColumn(),
    broker: new ArrayColumn(),
    lost: new ArrayColumn(),
    duplicates: new ArrayColumn(),
    dropped: new ArrayColumn(),
    runawaySinceMs: new ArrayColumn(),
    clockOffsetMs: new ArrayColumn(),
  };

  constructor(
    private readonly bulk: Pick<BulkConnection, 'execute'>,
    onUnstorable: OnUnstorable,
  ) {
    this.#changed = new ChangedRows((device, error) => {
      const { id, broker, heardAtMs, untold } = device;
      device.told(untold);
      onUnstorable({ device: id, broker, heardAtMs, ...untold }, error);
    });
  }

  /** Takes that a device was heard. */
  take(device: KnownDevice, broker: string): void {
    device.broker = broker;
    this.#changed.take(device);
  }

  /**
   * Writes what has been done; answers of how many devices. What PostgreSQL cannot take now is kept for the next time.
   * @param minimumAgeMs of those that were written less than so long ago, later
   * @throws the first error that is not about the data
   */
  async flush(nowMs: number, minimumAgeMs: number): Promise<number> {
    return this.#changed.flush(
      (devices) => this.#write(devices, nowMs),
      (device) => nowMs - device.writtenAtMs >= minimumAgeMs,
    );
  }

  async #write(devices: readonly KnownDevice[], nowMs: number): Promise<void> {
    const columns = this.#columns;
    for (const column of Object.values(columns)) column.clear();
    const told = devices.map((device) => {
      const { untold } = device;
      columns.device.name(device.id);
      columns.heardAtMs.number(device.heardAtMs === 0 ? null : device.heardAtMs - nowMs);
      columns.messages.number(untold.messages);
      columns.bytes.number(untold.bytes);
      columns.broker.text(device.broker);
      columns.lost.number(untold.lost);
      columns.duplicates.number(untold.duplicates);
      columns.dropped.number(untold.dropped);
      columns.runawaySinceMs.number(device.quota.runaway?.sinceMs ?? null);
      columns.clockOffsetMs.number(device.clock.offsetMs(nowMs) ?? null);
      return untold;
    });
    await this.bulk.execute(
      `INSERT INTO device_activity AS known (device, last_seen_at, messages, bytes, broker, lost, duplicates, dropped,
                                             runaway_since, clock_offset_ms)
       SELECT device, to_timestamp(coalesce($11::text::float8 + heard_ms, 0) / 1000.0), messages, bytes, broker, lost,
              duplicates, dropped, to_timestamp(runaway_ms / 1000.0), clock_ms
       FROM unnest($1::text::text[], $2::text::float8[], $3::text::bigint[], $4::text::bigint[], $5::text::text[],
                   $6::text::bigint[], $7::text::bigint[], $8::text::bigint[], $9::text::float8[], $10::text::int[])
         AS row(device, heard_ms, messages, bytes, broker, lost, duplicates, dropped, runaway_ms, clock_ms)
       ON CONFLICT (device) DO UPDATE
       SET last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
           messages = known.messages + excluded.messages, bytes = known.bytes + excluded.bytes, broker = excluded.broker,
           lost = greatest(known.lost + excluded.lost, 0), duplicates = known.duplicates + excluded.duplicates,
           dropped = known.dropped + excluded.dropped, runaway_since = excluded.runaway_since,
           clock_offset_ms = coalesce(excluded.clock_offset_ms, known.clock_offset_ms), written_at = now()`,
      [...Object.values(columns).map(({ bytes }) => bytes), Buffer.from(String(nowMs))],
    );
    for (const [index, device] of devices.entries()) {
      const written = told[index];
      if (written !== undefined) device.told(written);
      device.writtenAtMs = nowMs;
    }
  }
}
