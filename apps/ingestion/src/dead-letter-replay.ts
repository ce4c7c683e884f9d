import type { TopicMap } from '@muster/contract';
import {
  ChannelFollower,
  DEAD_LETTER_CHANNEL,
  leftOfReplay,
  Prisma,
  type LetterReplay,
  type PrismaClient,
  type TombstoneSet,
} from '@muster/database';
import type { Logger } from '@muster/service';
import { SpoolError, telemetryLine } from '@muster/telemetry';
import type { DurableWrites } from './durable-writes.ts';
import { admittedReadings, type Fleet } from './fleet.ts';
import type { FleetStore } from './fleet-store.ts';
import { believedTimeMs } from './reading-time.ts';
import { readMessage, refusedParts, type Refusal } from './telemetry-message.ts';

/** Messages that are read at once; their payloads are in memory. */
const BATCH = 200;

/** A kept message as it stands in PostgreSQL. */
export interface LetterMessage {
  readonly id: bigint;
  readonly device: string;
  readonly reason: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly received_at: Date;
}

/** What has become of a message: it is durable, it cannot be used, or it is tried another time. */
type Outcome =
  | { readonly kind: 'stored'; readonly letter: LetterMessage }
  | { readonly kind: 'failed'; readonly letter: LetterMessage; readonly refusal: Refusal }
  | { readonly kind: 'later' };

/** The brokers whose dead letters a process reads: these, or all but these. */
export type LetterShare =
  | { readonly kind: 'of'; readonly brokers: readonly string[] }
  | { readonly kind: 'all-but'; readonly brokers: readonly string[] };

/** How the counts of dead letters change: `settled` of an old reason, or `added` to a new one. */
export interface CountChange {
  readonly device: string;
  readonly reason: string;
  readonly settled: number;
  readonly added: number;
  /** The newest message that was added, with what is wrong with it. */
  readonly sample: { readonly letter: LetterMessage; readonly detail: string } | undefined;
}

/**
 * Each message is read by the process that consumes its broker; those of brokers that are no more, by the process that
 * consumes the first.
 */
export function letterShare(brokers: readonly string[], own: readonly string[]): LetterShare {
  const [first] = brokers;
  if (first === undefined || !own.includes(first)) return { kind: 'of', brokers: own };
  return { kind: 'all-but', brokers: brokers.filter((name) => !own.includes(name)) };
}

/** How the counts change when these were stored, and those could not be used again; by device and reason, in order. */
export function countChanges(
  stored: readonly LetterMessage[],
  failed: readonly { readonly letter: LetterMessage; readonly refusal: Refusal }[],
): readonly CountChange[] {
  const changes = new Map<string, CountChange>();
  const change = (device: string, reason: string, by: Partial<CountChange>): void => {
    const key = `${device}:${reason}`;
    const before = changes.get(key) ?? { device, reason, settled: 0, added: 0, sample: undefined };
    const { settled = 0, added = 0, sample = before.sample } = by;
    changes.set(key, { ...before, settled: before.settled + settled, added: before.added + added, sample });
  };
  for (const { device, reason } of stored) change(device, reason, { settled: 1 });
  for (const { letter, refusal } of failed) {
    if (letter.device === refusal.device && letter.reason === refusal.reason) continue;
    change(letter.device, letter.reason, { settled: 1 });
    change(refusal.device, refusal.reason, { added: 1, sample: { letter, detail: refusal.detail } });
  }
  return [...changes.entries()].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, one]) => one);
}

/** What a replay of dead letters is made of. */
export interface DeadLetterReplayParts {
  readonly database: PrismaClient;
  readonly postgresUrl: string;
  readonly topicMap: TopicMap;
  readonly store: FleetStore;
  readonly tombstones: TombstoneSet;
  readonly share: LetterShare;
  readonly logger: Logger;
}

/**
 * Reads dead letters again when the registry says that somebody wants it. A message is removed after its readings are
 * durable, and its time does not change: who is killed in between stores the same points again. No rule hears of what
 * is read again, no quota applies, and no sequence number counts.
 */
export class DeadLetterReplay {
  readonly #parts: DeadLetterReplayParts;
  readonly #follower: ChannelFollower;
  /** Lines that are on their way, with why InfluxDB will never take them where that is so. */
  readonly #lines = new Map<string, { reason: string | undefined }>();
  #target: { readonly fleet: Fleet; readonly writes: Pick<DurableWrites, 'writeLine'> } | undefined;
  #isClosing = false;

