import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';

const instant = z.iso.datetime();

/** What can be asked of a decommissioning: nothing yet, and so nothing may be sent. */
export const decommissionRequestSchema = z.strictObject({}).optional();
/** See {@link decommissionRequestSchema}. */
export type DecommissionRequest = z.infer<typeof decommissionRequestSchema>;

/** How a decommissioning is asked for. */
export const decommissionQuerySchema = z.strictObject({
  wait: z
    .string()
    .regex(/^[0-9]{1,2}s$/, 'expected seconds such as 10s, at most 99s')
    .default('10s')
    .describe('How long the answer may take; what is not done by then goes on by itself'),
  dryRun: z.enum(['true', 'false']).default('false').describe('Only shows what would be cleared'),
});
/** See {@link decommissionQuerySchema}. */
export type DecommissionQuery = z.infer<typeof decommissionQuerySchema>;

/** One retained message as it was found on a broker. */
export const retainedMessageSchema = z.object({
  broker: z.string(),
  topic: z.string(),
  bytes: z.number().int(),
  sha256: z.string(),
});
/** See {@link retainedMessageSchema}. */
export type RetainedMessage = z.infer<typeof retainedMessageSchema>;

/** What became of one retained message. */
export const clearedMessageSchema = retainedMessageSchema.extend({
  clearedAt: instant,
  reasonCode: z.number().int().describe('Of the PUBACK: 0, or 16 where nobody subscribes; both mean it was accepted'),
});
/** See {@link clearedMessageSchema}. */
export type ClearedMessage = z.infer<typeof clearedMessageSchema>;

/** The proof that nothing of a device is left on the brokers. */
export const decommissionReportSchema = z
  .object({
    device: deviceIdSchema,
    state: z.enum(['verified', 'incomplete']),
    requestedAt: instant,
    verifiedAt: instant.nullable(),
    brokers: z.array(z.string()),
    account: z
      .object({
        state: z.enum(['revoked', 'none', 'external']).describe('External: the brokers have their accounts elsewhere'),
        version: z.number().int().nullable().describe('Of the accounts in which it has none'),
        brokers: z.array(z.object({ broker: z.string(), applied: z.boolean() })),
      })
      .describe('From here on no broker lets the device in'),
    services: z
      .array(z.object({ service: z.string(), applied: z.boolean() }))
      .describe('Services that run, and whether they refuse what still comes from the device'),
    sessions: z.array(z.string()).describe('Brokers on which its session, with what was queued in it, was ended'),
    filters: z.array(z.string()).describe('Where retained messages were looked for, on every broker'),
    before: z.array(retainedMessageSchema),
    cleared: z.array(clearedMessageSchema),
    after: z.array(retainedMessageSchema).describe('What a fresh connection still found; empty when verified'),
    kept: z
      .array(z.object({ topic: z.string(), owner: z.string() }))
      .describe('Topics that another device owns as well; cleared with the last of them'),
    notDone: z
      .array(z.string())
      .describe('Steps that are not done yet, and what they wait for; what others have to do'),
  })
  .meta({ id: 'DecommissionReport' });
/** See {@link decommissionReportSchema}. */
export type DecommissionReport = z.infer<typeof decommissionReportSchema>;

/** What a decommissioning would do; nothing has been changed. */
export const decommissionPreviewSchema = z
  .object({
    device: deviceIdSchema,
    hasAccount: z.boolean().describe('Whether it has an account at the brokers, which would be taken away'),
    filters: z.array(z.string()).describe('Where retained messages were looked for, on every broker'),
    wouldClear: z.array(retainedMessageSchema),
    wouldKeep: z
      .array(z.object({ topic: z.string(), owner: z.string() }))
      .describe('Topics that another device owns as well'),
    faults: z.array(z.string()).describe('Brokers that could not be looked at, and why'),
  })
  .meta({ id: 'DecommissionPreview' });
/** See {@link decommissionPreviewSchema}. */
export type DecommissionPreview = z.infer<typeof decommissionPreviewSchema>;
