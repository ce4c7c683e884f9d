import type { DeviceId, Reading } from '@muster/contract';
import { discover, type PrismaClient } from '@muster/database';
import { DeadLetters, type DeadLetter } from './dead-letters.ts';
import type { DeviceFigures } from './fleet.ts';
import { writeRows, type OnUnstorable } from './write-rows.ts';

interface LastReading {
  readonly device: DeviceId;
  readonly reading: Reading;
  readonly epochMs: number;
}

interface Activity {
  readonly device: DeviceId;
  lastSeenMs: number | undefined;
  messages: number;
  bytes: number;
  broker: string;
  figures: DeviceFigures | undefined;
}

/** A message whose readings have been stored. */
export interface StoredMessage {
  readonly device: DeviceId;
  readonly broker: string;
  /** Of its payload. */
  readonly bytes: number;
  readonly readings: readonly Reading[];
  readonly epochMs: number;
  /**
   * When the device was there for certain: of what had waited at the broker, not when it was received; undefined where it
   * does not say when it was sent.
   */
  readonly heardAtMs: number | undefined;
}

/** From when a broker has been listened to without a break, and until when all that was heard has been taken. */
export interface Attention {
  readonly fromMs: number;
  readonly untilMs: number;
}

const MAX_CLOCK_OFFSET_MS = 2 ** 31 - 1;

/**
 * What ingestion writes to PostgreSQL: last readings, activity and dead letters, gathered in memory, newest per key, and
 * written in one statement each (mqtt-pitfalls B11). While PostgreSQL is away it goes on gathering, bounded by its keys.
 */
export class FleetStore {
  #heard = new Set<DeviceId>();
  #readings = new Map<string, LastReading>();
  #activity = new Map<DeviceId, Activity>();
  #attention = new Map<string, Attention>();

  readonly #letters: DeadLetters;

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

  /** Takes a message whose readings have been stored. */
  stored({ device, broker, bytes, readings, epochMs, heardAtMs }: StoredMessage): void {
    this.learned(device, readings, epochMs);
    const activity = this.#activityOf(device, broker);
    activity.messages += 1;
    activity.bytes += bytes;
    activity.lastSeenMs = newest(activity.lastSeenMs, heardAtMs);
  }

  /** Takes readings that have been stored, and no more: of a message that came long ago. */
  learned(device: DeviceId, readings: readonly Reading[], epochMs: number): void {
    for (const reading of readings) {
      const key = keyOf(device, reading);
      const before = this.#readings.get(key);
      if (before === undefined || before.epochMs <= epochMs) this.#readings.set(key, { device, reading, epochMs });
    }
  }

  /** Takes that a device is heard whose message is not stored. */
  active(device: DeviceId, broker: string): void {
    this.#activityOf(device, broker);
  }