  constructor(parts: DeadLetterReplayParts) {
    this.#parts = parts;
    this.#follower = new ChannelFollower({
      url: parts.postgresUrl,
      channel: DEAD_LETTER_CHANNEL,
      refresh: () => this.#replayAll(),
      onError: (error) => parts.logger.warn({ err: error }, 'dead letters could not be read again; it is tried again'),
    });
  }

  /** Begins, also with what an earlier process has left. */
  async start(fleet: Fleet, writes: Pick<DurableWrites, 'writeLine'>): Promise<void> {
    this.#target = { fleet, writes };
    await this.#follower.start();
    this.#follower.refresh();
  }

  /** Ends, after the messages that are under way. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#follower.close();
  }

  /** Takes that InfluxDB will never take a line; answers whether it was one of a dead letter. */
  refused(line: string, reason: string): boolean {
    const known = this.#lines.get(line);
    if (known === undefined) return false;
    known.reason = reason;
    return true;
  }

  async #replayAll(): Promise<void> {
    const replays = await this.#parts.database.$queryRaw<LetterReplay[]>`
      SELECT id, device, reason, letters, up_to AS "upTo" FROM dead_letter_replay
      WHERE NOT EXISTS (
        SELECT 1 FROM dead_letter_replay_progress AS progress WHERE progress.replay = dead_letter_replay.id AND ended_at IS NOT NULL)
      ORDER BY id`;
    for (const replay of replays.map(withoutNulls)) {
      let goesOn = true;
      while (goesOn && !this.#isClosing) goesOn = await this.#step(replay);
    }
  }

  /** Reads some messages; answers whether there may be more for this process to read now. */
  async #step(replay: LetterReplay): Promise<boolean> {
    const { database, share, logger } = this.#parts;
    const isOwn = Prisma.sql`(broker = ANY(${[...share.brokers]}::text[])) = ${share.kind === 'of'}`;
    const letters = await database.$queryRaw<LetterMessage[]>`
      SELECT id, device, reason, topic, payload, received_at FROM dead_letter_message
      WHERE ${leftOfReplay(replay)} AND ${isOwn} ORDER BY id LIMIT ${BATCH}`;
    if (letters.length === 0) {
      await this.#endWhereNoneIsLeft(replay);
      return false;
    }
    const outcomes = await Promise.all(letters.map((letter) => this.#again(letter)));
    const stored = outcomes.flatMap((outcome) => (outcome.kind === 'stored' ? [outcome.letter] : []));
    const failed = outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome] : []));
    await this.#record(replay, stored, failed);
    logger.info(
      { replay: String(replay.id), stored: stored.length, failedAgain: failed.length },
      'dead letters were read again',
    );
    return stored.length + failed.length > 0;
  }

  async #again(letter: LetterMessage): Promise<Outcome> {
    const { topicMap, tombstones, store } = this.#parts;
    const read = readMessage(topicMap.match(letter.topic), letter.payload, tombstones);
    if (read.kind === 'refused') return { kind: 'failed', letter, refusal: read.refusal };
    if (read.kind === 'tombstoned') {
      const why = { device: read.device, reason: 'decommissioned', detail: 'the device is decommissioned' };
      return { kind: 'failed', letter, refusal: why };
    }
    if (this.#target === undefined) return { kind: 'later' };
    const { fleet, writes } = this.#target;
    const known = fleet.known(read.device);
    const device = known ?? fleet.meet(read.device, Date.now());
    // More new devices this minute than are taken in.
    if (device === undefined) return { kind: 'later' };
    if (known === undefined) store.heard(device.id);
    const { admitted, excess } = admittedReadings(device, read.telemetry.readings);
    const { time, session } = read.telemetry;
    const receivedAtMs = letter.received_at.getTime();
    const bootedAtMs =
      time.kind === 'uptime' && session !== undefined
        ? await store.bootTime(device.id, session, receivedAtMs - time.uptimeMs)
        : undefined;
    const epochMs = believedTimeMs(time, receivedAtMs, bootedAtMs) ?? receivedAtMs;
    const line = telemetryLine(device.id, { ...read.telemetry, readings: admitted }, epochMs);
    if (line !== undefined) {
      const refusal = await this.#write(line, writes);
      if (refusal === 'later') return { kind: 'later' };
      if (refusal !== undefined) {
        const why = { device: device.id, reason: 'refused-by-influxdb', detail: refusal.slice(0, 500) };
        return { kind: 'failed', letter, refusal: why };
      }
      device.learn(admitted, epochMs);
      store.learned(device);
    }
    const [rest] = refusedParts(device.id, read.telemetry, excess);
    return rest === undefined ? { kind: 'stored', letter } : { kind: 'failed', letter, refusal: rest };
  }

  /** Makes a line durable; answers why InfluxDB will never take it, or that there is no room for it now. */
  async #write(line: string, writes: Pick<DurableWrites, 'writeLine'>): Promise<string | undefined> {
    const known = this.#lines.get(line) ?? { reason: undefined };
    this.#lines.set(line, known);
    try {
      await writes.writeLine(line);
      return known.reason;
    } catch (error) {
      if (error instanceof SpoolError) return 'later';
      throw error;
    } finally {
      this.#lines.delete(line);
    }
  }

  /** Short, and only of what another process has not recorded meanwhile: no figure counts twice. */
  async #record(
    replay: LetterReplay,
    stored: readonly LetterMessage[],
    failed: readonly { readonly letter: LetterMessage; readonly refusal: Refusal }[],
  ): Promise<void> {
    const refusals = JSON.stringify(failed.map(({ letter, refusal }) => ({ id: String(letter.id), ...refusal })));
    await this.#parts.database.$transaction(async (transaction) => {
      const gone = await transaction.$queryRaw<{ id: bigint }[]>`
        DELETE FROM dead_letter_message WHERE id = ANY(${stored.map(({ id }) => id)}::bigint[]) RETURNING id`;
      const kept = await transaction.$queryRaw<{ id: bigint }[]>`
        UPDATE dead_letter_message AS kept
        SET device = again.device, reason = again.reason, detail = again.detail, failed_replay = ${replay.id}
        FROM jsonb_to_recordset(${refusals}::jsonb) AS again(id bigint, device text, reason text, detail text)
        WHERE kept.id = again.id AND coalesce(kept.failed_replay, 0) < ${replay.id}
        RETURNING kept.id`;
      const done = new Set([...gone, ...kept].map(({ id }) => id));
      const changes = countChanges(
        stored.filter(({ id }) => done.has(id)),
        failed.filter(({ letter }) => done.has(letter.id)),
      );
      await writeChanges(transaction, changes);
      await transaction.$executeRaw`
        INSERT INTO dead_letter_replay_progress AS known (replay, stored, failed)
        VALUES (${replay.id}, ${gone.length}, ${kept.length})
        ON CONFLICT (replay) DO UPDATE SET stored = known.stored + excluded.stored, failed = known.failed + excluded.failed`;
    });
  }

  async #endWhereNoneIsLeft(replay: LetterReplay): Promise<void> {
    await this.#parts.database.$executeRaw`
      INSERT INTO dead_letter_replay_progress AS known (replay, ended_at)
      SELECT ${replay.id}, now()
      WHERE NOT EXISTS (SELECT 1 FROM dead_letter_message WHERE ${leftOfReplay(replay)})
      ON CONFLICT (replay) DO UPDATE SET ended_at = coalesce(known.ended_at, excluded.ended_at)`;
  }
}

/** PostgreSQL gives null where a choice says nothing. */
function withoutNulls({ id, upTo, device, reason, letters }: LetterReplay): LetterReplay {
  return { id, upTo, device: device ?? undefined, reason: reason ?? undefined, letters: letters ?? [] };
}

async function writeChanges(transaction: Prisma.TransactionClient, changes: readonly CountChange[]): Promise<void> {
  if (changes.length === 0) return;
  const json = JSON.stringify(
    changes.map(({ device, reason, settled, added, sample }) => ({
      ...{ device, reason, settled, added, detail: sample?.detail ?? '', topic: sample?.letter.topic ?? '' },
      payload: Buffer.from(sample?.letter.payload.subarray(0, 1_024) ?? []).toString('base64'),
      payload_size: sample?.letter.payload.length ?? 0,
      at_ms: sample?.letter.received_at.getTime() ?? 0,
    })),
  );
  // In one order, as those that come are counted. One that is not there any more has nothing to be settled.
  await transaction.$executeRaw`
    INSERT INTO dead_letter AS known (device, reason, topic, payload, payload_size, detail, count, settled, first_at, last_at)
    SELECT device, reason, topic, decode(payload, 'base64'), payload_size, detail, added, 0,
           to_timestamp(at_ms / 1000.0), to_timestamp(at_ms / 1000.0)
    FROM jsonb_to_recordset(${json}::jsonb) AS row(device text, reason text, topic text, payload text, payload_size int,
         detail text, added bigint, at_ms float8)
    WHERE added > 0
    ORDER BY device, reason
    ON CONFLICT (device, reason) DO UPDATE
    SET count = known.count + excluded.count, first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at)`;
  await transaction.$executeRaw`
    WITH changed AS (
      SELECT known.device, known.reason, row.settled
      FROM dead_letter AS known
      JOIN jsonb_to_recordset(${json}::jsonb) AS row(device text, reason text, settled bigint) USING (device, reason)
      WHERE row.settled > 0 ORDER BY known.device, known.reason FOR UPDATE OF known
    )
    UPDATE dead_letter AS known SET settled = least(known.settled + changed.settled, known.count)
    FROM changed WHERE known.device = changed.device AND known.reason = changed.reason`;
}
