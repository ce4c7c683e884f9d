import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');
const reason = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,63}$/, 'expected a reason such as not-a-number')
  .describe('Why, such as not-a-number');
const letterId = z
  .string()
  .regex(
    /^[A-Za-z0-9_-]{0,64}:[a-z][a-z0-9-]{0,63}$/,
    'expected the id of a dead letter, such as sensor42:not-a-number',
  )
  .describe('`device:reason`; nothing before the colon where the topic names no device');

/** What can be asked of the dead letters. */
export const deadLetterQuerySchema = z.strictObject({
  device: deviceIdSchema.optional().describe('Only of this one'),
  reason: reason.optional().describe('Only for this reason'),
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe('Dead letters a page'),
  cursor: z
    .string()
    .max(1000)
    .regex(/^[A-Za-z0-9_-]+$/, 'expected `next` of the page before')
    .optional()
    .describe('`next` of the page before'),
});
/** See {@link deadLetterQuerySchema}. */
export type DeadLetterQuery = z.infer<typeof deadLetterQuerySchema>;

/** Telemetry of one device that could not be used for one reason, with the newest message as a sample. */
export const deadLetterSchema = z
  .object({
    id: letterId,
    device: z.string().nullable().describe('Null: the topic names none'),
    reason: z.string(),
    detail: z.string().describe('What was wrong with the newest'),
    topic: z.string().describe('Of the newest'),
    payload: z.string().nullable().describe('The first 1,024 bytes of the newest as text; null where they are none'),
    payloadBase64: z.string().describe('The same as they are'),
    payloadBytes: z.number().int().describe('How many the newest had'),
    count: z.number().int().describe('Messages; what a replay has stored since is left out'),
    firstAt: instant,
    lastAt: instant,
    replayable: z
      .number()
      .int()
      .describe('Messages of these that are kept whole and can be read again: the newest, 100 or a few more'),
  })
  .meta({ id: 'DeadLetter' });
/** See {@link deadLetterSchema}. */
export type DeadLetterView = z.infer<typeof deadLetterSchema>;

/** How far a replay is. */
export const deadLetterReplayProgressSchema = z
  .object({
    id: z.string(),
    requestedAt: instant,
    by: z.string().describe('The name of the token'),
    requested: z.number().int().describe('Messages'),
    left: z.number().int().describe('Messages that have not been read again'),
    stored: z.number().int().describe('Messages whose readings are stored now; they are no dead letters any more'),
    failedAgain: z.number().int().describe('Messages that could not be used again; they stay, with their new reason'),
    endedAt: instant.nullable(),
  })
  .meta({ id: 'DeadLetterReplayProgress' });
/** See {@link deadLetterReplayProgressSchema}. */
export type DeadLetterReplayProgress = z.infer<typeof deadLetterReplayProgressSchema>;

/** One page of dead letters, the newest first. */
export const deadLetterPageSchema = z
  .object({
    items: z.array(deadLetterSchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
    replay: deadLetterReplayProgressSchema.nullable().describe('The last replay; null where none was asked for'),
  })
  .meta({ id: 'DeadLetterPage' });
/** See {@link deadLetterPageSchema}. */
export type DeadLetterPage = z.infer<typeof deadLetterPageSchema>;

/** Which dead letters to read again; without any of them all. */
export const deadLetterReplayRequestSchema = z
  .strictObject({
    device: deviceIdSchema.optional().describe('Only of this one'),
    reason: reason.optional().describe('Only for this reason'),
    ids: z.array(letterId).min(1).max(1000).optional().describe('Only these'),
    dryRun: z.boolean().default(false).describe('Only counts what would be read again'),
  })
  .meta({ id: 'DeadLetterReplayRequest' });
/** See {@link deadLetterReplayRequestSchema}. */
export type DeadLetterReplayRequest = z.infer<typeof deadLetterReplayRequestSchema>;

/** What is going to be read again. */
export const deadLetterReplaySchema = z
  .object({
    dryRun: z.boolean(),
    requested: z.number().int().describe('Messages; where there are none, nothing was asked of ingestion'),
    letters: z
      .array(z.object({ id: letterId, messages: z.number().int() }))
      .describe('By dead letter: those with the most, 1,000 at most'),
    replay: deadLetterReplayProgressSchema.nullable().describe('Null where nothing is going to be read'),
  })
  .meta({ id: 'DeadLetterReplay' });
/** See {@link deadLetterReplaySchema}. */
export type DeadLetterReplayAnswer = z.infer<typeof deadLetterReplaySchema>;
