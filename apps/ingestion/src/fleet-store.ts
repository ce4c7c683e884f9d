import type { DeviceId } from '@muster/contract';
import { discover, type BulkConnection, type PrismaClient } from '@muster/database';
import { DeadLetters, type DeadLetter } from './dead-letters.ts';
import { DeviceActivity } from './device-activity.ts';
import type { KnownDevice } from './fleet.ts';
import { LastReadings } from './last-readings.ts';
import { writeRows, type OnUnstorable } from './write-rows.ts';

/** From when a broker has been listened to without a break, and until when all that was heard has been taken. */
export interface Attention {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What a flush has written. */
export interface Flushed {
  readonly rows: number;
  /** Devices that turned out to be tombstoned. */
  readonly tombstoned: ReadonlySet<string>;
}

/**
 * What ingestion writes to PostgreSQL: last readings, activity and dead letters. It is gathered where the devices are kept
 * in memory, newest per key, and written in one statement each (mqtt-pitfalls B11). While PostgreSQL is away it goes on
 * gathering, bounded by its keys.
 */
export class FleetStore {
  #heard: DeviceId[] = [];
  readonly #readings: LastReadings;
  readonly #activity: DeviceActivity;
  readonly #attention = new Map<string, Attention>();
  readonly #letters: DeadLetters;

  constructor(
    private readonly database: PrismaClient,
    bulk: Pick<BulkConnection, 'execute'>,
    private readonly onUnstorable: OnUnstorable,
  ) {
    this.#readings = new LastReadings(bulk, onUnstorable);
    this.#activity = new DeviceActivity(bulk, onUnstorable);
    this.#letters = new DeadLetters(database, onUnstorable);
  }

  /** Marks a device to be entered into the registry. */
  heard(device: DeviceId): void {
    this.#heard.push(device);
  }

  /**
   * Takes that a message of a device is durable, and what the device has learned: that may be of another message, which
   * is not durable yet and comes next.
   * @param bytes of its payload
   * @param heardAtMs when the device was there for certain: of what had waited at the broker, not when it was received; 0
   *   where it does not say when it was sent
   */
  stored(device: KnownDevice, broker: string, bytes: number, heardAtMs: number): void {
    this.active(device, broker);
    device.messages += 1;
    device.bytes += bytes;
    if (heardAtMs > device.heardAtMs) device.heardAtMs = heardAtMs;
    this.learned(device);
  }

  /** Takes what a device has learned from what is durable, and no more: of a message that came long ago. */
  learned(device: KnownDevice): void {
    device.takeChanged(this.#readings.take);
  }

  /** Takes that a device is heard, of which there is nothing to store. */
  active(device: KnownDevice, broker: string): void {
    this.#activity.take(device, broker);
  }

  /** Takes how a broker is listened to: with it whoever is silent can be told from whom nobody has heard. */
  attend(broker: string, attention: Attention): void {
    this.#attention.set(broker, attention);
  }

  /** Takes a dead letter. */
  deadLetter(letter: DeadLetter): void {
    this.#letters.take(letter);
  }

  /** The devices and metrics that are known already. */
  async knownMetrics(): Promise<readonly { readonly device: DeviceId; readonly metrics: readonly string[] }[]> {
    return this.database.$queryRaw<{ device: DeviceId; metrics: string[] }[]>`
      SELECT device.id AS device, coalesce(array_agg(last_reading.metric) FILTER (WHERE last_reading.metric IS NOT NULL), '{}') AS metrics
      FROM device LEFT JOIN last_reading ON last_reading.device = device.id
      WHERE device.state NOT IN ('decommissioned', 'archived')
      GROUP BY device.id`;
  }

  /**
   * When a device without a clock booted: fixed by the first message of a session, so that redelivery after a restart
   * gives the same times.
   */
  async bootTime(device: DeviceId, session: number, claimedMs: number): Promise<number> {
    const [row] = await this.database.$queryRaw<{ booted_at: Date }[]>`
      INSERT INTO boot_time (device, session, booted_at) VALUES (${device}, ${session}::bigint, ${new Date(claimedMs)}::timestamptz)
      ON CONFLICT (device, session) DO UPDATE SET booted_at = boot_time.booted_at
      RETURNING booted_at`;
    return row?.booted_at.getTime() ?? claimedMs;
  }

  /**
   * Writes all that was gathered. Each kind is written whether or not the others succeed: what PostgreSQL cannot take
   * now is kept for the next time, what it will never take is given up row by row.
   * @param activityAgeMs what a device has done is written when the last time is so long ago: who sends rarely is seen at
   *   once, and who sends often does not cost a row each time
   * @throws the first error that is not about the data
   */
  async flush(nowMs: number, activityAgeMs = 0): Promise<Flushed> {
    // Read before what is written: what it vouches for is among it.
    const attention = [...this.#attention];
    const tombstoned = new Set<string>();
    const results = await Promise.allSettled([
      this.#discover(tombstoned),
      this.#readings.flush(),
      this.#activity.flush(nowMs, activityAgeMs),
      this.#letters.flush().then(() => 0),
    ]);
    let rows = 0;
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
      rows += result.value;
    }
    await this.#writeAttention(attention);
    return { rows, tombstoned };
  }

  /** Enters new devices; answers how many, and adds those that must stay silent. */
  async #discover(tombstoned: Set<string>): Promise<number> {
    const heard = this.#heard;
    this.#heard = [];
    const enter = async (ids: readonly DeviceId[]): Promise<void> => {
      for (const id of (await discover(this.database, ids)).tombstoned) tombstoned.add(id);
    };
    const left = await writeRows(heard, enter, this.onUnstorable);
    if (left === undefined) return heard.length;
    this.#heard = [...left.rows, ...this.#heard];
    throw left.error;
  }

  async #writeAttention(rows: readonly (readonly [string, Attention])[]): Promise<void> {
    if (rows.length === 0) return;
    const json = JSON.stringify(
      rows.map(([broker, { fromMs, untilMs }]) => ({ broker, from_ms: fromMs, until_ms: untilMs })),
    );
    await this.database.$executeRaw`
      INSERT INTO ingestion_attention (broker, "from", until)
      SELECT broker, to_timestamp(from_ms / 1000.0), to_timestamp(until_ms / 1000.0)
      FROM jsonb_to_recordset(${json}::jsonb) AS row(broker text, from_ms float8, until_ms float8)
      ON CONFLICT (broker) DO UPDATE SET "from" = excluded."from", until = excluded.until
      WHERE ingestion_attention.until <> excluded.until`;
  }
}
