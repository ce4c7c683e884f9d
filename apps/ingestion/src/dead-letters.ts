import { isStorableText, MAX_TELEMETRY_BYTES, storableText, type DeviceId, type Telemetry } from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import { believedTimeMs } from './reading-time.ts';
import { writeRows, type OnUnstorable } from './write-rows.ts';

/** Telemetry that could not be used. */
export interface DeadLetter {
  /** The device, or empty where the topic has none. */
  readonly device: DeviceId | '';
  readonly reason: string;
  readonly broker: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly detail: string;
  readonly atMs: number;
  /** Whether the message itself is kept, to be read again, or only the beginning of the newest. */
  readonly kept: 'message' | 'sample';
}

interface Sample extends Omit<DeadLetter, 'kept' | 'broker'> {
  readonly payloadSize: number;
}

interface LetterCount {
  letter: Sample;
  count: number;
  firstAtMs: number;
}

/** A message as it came. */
export type KeptMessage = Omit<DeadLetter, 'kept'>;

/** Beyond so many different (device, reason) pairs between two writes, dead letters count under no device. */
const MAX_LETTER_KEYS = 2_000;
const MAX_SAMPLE_BYTES = 1_024;
const MAX_TOPIC_LENGTH = 512;
const MAX_DETAIL_LENGTH = 500;
/** Of each (device, reason) so many messages are kept, and at times some more: they are counted now and then. */
export const KEPT_PER_LETTER = 100;
const UNCOUNTED_PER_LETTER = 50;
const KEPT_OVER_ALL = 100_000;
const UNCOUNTED_OVER_ALL = 5_000;
/** Pairs whose messages are counted; beyond that only the bound over all holds. */
const MAX_COUNTED_KEYS = 10_000;
/** Of messages that wait in memory for PostgreSQL. */
const MAX_WAITING_BYTES = 8_000_000;

/**
 * Whether a message of which only some fields could be used is kept. Its good fields are stored: reading it again must
 * give the same time, which is so where the message says it.
 */
export function keptWhereSomeIsStored({ time, session }: Telemetry, receivedAtMs: number): DeadLetter['kept'] {
  if (time.kind === 'uptime') return session === undefined ? 'sample' : 'message';
  return believedTimeMs(time, receivedAtMs, undefined) === undefined ? 'sample' : 'message';
}

/**
 * Messages with times of receipt that no two of a topic have in common: read again they would overwrite each other.
 * @param last the last time of each topic; it is brought up to date
 */
export function withDistinctTimes(messages: readonly KeptMessage[], last: Map<string, number>): readonly KeptMessage[] {
  return messages.map((message) => {
    const atMs = Math.max(message.atMs, (last.get(message.topic) ?? 0) + 1);
    last.set(message.topic, atMs);
    return { ...message, atMs };
  });
}

/**
 * Dead letters on their way to PostgreSQL: of each (device, reason) a count with the newest as a sample, and the newest
 * messages as they came. Both are gathered in memory, bounded, and written in one statement each.
 */
export class DeadLetters {
  #counts = new Map<string, LetterCount>();
  #waiting = new Map<string, KeptMessage[]>();
  #waitingBytes = 0;
  /** Messages that PostgreSQL may have or not: written again they must have the same times. */
  #underWay: readonly KeptMessage[] = [];
  readonly #lastTimes = new Map<string, number>();
  /** How many messages were written of each pair since they were counted. */
  readonly #uncounted = new Map<string, { readonly device: string; readonly reason: string; messages: number }>();
  #uncountedOverAll = UNCOUNTED_OVER_ALL;

  constructor(
    private readonly database: PrismaClient,
    private readonly onUnstorable: OnUnstorable,
  ) {}

