import type { DeviceId } from '@muster/contract';
import { discover, type PrismaClient } from '@muster/database';
import { DeadLetters, type DeadLetter } from './dead-letters.ts';
import type { DeviceFigures, KnownDevice, NewestReading } from './fleet.ts';
import { writeRows, type OnUnstorable } from './write-rows.ts';

/** What a device has done since PostgreSQL was told. */
interface Activity {
  readonly device: KnownDevice;
  readonly heardAtMs: number;
  readonly messages: number;
  readonly bytes: number;
  readonly broker: string;
  readonly figures: DeviceFigures;
}

/** From when a broker has been listened to without a break, and until when all that was heard has been taken. */
export interface Attention {
  readonly fromMs: number;
  readonly untilMs: number;
}

const MAX_CLOCK_OFFSET_MS = 2 ** 31 - 1;

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
  #heard = new Set<DeviceId>();
  #readings: NewestReading[] = [];
  #devices: KnownDevice[] = [];
  /** Of flushes that PostgreSQL has not taken: what they had counted is not counted again. */
  #unwritten: Activity[] = [];
  readonly #attention = new Map<string, Attention>();
  readonly #letters: DeadLetters;
  readonly #takeReading = (newest: NewestReading): void => {
    if (newest.isUnwritten) return;
    newest.isUnwritten = true;
    this.#readings.push(newest);
  };

  constructor(
    private readonly database: PrismaClient,
    private readonly onUnstorable: OnUnstorable,
  ) {
    this.#letters = new DeadLetters(database, onUnstorable);
  }

  /** Marks a device to be entered into the registry. */
  heard(device: DeviceId): void {
    this.#heard.add(device);
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
    device.takeChanged(this.#takeReading);
  }

  /** Takes that a device is heard, of which there is nothing to store. */
  active(device: KnownDevice, broker: string): void {
    device.broker = broker;
    if (device.isUnwritten) return;
    device.isUnwritten = true;
    this.#devices.push(device);
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
    const heard = new Set(this.#heard);
    const readings = new Set(this.#readings);
    const activity = new Set(this.#activity(nowMs, activityAgeMs));
    // Read before what is written: what it vouches for is among it.
    const attention = [...this.#attention];
    this.#heard = new Set();
    this.#readings = [];
    // What comes from now on is to be written again.
    for (const newest of readings) newest.isUnwritten = false;
    const rows = heard.size + readings.size + activity.size;
    const tombstoned = new Set<string>();
    const results = await Promise.allSettled([
      this.#attempt(heard, async (ids) => {
        for (const id of (await discover(this.database, ids)).tombstoned) tombstoned.add(id);
      }).catch((error: unknown) => {
        for (const device of heard) this.#heard.add(device);
        throw error;
      }),
      this.#attempt(readings, (those) => this.#writeReadings(those)).catch((error: unknown) => {
        // The newest by their own times: a late one that has come meanwhile has changed nothing.
        for (const newest of readings) this.#takeReading(newest);
        throw error;
      }),
      this.#attempt(activity, (those) => this.#writeActivity(those)).catch((error: unknown) => {
        this.#unwritten = [...activity];
        throw error;
      }),
      this.#letters.flush(),
    ]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    await this.#writeAttention(attention);
    return { rows, tombstoned };
  }

  /** What the devices have done, with what has not been written of it before; it is taken from them. */
  #activity(nowMs: number, minimumAgeMs: number): readonly Activity[] {
    const before = new Map(this.#unwritten.map((one) => [one.device, one]));
    const isDue = (device: KnownDevice): boolean => nowMs - device.writtenAtMs >= minimumAgeMs;
    const devices = this.#devices.filter(isDue);
    this.#devices = this.#devices.filter((device) => !isDue(device));
    this.#unwritten = [];
    for (const device of devices) {
      const { heardAtMs, messages, bytes, broker } = device;
      const activity = { device, heardAtMs, messages, bytes, broker, figures: device.newFigures(nowMs) };
      device.heardAtMs = device.messages = device.bytes = 0;
      device.isUnwritten = false;
      device.writtenAtMs = nowMs;
      before.set(device, together(before.get(device), activity));
    }
    return [...before.values()];
  }

  async #attempt<Row>(left: Set<Row>, write: (rows: readonly Row[]) => Promise<unknown>): Promise<void> {
    await writeRows(left, write, this.onUnstorable);
  }

  /** By columns: half the work of rows as JSON, for PostgreSQL and here. */
  async #writeReadings(rows: readonly NewestReading[]): Promise<void> {
    await this.database.$executeRaw`
      INSERT INTO last_reading (device, metric, number, boolean, text, unit, at)
      SELECT device, metric, number, boolean, text, unit, to_timestamp(epoch_ms / 1000.0)
      FROM unnest(${plainArray(rows, ({ device }) => `"${device}"`)}::text[],
                  ${plainArray(rows, ({ metric }) => `"${metric}"`)}::text[],
                  ${plainArray(rows, ({ value }) => (typeof value === 'number' ? value : null))}::float8[],
                  ${plainArray(rows, ({ value }) => (typeof value === 'boolean' ? value : null))}::boolean[],
                  ${textArray(rows, ({ value }) => (typeof value === 'string' ? value : null))}::text[],
                  ${textArray(rows, ({ unit }) => unit ?? null)}::text[],
                  ${plainArray(rows, ({ epochMs }) => epochMs)}::float8[])
        AS row(device, metric, number, boolean, text, unit, epoch_ms)
      ON CONFLICT (device, metric) DO UPDATE
      SET number = excluded.number, boolean = excluded.boolean, text = excluded.text, unit = excluded.unit, at = excluded.at
      WHERE last_reading.at <= excluded.at`;
  }

  async #writeActivity(rows: readonly Activity[]): Promise<void> {
    await this.database.$executeRaw`
      INSERT INTO device_activity AS known (device, last_seen_at, messages, bytes, broker, lost, duplicates, dropped,
                                            runaway_since, clock_offset_ms)
      SELECT device, to_timestamp(heard_ms / 1000.0), messages, bytes, broker, lost,
             duplicates, dropped, to_timestamp(runaway_ms / 1000.0), clock_ms
      FROM unnest(${textArray(rows, ({ device }) => device.id)}::text[],
                  ${plainArray(rows, ({ heardAtMs }) => heardAtMs)}::float8[],
                  ${plainArray(rows, ({ messages }) => messages)}::bigint[],
                  ${plainArray(rows, ({ bytes }) => bytes)}::bigint[],
                  ${textArray(rows, ({ broker }) => broker)}::text[],
                  ${plainArray(rows, ({ figures }) => figures.lost)}::bigint[],
                  ${plainArray(rows, ({ figures }) => figures.duplicates)}::bigint[],
                  ${plainArray(rows, ({ figures }) => figures.dropped)}::bigint[],
                  ${plainArray(rows, ({ figures }) => figures.runawaySinceMs ?? null)}::float8[],
                  ${plainArray(rows, ({ figures }) => boundedClockMs(figures.clockOffsetMs))}::int[])
        AS row(device, heard_ms, messages, bytes, broker, lost, duplicates, dropped, runaway_ms, clock_ms)
      ON CONFLICT (device) DO UPDATE
      SET last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
          messages = known.messages + excluded.messages, bytes = known.bytes + excluded.bytes, broker = excluded.broker,
          lost = greatest(known.lost + excluded.lost, 0), duplicates = known.duplicates + excluded.duplicates,
          dropped = known.dropped + excluded.dropped, runaway_since = excluded.runaway_since,
          clock_offset_ms = coalesce(excluded.clock_offset_ms, known.clock_offset_ms), written_at = now()`;
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

