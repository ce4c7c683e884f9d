import { z } from 'zod';
import { isStorableText } from '../payload.ts';
import { scopeSchema } from './access.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');
const filter = z.string().min(1).max(200).refine(isStorableText, 'U+0000 and lone surrogates cannot be stored');

/** One entry of the audit log. A change has two: that it was begun, before anything is done, and how it ended. */
export const auditEntrySchema = z
  .object({
    id: z.number().int().describe('One more than that of the entry before'),
    at: instant,
    actor: z.string().nullable().describe('The name of the token; null where there was none that holds'),
    scope: scopeSchema.nullable(),
    action: z.string().describe('`PATCH /api/v1/devices/{id}`'),
    subject: z.string().nullable().describe('The device, rule, token, … that the action is about'),
    outcome: z.enum(['begun', 'done', 'refused', 'failed']),
    status: z.number().int().nullable().describe('The status of the answer; null where it was begun'),
    begun: z.number().int().nullable().describe('The entry that tells of the beginning'),
    detail: z
      .record(z.string(), z.unknown())
      .describe('The body of the request without its secrets, the query, where it came from'),
    previousHash: z.string(),
    hash: z.string().describe('SHA-256 over all of the above and the hash of the entry before'),
  })
  .meta({ id: 'AuditEntry' });
/** See {@link auditEntrySchema}. */
export type AuditEntry = z.infer<typeof auditEntrySchema>;

/** What can be asked of the audit log. */
export const auditQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe('Entries a page'),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, 'expected `next` of an earlier page')
    .optional()
    .describe('`next` of the page before'),
  subject: filter.optional().describe('Only entries about this device, rule, token, …'),
  actor: filter.optional().describe('Only what this one did'),
});
/** See {@link auditQuerySchema}. */
export type AuditQuery = z.infer<typeof auditQuerySchema>;

/** One page of the audit log, the newest first. */
export const auditPageSchema = z
  .object({
    items: z.array(auditEntrySchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .meta({ id: 'AuditPage' });
/** See {@link auditPageSchema}. */
export type AuditPage = z.infer<typeof auditPageSchema>;

/** Whether the audit log is as it was written. */
export const auditVerificationSchema = z
  .object({
    entries: z.number().int().describe('Entries up to the break, or all'),
    head: z
      .string()
      .describe('The hash of the last of them: kept elsewhere, it shows later whether the end was cut off'),
    broken: z
      .object({ id: z.number().int(), why: z.string() })
      .nullable()
      .describe('The first entry that does not follow from the one before; null where all do'),
  })
  .meta({ id: 'AuditVerification' });
/** See {@link auditVerificationSchema}. */
export type AuditVerification = z.infer<typeof auditVerificationSchema>;
