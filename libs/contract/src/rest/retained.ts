import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { isStorableText } from '../payload.ts';
import { isTopicFilter } from '../topic-pattern.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const brokerName = z.string().min(1).max(100).refine(isStorableText, 'U+0000 and lone surrogates cannot be stored');
const pageSize = z.coerce.number().int().min(1).max(1000).default(100);
const cursor = z
  .string()
  .max(9000)
  .regex(/^[A-Za-z0-9_-]+$/, 'expected `next` of the page before')
  .optional()
  .describe('`next` of the page before');
const next = z.string().nullable().describe('The cursor of the next page; null on the last');

/** An MQTT topic filter that people send: `+` and `#` as in MQTT 5, section 4.7.1, and no control characters. */
export const topicFilterSchema = z
  .string()
  .max(1024)
  .refine(isStorableText, 'U+0000 and lone surrogates cannot be stored')
  .refine((text) => !CONTROL.test(text), 'expected no control characters')
  .refine(
    isTopicFilter,
    'expected an MQTT topic filter: + stands for a whole level, # for all levels at the end, such as home/+/light/#',
  );

/** What can be asked of the ledger. */
export const retainedQuerySchema = z.strictObject({
  broker: brokerName.optional(),
  device: deviceIdSchema.optional(),
  topic: topicFilterSchema.optional().describe('An MQTT topic filter; a topic without + and # is that topic alone'),
  limit: pageSize.describe('Topics a page'),
  cursor,
});
/** See {@link retainedQuerySchema}. */
export type RetainedQuery = z.infer<typeof retainedQuerySchema>;

/** One topic that is retained on one broker, as the ledger knows it. */
export const retainedTopicSchema = z
  .object({
    broker: z.string(),
    topic: z.string(),
    device: z.string().nullable().describe('Whose it is, by the topic map or by its info; null: nobody’s'),
    bytes: z.number().int(),
    sha256: z.string().describe('Of the payload, which is not kept'),
    qos: z.number().int().nullable().describe('Null: it was found by a sweep, which reads at QoS 0'),
    firstSeenAt: instant,
    lastSeenAt: instant.describe('When it was last published, or found with another payload'),
    expiresAt: instant.nullable().describe('By the message expiry of its publisher'),
    expired: z.boolean().describe('By our own clock: the broker tells nobody, and may still count it'),
  })
  .meta({ id: 'RetainedTopic' });
/** See {@link retainedTopicSchema}. */
export type RetainedTopic = z.infer<typeof retainedTopicSchema>;

/** One page of the ledger, in the order of topics. */
export const retainedPageSchema = z.object({ items: z.array(retainedTopicSchema), next }).meta({ id: 'RetainedPage' });
/** See {@link retainedPageSchema}. */
export type RetainedPage = z.infer<typeof retainedPageSchema>;

/** Why a retained topic is an orphan. */
export const orphanReasonSchema = z
  .enum(['no-owner', 'no-device', 'tombstoned'])
  .describe('no-owner: no device id in it; no-device: no such device; tombstoned: the device is decommissioned');
/** See {@link orphanReasonSchema}. */
export type OrphanReason = z.infer<typeof orphanReasonSchema>;

/** What can be asked of the list of orphans. */
export const orphanQuerySchema = z.strictObject({ broker: brokerName.optional(), limit: pageSize, cursor });
/** See {@link orphanQuerySchema}. */
export type OrphanQuery = z.infer<typeof orphanQuerySchema>;

/** A retained topic that no device in service has. */
export const orphanSchema = retainedTopicSchema.extend({ reason: orphanReasonSchema }).meta({ id: 'Orphan' });
/** See {@link orphanSchema}. */
export type Orphan = z.infer<typeof orphanSchema>;

/** One page of orphans; it may be shorter than asked for, and others may follow all the same. */
export const orphanPageSchema = z.object({ items: z.array(orphanSchema), next }).meta({ id: 'OrphanPage' });
/** See {@link orphanPageSchema}. */
export type OrphanPage = z.infer<typeof orphanPageSchema>;

/** Which orphans to clear. */
export const sweepRequestSchema = z
  .strictObject({
    preview: z.boolean().default(true).describe('Only shows what would be cleared'),
    allow: z
      .array(
        topicFilterSchema.refine(
          (filter) => !filter.startsWith('$') && filter.split('/')[0] !== 'muster',
          '$ topics and muster/ are never cleared',
        ),
      )
      .min(1)
      .max(100)
      .describe('Topic filters: an orphan that none of them matches is left alone'),
    broker: brokerName.optional(),
    limit: z.number().int().min(1).max(10_000).default(1000).describe('409, and nothing is cleared, if there are more'),
    expect: z
      .number()
      .int()
      .min(0)
      .optional()
      .describe('How many the preview showed: 409, and nothing is cleared, if there are more or fewer now'),
  })
  .meta({ id: 'SweepRequest' });
/** See {@link sweepRequestSchema}. */
export type SweepRequest = z.infer<typeof sweepRequestSchema>;

