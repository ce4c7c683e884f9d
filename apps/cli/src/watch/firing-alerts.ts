import { alertSchema } from '@muster/contract';
import { z } from 'zod';

/** What the screen needs of an alert that fires. */
export const firingAlertSchema = alertSchema
  .pick({ id: true, rule: true, severity: true, subject: true, summary: true, acknowledgedAt: true })
  .extend({ startedAt: z.iso.datetime(), state: z.literal('firing') });
/** See {@link firingAlertSchema}. */
export type FiringAlert = z.infer<typeof firingAlertSchema>;

/** What `GET /api/v1/alerts?state=firing` answers. */
export const alertPageSchema = z.object({ items: z.array(firingAlertSchema), next: z.string().nullable() });
/** See {@link alertPageSchema}. */
export type AlertPage = z.infer<typeof alertPageSchema>;
