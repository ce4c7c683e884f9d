import { storableText, type DeviceId, type Reading } from '@muster/contract';
import { discover, isDataError, type PrismaClient } from '@muster/database';
import type { DeviceFigures } from './fleet.ts';

/** Telemetry that could not be used. */
export interface DeadLetter {
  /** The device, or empty where the topic has none. */
  readonly device: DeviceId | '';
  readonly reason: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly detail: string;
  readonly atMs: number;
}

interface Sample extends DeadLetter {
  readonly payloadSize: number;
}

interface LastReading {
  readonly device: DeviceId;
  readonly reading: Reading;
  readonly epochMs: number;
}

interface Activity {
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

interface LetterCount {
  letter: Sample;
  count: number;
  firstAtMs: number;
}

/** Beyond so many different (device, reason) pairs between two writes, dead letters count under no device. */
const MAX_LETTER_KEYS = 2_000;
const MAX_SAMPLE_BYTES = 1_024;
const MAX_TOPIC_LENGTH = 512;
const MAX_CLOCK_OFFSET_MS = 2 ** 31 - 1;

/**
 * What ingestion writes to PostgreSQL: last readings, activity and dead letters, gathered in memory, newest per key, and
 * written in one statement each (mqtt-pitfalls B11). While PostgreSQL is away it goes on gathering, bounded by its keys.
 */
export class FleetStore {
  #heard = new Set<DeviceId>();
  #readings = new Map<string, LastReading>();
  #activity = new Map<DeviceId, Activity>();
  #letters = new Map<string, LetterCount>();
  #attention = new Map<string, Attention>();

  constructor(
    private readonly database: PrismaClient,
    private readonly onUnstorable: (row: unknown, error: unknown) => void,
  ) {}

  /** Marks a device to be entered into the registry. */
  heard(device: DeviceId): void {
    this.#heard.add(device);
  }

  /** Takes a message whose readings have been stored. */
  stored({ device, broker, bytes, readings, epochMs, heardAtMs }: StoredMessage): void {
    for (const reading of readings) {
      const key = keyOf(device, reading);
      const before = this.#readings.get(key);
      if (before === undefined || before.epochMs <= epochMs) this.#readings.set(key, { device, reading, epochMs });
    }
    const activity = this.#activityOf(device, broker);
    activity.messages += 1;
    activity.bytes += bytes;
    activity.lastSeenMs = newest(activity.lastSeenMs, heardAtMs);
  }

  /** Takes that a device is heard whose message is not stored. */
  active(device: DeviceId, broker: string): void {
    this.#activityOf(device, broker);
  }

