import { z } from 'zod';

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
