import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { credentialsSchema } from './access.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');

/** What can be said of a replacement: nothing yet, and so nothing may be sent. */
export const replacementRequestSchema = z.strictObject({}).optional();
/** See {@link replacementRequestSchema}. */
export type ReplacementRequest = z.infer<typeof replacementRequestSchema>;

/** What was done on one broker, so that nothing of the old hardware reaches the new one. */
export const replacementBrokerSchema = z.object({
  broker: z.string(),
  accountApplied: z.boolean().describe('It refuses the old password, and has disconnected who used it'),
  sessionEnded: z.boolean().describe('The session of the old hardware is gone, with all that was queued in it'),
  infoCleared: z.boolean().describe('What the old hardware said about itself is no longer retained'),
  fault: z.string().nullable().describe('Why it is not done yet; it is tried again until it is'),
});
/** See {@link replacementBrokerSchema}. */
export type ReplacementBroker = z.infer<typeof replacementBrokerSchema>;

/** How new hardware took the place of old. */
export const replacementReportSchema = z
  .object({
    device: deviceIdSchema,
    state: z
      .enum(['complete', 'incomplete'])
      .describe('Incomplete: it goes on by itself until every broker has done it'),
    by: z.string(),
    requestedAt: instant,
    completedAt: instant.nullable(),
    commandsCancelled: z.number().int().describe('Commands of the old hardware that were not answered'),
    brokers: z.array(replacementBrokerSchema),
  })
  .meta({ id: 'ReplacementReport' });
/** See {@link replacementReportSchema}. */
export type ReplacementReport = z.infer<typeof replacementReportSchema>;

/** A replacement with the account of the new hardware. */
export const replacementSchema = z
  .object({ credentials: credentialsSchema, report: replacementReportSchema })
  .meta({ id: 'Replacement' });
/** See {@link replacementSchema}. */
export type Replacement = z.infer<typeof replacementSchema>;

/** How often the hardware of a device was replaced, and every time of it. */
export const replacementListSchema = z
  .object({
    count: z.number().int(),
    replacedAt: instant.nullable().describe('The last time'),
    items: z.array(replacementReportSchema).describe('The newest first, at most 100'),
  })
  .meta({ id: 'ReplacementList' });
/** See {@link replacementListSchema}. */
export type ReplacementList = z.infer<typeof replacementListSchema>;
