import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';

/** A query parameter that may be repeated. */
const asList = (value: unknown): unknown => (value === undefined || Array.isArray(value) ? value : [value]);

/** What a stream of live readings is asked for. */
export const liveQuerySchema = z.strictObject({
  device: z
    .preprocess(asList, z.array(deviceIdSchema).max(200).default([]))
    .describe('Only these; repeat it for several'),
  metric: z
    .preprocess(asList, z.array(z.string().min(1).max(64)).max(200).default([]))
    .describe('Only these; repeat it for several'),
});
/** See {@link liveQuerySchema}. */
export type LiveQuery = z.infer<typeof liveQuerySchema>;

/** The data of one event. */
export const liveReadingsSchema = z
  .object({
    broker: z.string(),
    readings: z.array(
      z.object({
        device: z.string(),
        metric: z.string(),
        value: z.union([z.number(), z.boolean(), z.string()]),
        unit: z.string().nullable(),
        at: z.number().int().describe('Device time, milliseconds since 1970'),
        qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
        late: z.boolean().describe('News of the past: redelivered, replayed or old'),
      }),
    ),
  })
  .meta({ id: 'LiveReadings' });
/** See {@link liveReadingsSchema}. */
export type LiveReadings = z.infer<typeof liveReadingsSchema>;
