import { z } from 'zod';

/** What an event `readings` of `GET /api/v1/live` carries. */
export const liveReadingsSchema = z.object({
  broker: z.string(),
  readings: z.array(
    z.object({
      device: z.string(),
      metric: z.string(),
      value: z.union([z.number(), z.boolean(), z.string()]),
      unit: z.string().nullable(),
      at: z.number().describe('By the device, in milliseconds since 1970'),
      qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
      late: z.boolean().describe('It waited while a store was away'),
    }),
  ),
});
/** See {@link liveReadingsSchema}. */
export type LiveReadings = z.infer<typeof liveReadingsSchema>;

/** An alert that fires. */
export const firingAlertSchema = z.object({
  id: z.string(),
  rule: z.string(),
  severity: z.enum(['info', 'warning', 'critical']),
  subject: z.string(),
  summary: z.string(),
  startedAt: z.iso.datetime(),
  state: z.literal('firing'),
  acknowledgedAt: z.iso.datetime().nullable(),
});
/** See {@link firingAlertSchema}. */
export type FiringAlert = z.infer<typeof firingAlertSchema>;

/** What `GET /api/v1/alerts?state=firing` answers. */
export const alertPageSchema = z.object({ items: z.array(firingAlertSchema), next: z.string().nullable() });
/** See {@link alertPageSchema}. */
export type AlertPage = z.infer<typeof alertPageSchema>;