/** What a device has done in a time and in the time after it. */
function together(before: Activity | undefined, after: Activity): Activity {
  if (before === undefined) return after;
  return {
    ...after,
    heardAtMs: Math.max(before.heardAtMs, after.heardAtMs),
    messages: before.messages + after.messages,
    bytes: before.bytes + after.bytes,
    figures: {
      ...after.figures,
      lost: before.figures.lost + after.figures.lost,
      duplicates: before.figures.duplicates + after.figures.duplicates,
      dropped: before.figures.dropped + after.figures.dropped,
      clockOffsetMs: after.figures.clockOffsetMs ?? before.figures.clockOffsetMs,
    },
  };
}

/** A clock that is further off than a column can hold is off by that much. */
function boundedClockMs(offsetMs: number | undefined): number | null {
  if (offsetMs === undefined) return null;
  return Math.round(Math.max(-MAX_CLOCK_OFFSET_MS, Math.min(MAX_CLOCK_OFFSET_MS, offsetMs)));
}

/**
 * An array as PostgreSQL reads it (section 8.15.2 of its manual), of what needs no escaping: numbers, booleans, and names
 * that have been checked, in quotes.
 */
function plainArray<Row>(rows: readonly Row[], value: (row: Row) => number | boolean | string | null): string {
  let elements = '';
  for (const row of rows) elements += elements === '' ? String(value(row)) : `,${value(row)}`;
  return `{${elements}}`;
}

const TO_ESCAPE = /["\\]/g;

/** An array of texts as PostgreSQL reads it: in quotes, so that a text of the letters null is none. */
function textArray<Row>(rows: readonly Row[], value: (row: Row) => string | null): string {
  const elements = rows.map((row) => {
    const text = value(row);
    return text === null ? 'null' : `"${text.replace(TO_ESCAPE, '\\$&')}"`;
  });
  return `{${elements.join(',')}}`;
}
