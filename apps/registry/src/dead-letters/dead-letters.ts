import type {
  DeadLetterPage,
  DeadLetterQuery,
  DeadLetterReplayAnswer,
  DeadLetterReplayProgress,
  DeadLetterReplayRequest,
} from '@muster/contract';
import {
  DEAD_LETTER_CHANNEL,
  leftOfReplay,
  Prisma,
  replayable,
  type LetterReplay,
  type PrismaClient,
} from '@muster/database';
import {
  cursorOf,
  deadLetterView,
  placeOf,
  replayProgress,
  type DeadLetterRow,
  type ReplayRow,
} from './dead-letter-view.ts';

/** Of an answer; all are counted. */
const MAX_LETTERS_SHOWN = 1_000;

/** Telemetry that could not be used, which ingestion keeps; the registry shows it, and notes who wants it read again. */
export class DeadLetters {
  constructor(private readonly database: PrismaClient) {}

  /**
   * One page, the newest first, and how far the last replay is.
   * @throws ProblemError 422 for a cursor of somewhere else
   */
  async page({ device, reason, limit, cursor }: DeadLetterQuery): Promise<DeadLetterPage> {
    const place = cursor === undefined ? undefined : placeOf(cursor);
    const conditions = [
      Prisma.sql`count > settled`,
      ...(device === undefined ? [] : [Prisma.sql`device = ${device}`]),
      ...(reason === undefined ? [] : [Prisma.sql`reason = ${reason}`]),
      ...(place === undefined
        ? []
        : [
            Prisma.sql`(last_at, device COLLATE "C", reason COLLATE "C") < (${place.last_at}::timestamptz, ${place.device}, ${place.reason})`,
          ]),
    ];
    const rows = await this.database.$queryRaw<DeadLetterRow[]>`
      SELECT letter.*, (
        SELECT count(*)::int FROM dead_letter_message
        WHERE dead_letter_message.device = letter.device AND dead_letter_message.reason = letter.reason
          AND ${replayable({})}) AS replayable
      FROM (
        SELECT * FROM dead_letter WHERE ${Prisma.join(conditions, ' AND ')}
        ORDER BY last_at DESC, device COLLATE "C" DESC, reason COLLATE "C" DESC LIMIT ${limit + 1}
      ) AS letter
      ORDER BY last_at DESC, device COLLATE "C" DESC, reason COLLATE "C" DESC`;
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    return {
      items: shown.map(deadLetterView),
      next: rows.length > limit && last !== undefined ? cursorOf(last) : null,
      replay: await this.#lastReplay(),
    };
  }

  /** Notes that dead letters are to be read again, and tells ingestion; of a dry run only how many that would be. */
  async replay({ dryRun, ids, ...choice }: DeadLetterReplayRequest, actor: string): Promise<DeadLetterReplayAnswer> {
    const chosen = { ...choice, letters: ids ?? [] };
    const rows = await this.database.$queryRaw<{ device: string; reason: string; messages: number; newest: bigint }[]>`
      SELECT device, reason, count(*)::int AS messages, max(id) AS newest FROM dead_letter_message
      WHERE ${replayable(chosen)} GROUP BY device, reason ORDER BY messages DESC, device, reason`;
    const requested = rows.reduce((sum, { messages }) => sum + messages, 0);
    const answer = {
      dryRun,
      requested,
      letters: rows
        .slice(0, MAX_LETTERS_SHOWN)
        .map(({ device, reason, messages }) => ({ id: `${device}:${reason}`, messages })),
    };
    if (dryRun || requested === 0) return { ...answer, replay: null };
    const upTo = rows.reduce((newest, row) => (row.newest > newest ? row.newest : newest), 0n);
    await this.database.$transaction([
      this.database.$executeRaw`
        INSERT INTO dead_letter_replay (requested_by, device, reason, letters, up_to, requested)
        VALUES (${actor}, ${choice.device ?? null}, ${choice.reason ?? null}, ${chosen.letters}::text[], ${upTo}, ${requested})`,
      this.database.$executeRaw`SELECT pg_notify(${DEAD_LETTER_CHANNEL}, '')`,
    ]);
    return { ...answer, replay: await this.#lastReplay() };
  }

  async #lastReplay(): Promise<DeadLetterReplayProgress | null> {
    const [asked] = await this.database.$queryRaw<LetterReplay[]>`
      SELECT id, device, reason, letters, up_to AS "upTo" FROM dead_letter_replay ORDER BY id DESC LIMIT 1`;
    if (asked === undefined) return null;
    const replay = { ...asked, device: asked.device ?? undefined, reason: asked.reason ?? undefined };
    const [row] = await this.database.$queryRaw<ReplayRow[]>`
      SELECT asked.id, requested_at, requested_by, requested, stored, failed, ended_at,
             (SELECT count(*)::int FROM dead_letter_message WHERE ${leftOfReplay(replay)}) AS left
      FROM dead_letter_replay AS asked LEFT JOIN dead_letter_replay_progress AS progress ON progress.replay = asked.id
      WHERE asked.id = ${asked.id}`;
    return row === undefined ? null : replayProgress(row);
  }
}