  #activityOf(device: DeviceId, broker: string): Activity {
    let activity = this.#activity.get(device);
    if (activity === undefined) {
      activity = { lastSeenMs: undefined, messages: 0, bytes: 0, broker, figures: undefined };
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
    const ownKey = `${letter.device} ${letter.reason}`;
    const crowded = !this.#letters.has(ownKey) && this.#letters.size >= MAX_LETTER_KEYS;
    const kept: Sample = {
      ...letter,
      device: crowded ? '' : letter.device,
      topic: storableText(letter.topic, MAX_TOPIC_LENGTH),
      // A copy: a view would keep the whole message in memory.
      payload: new Uint8Array(letter.payload.subarray(0, MAX_SAMPLE_BYTES)),
      payloadSize: letter.payload.length,
      detail: storableText(letter.detail, 500),
    };
    const key = `${kept.device} ${kept.reason}`;
    const before = this.#letters.get(key);
    this.#letters.set(key, {
      letter: kept,
      count: (before?.count ?? 0) + 1,
      firstAtMs: before?.firstAtMs ?? letter.atMs,
    });
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
    const letters = this.#letters;
    // Read before what is written: what it vouches for is among it.
    const attention = [...this.#attention];
    this.#heard = new Set();
    this.#readings = new Map();
    this.#activity = new Map();
    this.#letters = new Map();
    for (const [device, one] of activity) one.figures = together(one.figures, figuresOf(device));
    const tombstoned = new Set<string>();
    const heardLeft = new Map([...heard].map((id) => [id, id]));
    const results = await Promise.allSettled([
      this.#attempt(heardLeft, async (rows) => {
        const known = await discover(
          this.database,
          rows.map(([id]) => id),
        );
        for (const id of known.tombstoned) tombstoned.add(id);
      }).catch((error: unknown) => {
        for (const device of heardLeft.keys()) this.#heard.add(device);
        throw error;
      }),
      this.#attempt(readings, (rows) => this.#writeReadings(rows.map(([, row]) => row))).catch((error: unknown) => {
        for (const before of readings.values()) this.#keepNewest(before);
        throw error;
      }),
      this.#attempt(activity, (rows) => this.#writeActivity(rows)).catch((error: unknown) => {
        for (const [device, before] of activity) this.#mergeActivity(device, before);
        throw error;
      }),
      this.#attempt(letters, (rows) => this.#writeLetters(rows.map(([, row]) => row))).catch((error: unknown) => {
        for (const [key, before] of letters) this.#mergeLetters(key, before);
        throw error;
      }),
    ]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    await this.#writeAttention(attention);
    return tombstoned;
  }

  /**
   * Writes rows at once, and one by one where some of them can never be written. Takes out what need not be written
   * again: after a failure the others are left.
   */
  async #attempt<Key, Row>(
    left: Map<Key, Row>,
    write: (rows: readonly (readonly [Key, Row])[]) => Promise<unknown>,
    rows: readonly (readonly [Key, Row])[] = [...left],
  ): Promise<void> {
    if (rows.length === 0) return;
    try {
      await write(rows);
    } catch (error) {
      if (!isDataError(error)) throw error;
      if (rows.length > 1) {
        const middle = Math.ceil(rows.length / 2);
        await this.#attempt(left, write, rows.slice(0, middle));
        await this.#attempt(left, write, rows.slice(middle));
        return;
      }
      this.onUnstorable(rows[0], error);
    }
    for (const [key] of rows) left.delete(key);
  }

  /** Takes back a reading that was not written; by their own times, because a late one may have come meanwhile. */
  #keepNewest(before: LastReading): void {
    const key = keyOf(before.device, before.reading);
    const now = this.#readings.get(key);
    if (now === undefined || now.epochMs < before.epochMs) this.#readings.set(key, before);
  }

  #mergeActivity(device: DeviceId, before: Activity): void {
    const now = this.#activity.get(device);
    if (now === undefined) this.#activity.set(device, before);
    else {
      now.messages += before.messages;
      now.bytes += before.bytes;
      now.lastSeenMs = newest(now.lastSeenMs, before.lastSeenMs);
      now.figures = together(before.figures, now.figures);
    }
  }

  #mergeLetters(key: string, before: LetterCount): void {
    const now = this.#letters.get(key);
    this.#letters.set(
      key,
      now === undefined ? before : { ...now, count: now.count + before.count, firstAtMs: before.firstAtMs },
    );
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

  async #writeActivity(rows: readonly (readonly [DeviceId, Activity])[]): Promise<void> {
    const json = JSON.stringify(
      rows.map(([device, { lastSeenMs, messages, bytes, broker, figures }]) => ({
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

  async #writeLetters(rows: readonly LetterCount[]): Promise<void> {
    const json = JSON.stringify(
      rows.map(({ letter, count, firstAtMs }) => ({
        device: letter.device,
        reason: letter.reason,
        topic: letter.topic,
        payload: Buffer.from(letter.payload).toString('base64'),
        payload_size: letter.payloadSize,
        detail: letter.detail,
        count,
        first_ms: firstAtMs,
        last_ms: letter.atMs,
      })),
    );
    await this.database.$executeRaw`
      INSERT INTO dead_letter (device, reason, topic, payload, payload_size, detail, count, first_at, last_at)
      SELECT device, reason, topic, decode(payload, 'base64'), payload_size, detail, count,
             to_timestamp(first_ms / 1000.0), to_timestamp(last_ms / 1000.0)
      FROM jsonb_to_recordset(${json}::jsonb) AS row(device text, reason text, topic text, payload text, payload_size int,
           detail text, count bigint, first_ms float8, last_ms float8)
      ON CONFLICT (device, reason) DO UPDATE
      SET topic = excluded.topic, payload = excluded.payload, payload_size = excluded.payload_size, detail = excluded.detail,
          count = dead_letter.count + excluded.count, last_at = excluded.last_at`;
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
