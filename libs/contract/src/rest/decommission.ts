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

/** How a report is wanted. */
export const reportQuerySchema = z.strictObject({
  download: z.enum(['true', 'false', '']).default('false').describe('Whether it is to be saved as a file'),
});
/** See {@link reportQuerySchema}. */
export type ReportQuery = z.infer<typeof reportQuerySchema>;

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
  again: z
    .object({
      times: z.number().int().describe('How often the topic was cleared after the first time'),
      lastAt: instant,
      bytes: z.number().int().describe('Of the last message'),
      sha256: z.string(),
    })
    .optional()
    .describe('Where something appeared on this topic again, and was cleared again'),
});
/** See {@link clearedMessageSchema}. */
export type ClearedMessage = z.infer<typeof clearedMessageSchema>;

/** The steps of a decommissioning, in their order. */
export const decommissionStepNameSchema = z.enum([
  'tombstone',
  'services',
  'account',
  'session',
  'clear',
  'verify',
  'save',
  'verify-again',
]);
/** See {@link decommissionStepNameSchema}. */
export type DecommissionStepName = z.infer<typeof decommissionStepNameSchema>;

/** How far a step is. */
export const decommissionStepSchema = z.object({
  name: decommissionStepNameSchema,
  state: z.enum(['waiting', 'done', 'not-applicable']),
  startedAt: instant.nullable().describe('Null while an earlier step is not done'),
  finishedAt: instant.nullable(),
  waitsFor: z.array(z.string()).describe('What a step that has begun waits for: which broker or service, and why'),
});
/** See {@link decommissionStepSchema}. */
export type DecommissionStep = z.infer<typeof decommissionStepSchema>;

/** Whether the account was seen to be refused. */
export const revocationTrialSchema = z.object({
  state: z.enum(['refused', 'not-applicable', 'external', 'not-tried']),
  reason: z.string().nullable().describe('Why there was nothing to try'),
  brokers: z
    .array(
      z.object({
        broker: z.string(),
        acceptedAt: instant.describe('When the account, with a password known to nobody else, was let in'),
        at: instant.describe('When the same user name and password were refused'),
        reasonCode: z.number().int().describe('Of the CONNACK that refused: 134, 135 or 5'),
      }),
    )
    .describe('Connections that were tried as the device, on each broker'),
});
/** See {@link revocationTrialSchema}. */
export type RevocationTrial = z.infer<typeof revocationTrialSchema>;

/** A signature with the key of `GET /api/v1/signing-key`. */
export const reportSignatureSchema = z.object({
  algorithm: z.literal('Ed25519'),
  keyId: z.string().describe('The first 16 digits of the SHA-256 of the public key (DER), hexadecimal'),
  value: z.string().describe('Of the canonical JSON (RFC 8785) of the report without this property; base64'),
});
/** See {@link reportSignatureSchema}. */
export type ReportSignature = z.infer<typeof reportSignatureSchema>;

/** The public key with which reports can be checked. */
export const signingKeySchema = z
  .object({
    algorithm: z.literal('Ed25519'),
    keyId: z.string(),
    publicKey: z.string().describe('SPKI, as PEM'),
  })
  .meta({ id: 'SigningKey' });
/** See {@link signingKeySchema}. */
export type SigningKey = z.infer<typeof signingKeySchema>;

/** The proof that nothing of a device is left on the brokers. */
export const decommissionReportSchema = z
  .object({
    device: deviceIdSchema,
    state: z
      .enum(['incomplete', 'verified', 'done'])
      .describe('Verified: nothing is left on any broker. Done: looked again after each has written that to disk'),
    requestedAt: instant,
    verifiedAt: instant.nullable(),
    doneAt: instant.nullable(),
    steps: z.array(decommissionStepSchema).describe('In their order'),
    brokers: z.array(z.string()).describe('Those that are asked'),
    account: z
      .object({
        state: z.enum(['revoked', 'none', 'external']).describe('External: the brokers have their accounts elsewhere'),
        version: z.number().int().nullable().describe('Of the accounts in which it has none'),
        brokers: z.array(z.object({ broker: z.string(), applied: z.boolean() })),
        revocation: revocationTrialSchema,
      })
      .describe('From here on no broker lets the device in'),
    services: z
      .array(z.object({ service: z.string(), applied: z.boolean() }))
      .describe('Services that run, and whether they refuse what still comes from the device'),
    sessions: z.array(z.string()).describe('Brokers on which its session, with what was queued in it, was ended'),
    session: z.object({
      state: z.enum(['ended', 'waiting', 'not-purged']),
      clientId: z.string().nullable().describe('By which it was looked for'),
      reason: z.string().nullable().describe('Why it could not be ended'),
      tried: z.array(z.string()).describe('Brokers on which its place was taken, whether there was a session or not'),
    }),
    filters: z.array(z.string()).describe('Where retained messages were looked for, on every broker'),
    before: z.array(retainedMessageSchema).describe('What was found first on each topic of each broker'),
    cleared: z.array(clearedMessageSchema),
    after: z.array(retainedMessageSchema).describe('What a fresh connection still found; empty when verified'),
    verification: z
      .array(
        z.object({
          broker: z.string(),
          at: instant.describe('When a fresh connection found nothing'),
          savedAt: instant.nullable().describe('When the broker was made to write to disk what it holds'),
          againAt: instant.nullable().describe('When a fresh connection found nothing after that'),
        }),
      )
      .describe('Of each broker'),
    kept: z
      .array(z.object({ topic: z.string(), owner: z.string() }))
      .describe('Topics that another device owns as well; cleared with the last of them'),
    notDone: z
      .array(z.string())
      .describe('Steps that are not done yet, and what they wait for; what others have to do'),
    signature: reportSignatureSchema.nullable().describe('Null until it is verified'),
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

/** How a device is deleted. */
export const purgeQuerySchema = z.strictObject({
  purgeHistory: z.enum(['true', 'false']).default('false').describe('Must be true: nothing else can be deleted'),
});
/** See {@link purgeQuerySchema}. */
export type PurgeQuery = z.infer<typeof purgeQuerySchema>;

/** What was deleted. */
export const purgeResultSchema = z
  .object({
    device: deviceIdSchema,
    purgedAt: instant,
    influxdb: z.string().describe('How its telemetry was deleted'),
    rows: z.record(z.string(), z.number().int()).describe('Rows that were deleted, by table'),
  })
  .meta({ id: 'PurgeResult' });
/** See {@link purgeResultSchema}. */
export type PurgeResult = z.infer<typeof purgeResultSchema>;