  /** Takes a dead letter. */
  take(letter: DeadLetter): void {
    const crowded = !this.#counts.has(keyOf(letter)) && this.#counts.size >= MAX_LETTER_KEYS;
    const { kept, broker: _, ...rest } = letter;
    const counted: Sample = {
      ...rest,
      device: crowded ? '' : letter.device,
      topic: storableText(letter.topic, MAX_TOPIC_LENGTH),
      // A copy: a view would keep the whole message in memory.
      payload: new Uint8Array(letter.payload.subarray(0, MAX_SAMPLE_BYTES)),
      payloadSize: letter.payload.length,
      detail: storableText(letter.detail, MAX_DETAIL_LENGTH),
    };
    const key = keyOf(counted);
    const before = this.#counts.get(key);
    this.#counts.set(key, {
      letter: counted,
      count: (before?.count ?? 0) + 1,
      firstAtMs: before?.firstAtMs ?? letter.atMs,
    });
    if (kept === 'message' && !crowded) this.#keep({ ...letter, detail: counted.detail });
  }

  /**
   * Writes all that was gathered; what PostgreSQL cannot take now is kept for the next time.
   * @throws the first error that is not about the data
   */
  async flush(): Promise<void> {
    const results = await Promise.allSettled([this.#flushCounts(), this.#writeMessages()]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #flushCounts(): Promise<void> {
    const counts = [...this.#counts.values()];
    this.#counts = new Map();
    const left = await writeRows(counts, (rows) => this.#writeCounts(rows), this.onUnstorable);
    if (left === undefined) return;
    for (const before of left.rows) this.#mergeCount(before);
    throw left.error;
  }

  #keep({ device, reason, broker, topic, payload, detail, atMs }: KeptMessage): void {
    if (payload.length > MAX_TELEMETRY_BYTES || topic.length > MAX_TOPIC_LENGTH || !isStorableText(topic)) return;
    // A copy: a view would keep all that was received with it in memory.
    this.#wait({ device, reason, broker, topic, payload: new Uint8Array(payload), detail, atMs });
  }

  #wait(message: KeptMessage): void {
    const key = keyOf(message);
    const those = this.#waiting.get(key) ?? [];
    if (those.length === 0) this.#waiting.set(key, those);
    those.push(message);
    this.#waitingBytes += message.payload.length;
    if (those.length > KEPT_PER_LETTER) this.#waitingBytes -= those.shift()?.payload.length ?? 0;
    for (const [oldest, messages] of this.#waiting) {
      if (this.#waitingBytes <= MAX_WAITING_BYTES) return;
      for (const { payload } of messages) this.#waitingBytes -= payload.length;
      this.#waiting.delete(oldest);
    }
  }

  #mergeCount(before: LetterCount): void {
    const key = keyOf(before.letter);
    const now = this.#counts.get(key);
    this.#counts.set(
      key,
      now === undefined ? before : { ...now, count: now.count + before.count, firstAtMs: before.firstAtMs },
    );
  }

  async #writeMessages(): Promise<void> {
    if (this.#underWay.length === 0) {
      this.#underWay = withDistinctTimes([...this.#waiting.values()].flat(), this.#lastTimes);
      this.#waiting = new Map();
      this.#waitingBytes = 0;
    }
    if (this.#underWay.length === 0) return;
    const written = this.#underWay;
    const left = await writeRows(written, (rows) => this.#insert(rows), this.onUnstorable);
    this.#underWay = left?.rows ?? [];
    if (left !== undefined) throw left.error;
    this.#count(written);
    // What comes from now on is received later.
    const nowMs = Date.now();
    for (const [topic, atMs] of this.#lastTimes) if (atMs < nowMs) this.#lastTimes.delete(topic);
    await this.#trim();
  }

  #count(written: readonly KeptMessage[]): void {
    if (this.#uncounted.size > MAX_COUNTED_KEYS) this.#uncounted.clear();
    for (const message of written) {
      const key = keyOf(message);
      const counted = this.#uncounted.get(key);
      if (counted === undefined)
        this.#uncounted.set(key, { device: message.device, reason: message.reason, messages: 1 });
      else counted.messages += 1;
    }
    this.#uncountedOverAll += written.length;
  }

  async #trim(): Promise<void> {
    const full = [...this.#uncounted].filter(([, { messages }]) => messages >= UNCOUNTED_PER_LETTER);
    if (full.length > 0) {
      const keys = JSON.stringify(full.map(([, { device, reason }]) => ({ device, reason })));
      await this.database.$executeRaw`
        DELETE FROM dead_letter_message WHERE id IN (
          SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY device, reason ORDER BY id DESC) AS place
            FROM dead_letter_message
            JOIN jsonb_to_recordset(${keys}::jsonb) AS full_one(device text, reason text) USING (device, reason)
          ) AS numbered WHERE place > ${KEPT_PER_LETTER})`;
      for (const [key] of full) this.#uncounted.delete(key);
    }
    if (this.#uncountedOverAll < UNCOUNTED_OVER_ALL) return;
    await this.database.$executeRaw`
      DELETE FROM dead_letter_message
      WHERE id <= (SELECT id FROM dead_letter_message ORDER BY id DESC OFFSET ${KEPT_OVER_ALL} LIMIT 1)`;
    this.#uncountedOverAll = 0;
  }

  async #insert(rows: readonly KeptMessage[]): Promise<void> {
    const json = JSON.stringify(
      rows.map(({ payload, atMs, ...row }) => ({
        ...row,
        payload: Buffer.from(payload).toString('base64'),
        at_ms: atMs,
      })),
    );
    await this.database.$executeRaw`
      INSERT INTO dead_letter_message (device, reason, detail, broker, topic, payload, received_at)
      SELECT device, reason, detail, broker, topic, decode(payload, 'base64'), to_timestamp(at_ms / 1000.0)
      FROM jsonb_to_recordset(${json}::jsonb) AS row(device text, reason text, detail text, broker text, topic text,
           payload text, at_ms float8)`;
  }

  async #writeCounts(rows: readonly LetterCount[]): Promise<void> {
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
    // In one order, as the replay does: neither waits for the other in a circle.
    await this.database.$executeRaw`
      INSERT INTO dead_letter (device, reason, topic, payload, payload_size, detail, count, first_at, last_at)
      SELECT device, reason, topic, decode(payload, 'base64'), payload_size, detail, count,
             to_timestamp(first_ms / 1000.0), to_timestamp(last_ms / 1000.0)
      FROM jsonb_to_recordset(${json}::jsonb) AS row(device text, reason text, topic text, payload text, payload_size int,
           detail text, count bigint, first_ms float8, last_ms float8)
      ORDER BY device, reason
      ON CONFLICT (device, reason) DO UPDATE
      SET topic = excluded.topic, payload = excluded.payload, payload_size = excluded.payload_size, detail = excluded.detail,
          count = dead_letter.count + excluded.count, last_at = excluded.last_at`;
  }
}

function keyOf({ device, reason }: Pick<DeadLetter, 'device' | 'reason'>): string {
  return `${device} ${reason}`;
}