/** What became of one orphan. */
export const sweptTopicSchema = orphanSchema
  .pick({
    broker: true,
    topic: true,
    device: true,
    bytes: true,
    sha256: true,
    reason: true,
  })
  .extend({
    outcome: z
      .enum(['would-clear', 'cleared', 'gone-before', 'kept', 'still-there', 'not-verified'])
      .describe('gone-before: no longer on the broker; kept: a device in service has it by now'),
    detail: z.string().nullable().describe('Why it was not cleared'),
    reasonCode: z.number().int().nullable().describe('Of the PUBACK: 0, or 16 where nobody subscribes'),
  });
/** See {@link sweptTopicSchema}. */
export type SweptTopic = z.infer<typeof sweptTopicSchema>;

/** What a sweep did, or would do. */
export const sweepReportSchema = z
  .object({ preview: z.boolean(), count: z.number().int(), items: z.array(sweptTopicSchema) })
  .meta({ id: 'SweepReport' });
/** See {@link sweepReportSchema}. */
export type SweepReport = z.infer<typeof sweepReportSchema>;

/** How the ledger of one broker compares with what the broker counts. */
export const brokerDriftSchema = z.object({
  broker: z.string(),
  listening: z.boolean().describe('Whether the ledger hears the broker now, and has read what was there before'),
  ledger: z.number().int().describe('Topics of the ledger that have not expired'),
  expired: z.number().int().describe('Topics that have expired by our own clock'),
  counted: z
    .object({ retained: z.number().int(), at: instant })
    .nullable()
    .describe('What the broker last said that it retains; it says so when the figure changes'),
  baseline: z
    .object({ system: z.number().int(), muster: z.number().int(), at: instant })
    .nullable()
    .describe('Topics that are not in the ledger by design: the broker’s own under $SYS, and those under muster/'),
  drift: z.number().int().nullable().describe('What the broker retains beyond baseline and ledger; null: not known'),
  likely: z.array(z.string()).describe('What it is likely to be'),
  pass: z
    .object({
      startedAt: instant,
      endedAt: instant,
      devices: z.number().int(),
      added: z.number().int(),
      changed: z.number().int(),
      removed: z.number().int(),
    })
    .nullable()
    .describe('The last time that every device was swept, and what the ledger had not known'),
});
/** See {@link brokerDriftSchema}. */
export type BrokerDrift = z.infer<typeof brokerDriftSchema>;

/** The ledger against the brokers. */
export const driftSchema = z.object({ brokers: z.array(brokerDriftSchema) }).meta({ id: 'RetainedDrift' });
/** See {@link driftSchema}. */
export type Drift = z.infer<typeof driftSchema>;

/** Why a ghost is likely to be there. */
export const ghostCauseSchema = z
  .enum(['broker-restart', 'bridge', 'live-publish', 'found'])
  .describe(
    'broker-restart: the broker came back with what it had saved before; bridge: a bridge has just connected; live-publish: somebody published it; found: it was there when the watch looked',
  );
/** See {@link ghostCauseSchema}. */
export type GhostCause = z.infer<typeof ghostCauseSchema>;

/** A retained message that appeared under a decommissioned device. */
export const ghostSchema = z
  .object({
    device: deviceIdSchema,
    broker: z.string(),
    topic: z.string(),
    bytes: z.number().int(),
    sha256: z.string(),
    firstSeenAt: instant,
    lastSeenAt: instant,
    times: z.number().int().describe('How often it has appeared'),
    clearedAt: instant.nullable().describe('When it was last cleared, and a fresh connection found nothing'),
    cause: ghostCauseSchema,
    explanation: z.string().describe('The cause as a sentence, with its evidence'),
    nextClearAt: instant
      .nullable()
      .describe('What is published again and again is cleared later and later, up to every 5 minutes'),
  })
  .meta({ id: 'Ghost' });
/** See {@link ghostSchema}. */
export type Ghost = z.infer<typeof ghostSchema>;

/** What can be asked of the list of ghosts. */
export const ghostQuerySchema = z.strictObject({ limit: pageSize, cursor });
/** See {@link ghostQuerySchema}. */
export type GhostQuery = z.infer<typeof ghostQuerySchema>;

/** One page of ghosts, the newest first. */
export const ghostPageSchema = z.object({ items: z.array(ghostSchema), next }).meta({ id: 'GhostPage' });
/** See {@link ghostPageSchema}. */
export type GhostPage = z.infer<typeof ghostPageSchema>;

/** The ghosts of one device, and what else it still sends. */
export const deviceGhostsSchema = z
  .object({
    device: deviceIdSchema,
    watched: z.boolean().describe('Whether the device is decommissioned, verified, and watched'),
    items: z.array(ghostSchema),
    next,
    refused: z
      .object({ messages: z.number().int(), lastAt: instant })
      .nullable()
      .describe('Messages that are not retained, since this process of the registry began; every service refuses them'),
  })
  .meta({ id: 'DeviceGhosts' });
/** See {@link deviceGhostsSchema}. */
export type DeviceGhosts = z.infer<typeof deviceGhostsSchema>;