  #activityOf(device: DeviceId, broker: string): Activity {
    let activity = this.#activity.get(device);
    if (activity === undefined) {
      activity = { device, lastSeenMs: undefined, messages: 0, bytes: 0, broker, figures: undefined };
      this.#activity.set(device, activity);
    }
    activity.broker = broker;
    return activity;
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
   * now is kept for the next time, what it will never take is given up row by row. Answers the devices that turned out to
   * be tombstoned.
   * @param figuresOf asked for each device that was heard since the last flush
   * @throws the first error that is not about the data
   */
  async flush(figuresOf: (device: DeviceId) => DeviceFigures | undefined): Promise<ReadonlySet<string>> {
    const heard = this.#heard;
    const readings = this.#readings;
    const activity = this.#activity;
    // Read before what is written: what it vouches for is among it.
    const attention = [...this.#attention];
    this.#heard = new Set();
    this.#readings = new Map();
    this.#activity = new Map();
    for (const [device, one] of activity) one.figures = together(one.figures, figuresOf(device));
    const tombstoned = new Set<string>();
    const heardLeft = new Map([...heard].map((id) => [id, id]));
    const results = await Promise.allSettled([
      this.#attempt(heardLeft, async (ids) => {
        for (const id of (await discover(this.database, ids)).tombstoned) tombstoned.add(id);
      }).catch((error: unknown) => {
        for (const device of heardLeft.keys()) this.#heard.add(device);
        throw error;
      }),
      this.#attempt(readings, (rows) => this.#writeReadings(rows)).catch((error: unknown) => {
        for (const before of readings.values()) this.#keepNewest(before);
        throw error;
      }),
      this.#attempt(activity, (rows) => this.#writeActivity(rows)).catch((error: unknown) => {
        for (const before of activity.values()) this.#mergeActivity(before);
        throw error;
      }),
      this.#letters.flush(),
    ]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    await this.#writeAttention(attention);
    return tombstoned;
  }

  async #attempt<Key, Row>(left: Map<Key, Row>, write: (rows: readonly Row[]) => Promise<unknown>): Promise<void> {
    await writeRows(left, write, this.onUnstorable);
  }

  /** Takes back a reading that was not written; by their own times, because a late one may have come meanwhile. */
  #keepNewest(before: LastReading): void {
    const key = keyOf(before.device, before.reading);
    const now = this.#readings.get(key);
    if (now === undefined || now.epochMs < before.epochMs) this.#readings.set(key, before);
  }

  #mergeActivity(before: Activity): void {
    const now = this.#activity.get(before.device);
    if (now === undefined) this.#activity.set(before.device, before);
    else {
      now.messages += before.messages;
      now.bytes += before.bytes;
      now.lastSeenMs = newest(now.lastSeenMs, before.lastSeenMs);
      now.figures = together(before.figures, now.figures);
    }
  }

  async #writeReadings(rows: readonly LastReading[]): Promise<void> {
    const json = JSON.stringify(
      rows.map(({ device, reading: { metric, value, unit }, epochMs }) => ({
        device,
        metric,
        number: typeof value === 'number' ? value : null,
        boolean: typeof value === 'boolean' ? value : null,
        text: typeof value === 'string' ? value : null,
        unit: unit ?? null,
        epoch_ms: epochMs,
      })),
    );
    await this.database.$executeRaw`
      INSERT INTO last_reading (device, metric, number, boolean, text, unit, at)
      SELECT device, metric, number, boolean, text, unit, to_timestamp(epoch_ms / 1000.0)
      FROM jsonb_to_recordset(${json}::jsonb)
        AS row(device text, metric text, number float8, boolean boolean, text text, unit text, epoch_ms float8)
      ON CONFLICT (device, metric) DO UPDATE
      SET number = excluded.number, boolean = excluded.boolean, text = excluded.text, unit = excluded.unit, at = excluded.at
      WHERE last_reading.at <= excluded.at`;
  }

  async #writeActivity(rows: readonly Activity[]): Promise<void> {
    const json = JSON.stringify(
      rows.map(({ device, lastSeenMs, messages, bytes, broker, figures }) => ({
        device,
        last_seen_ms: lastSeenMs ?? null,
        ...{ messages, bytes, broker },
        lost: figures?.lost ?? 0,
        duplicates: figures?.duplicates ?? 0,
        dropped: figures?.dropped ?? 0,
        runaway_ms: figures?.runawaySinceMs ?? null,
        clock_ms: figures?.clockOffsetMs === undefined ? null : boundedClockMs(figures.clockOffsetMs),
      })),
    );
    await this.database.$executeRaw`
      INSERT INTO device_activity AS known (device, last_seen_at, messages, bytes, broker, lost, duplicates, dropped,
                                            runaway_since, clock_offset_ms)
      SELECT device, to_timestamp(coalesce(last_seen_ms, 0) / 1000.0), messages, bytes, broker, lost,
             duplicates, dropped, to_timestamp(runaway_ms / 1000.0), clock_ms
      FROM jsonb_to_recordset(${json}::jsonb) AS row(device text, last_seen_ms float8, messages bigint, bytes bigint,
           broker text, lost bigint, duplicates bigint, dropped bigint, runaway_ms float8, clock_ms int)
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

function keyOf(device: DeviceId, { metric }: Reading): string {
  return `${device} ${metric}`;
}

/** Figures of a time and of the time after it. */
function together(before: DeviceFigures | undefined, after: DeviceFigures | undefined): DeviceFigures | undefined {
  if (before === undefined || after === undefined) return after ?? before;
  return {
    ...after,
    lost: before.lost + after.lost,
    duplicates: before.duplicates + after.duplicates,
    dropped: before.dropped + after.dropped,
    clockOffsetMs: after.clockOffsetMs ?? before.clockOffsetMs,
  };
}

/** A clock that is further off than a column can hold is off by that much. */
function boundedClockMs(offsetMs: number): number {
  return Math.round(Math.max(-MAX_CLOCK_OFFSET_MS, Math.min(MAX_CLOCK_OFFSET_MS, offsetMs)));
}

function newest(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.max(one, other);
}
