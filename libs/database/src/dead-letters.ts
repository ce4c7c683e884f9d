import { Prisma } from './client/client.ts';

/** The channel on which the registry tells that dead letters are to be read again. */
export const DEAD_LETTER_CHANNEL = 'muster_dead_letter';

/** Which dead letters are meant; what is left out excludes none. */
export interface LetterChoice {
  readonly device?: string | undefined;
  readonly reason?: string | undefined;
  /** `device:reason` of each. */
  readonly letters?: readonly string[] | undefined;
}

/** A replay that was asked for. */
export interface LetterReplay extends LetterChoice {
  readonly id: bigint;
  /** The newest message that there was. */
  readonly upTo: bigint;
}

/**
 * The condition on rows of dead_letter_message that a replay of this choice would take: never those of a device that
 * must stay silent.
 */
export function replayable({ device, reason, letters = [] }: LetterChoice): Prisma.Sql {
  return Prisma.join(
    [
      Prisma.sql`NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.device = dead_letter_message.device)`,
      ...(device === undefined ? [] : [Prisma.sql`dead_letter_message.device = ${device}`]),
      ...(reason === undefined ? [] : [Prisma.sql`dead_letter_message.reason = ${reason}`]),
      ...(letters.length === 0
        ? []
        : [
            Prisma.sql`(dead_letter_message.device || ':' || dead_letter_message.reason) = ANY(${[...letters]}::text[])`,
          ]),
    ],
    ' AND ',
  );
}

/** The condition on rows of dead_letter_message that a replay has yet to read. */
export function leftOfReplay(replay: LetterReplay): Prisma.Sql {
  return Prisma.sql`dead_letter_message.id <= ${replay.upTo}
    AND coalesce(dead_letter_message.failed_replay, 0) < ${replay.id} AND ${replayable(replay)}`;
}
