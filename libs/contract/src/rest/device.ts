import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { deviceInfoSchema } from '../info.ts';
import { isStorableText } from '../payload.ts';

/** Where a device is in its life; apart from its presence. */
export const lifeStateSchema = z.enum(['discovered', 'registered', 'decommissioning', 'decommissioned', 'archived']);
/** See {@link lifeStateSchema}. */
export type LifeState = z.infer<typeof lifeStateSchema>;

/** Whether a device is there. */
export const presenceStateSchema = z.enum(['online', 'asleep', 'stale', 'offline', 'lost', 'unknown']);
/** See {@link presenceStateSchema}. */
export type PresenceState = z.infer<typeof presenceStateSchema>;

/** Why a device has its presence state. */
export const presenceReasonSchema = z.enum([
  'birth',
  'will',
  'shutdown',
  'sleep',
  'update',
  'telemetry',
  'silent',
  'overslept',
  'expired',
  'broker-lost',
  'broker-restarted',
  'broker-back',
  'not-back',
  'never-heard',
]);
/** See {@link presenceReasonSchema}. */
export type PresenceReason = z.infer<typeof presenceReasonSchema>;

const instant = z.iso.datetime().describe('UTC, with milliseconds');

/** The message that decided a presence state. */
export const evidenceSchema = z.object({
  broker: z.string(),
  topic: z.string().describe('Empty where no message decided it'),
  payload: z.string().describe('At most 200 characters of it'),
  retained: z.boolean().describe('Replayed by the broker to a new subscription, so older than its receipt'),
  rule: z.string().describe('The rule that was applied'),
});
/** See {@link evidenceSchema}. */
export type Evidence = z.infer<typeof evidenceSchema>;

/** What is wrong with the way in which a device comes and goes, whatever its state. */
export const presenceFlagSchema = z.object({
  flag: z.enum(['flapping', 'duplicate-client-id']),
  since: instant,
  evidence: z.string().describe('What was counted, as a sentence'),
});
/** See {@link presenceFlagSchema}. */
export type PresenceFlag = z.infer<typeof presenceFlagSchema>;

/** Presence with its reason. */
export const presenceSchema = z.object({
  state: presenceStateSchema,
  reason: presenceReasonSchema,
  explanation: z.string().describe('The reason as a sentence'),
  since: instant.nullable(),
  session: z.number().int().nullable(),
  wakeExpectedAt: instant.nullable().describe('When a sleeping device said that it will be back'),
  evidence: evidenceSchema.nullable(),
  flags: z.array(presenceFlagSchema),
});
/** See {@link presenceSchema}. */
export type Presence = z.infer<typeof presenceSchema>;

/** The newest value of one metric. */
export const lastReadingSchema = z.object({
  value: z.union([z.number(), z.boolean(), z.string()]),
  unit: z.string().nullable(),
  at: instant,
});
/** See {@link lastReadingSchema}. */
export type LastReading = z.infer<typeof lastReadingSchema>;

/** What the telemetry of a device was like on its way. */
export const trafficSchema = z.object({
  broker: z.string().describe('Where it was heard last'),
  messages: z.number().int().describe('Messages that were stored'),
  bytes: z.number().int().describe('Of their payloads'),
  lost: z.number().int().describe('Messages that are missing, by their sequence numbers; fewer when one comes late'),
  duplicates: z.number().int().describe('Messages that came again; they are stored once'),
  dropped: z.number().int().describe('Messages beyond the quota of a device, at QoS 1 too'),
  runawaySince: instant.nullable().describe('Since when it sends more than its quota'),
  clockOffsetMs: z
    .number()
    .int()
    .nullable()
    .describe('How far its clock is ahead of ingestion’s; null where it says no time, or too little is known'),
});
/** See {@link trafficSchema}. */
export type Traffic = z.infer<typeof trafficSchema>;

/** A device has at most so many tags. */
export const MAX_TAGS = 32;

/** A tag: a word of its own, or `name:value`. Capitals become small. */
export const tagSchema = z
  .string()
  .trim()
  .toLowerCase()
  .regex(/^[a-z0-9][a-z0-9_.:-]{0,49}$/, 'expected a tag: a letter or digit, then up to 49 of a-z 0-9 _ . : -');

/** The tags of a device, each once, in order. */
export const tagsSchema = z
  .array(tagSchema)
  .overwrite((tags) => [...new Set(tags)].sort())
  .refine((tags) => tags.length <= MAX_TAGS, `expected at most ${MAX_TAGS} tags`);

/** A device as the API shows it. */
export const deviceSchema = z
  .object({
    id: deviceIdSchema,
    state: lifeStateSchema,
    name: z.string().nullable(),
    description: z.string().nullable(),
    tags: z.array(z.string()),
    groups: z.array(z.string()).describe('The names of the groups that it is in'),
    discoveredAt: instant,
    updatedAt: instant,
    lastSeenAt: instant.nullable(),
    presence: presenceSchema,
    readings: z.record(z.string(), lastReadingSchema).describe('The newest value of each metric'),
    info: deviceInfoSchema.nullable().describe('What the device says about itself'),
    traffic: trafficSchema.nullable().describe('Null where no telemetry has been heard'),
    replacedAt: instant.nullable().describe('When new hardware last took the place of old'),
    replacements: z.number().int().describe('How often it did'),
  })
  .meta({ id: 'Device' });
/** See {@link deviceSchema}. */
export type Device = z.infer<typeof deviceSchema>;

/** What can be asked of the list of devices. */
export const deviceQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe('Devices a page'),
  cursor: z.string().max(200).optional().describe('`next` of the page before'),
  state: lifeStateSchema.optional(),
  presence: presenceStateSchema.optional(),
  q: z
    .string()
    .optional()
    .describe(
      'A search such as `presence:lost fw:<1.4 tag:roof last.temp:>30 "garden shed"`; docs/devices.md has all of it',
    ),
});
/** See {@link deviceQuerySchema}. */
export type DeviceQuery = z.infer<typeof deviceQuerySchema>;

/** One page of devices, in the order of their ids. */
export const devicePageSchema = z
  .object({
    items: z.array(deviceSchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .meta({ id: 'DevicePage' });
/** See {@link devicePageSchema}. */
export type DevicePage = z.infer<typeof devicePageSchema>;

/** One change of presence, as it is on record. */
export const presenceTransitionSchema = z.object({
  at: instant.describe('When it was decided; by the time of receipt'),
  from: presenceStateSchema,
  to: presenceStateSchema,
  reason: presenceReasonSchema,
  explanation: z.string().describe('The reason as a sentence'),
  session: z.number().int().nullable(),
  evidence: evidenceSchema,
});
/** See {@link presenceTransitionSchema}. */
export type PresenceTransition = z.infer<typeof presenceTransitionSchema>;

/** What can be asked of a device's presence. */
export const presenceQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe('Changes a page'),
  cursor: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional()
    .describe('`next` of the page before'),
});
/** See {@link presenceQuerySchema}. */
export type PresenceQuery = z.infer<typeof presenceQuerySchema>;

/** The presence of a device, and how it came to it: one page of changes, the newest first. */
export const presenceHistorySchema = z
  .object({
    device: deviceIdSchema,
    presence: presenceSchema,
    history: z.array(presenceTransitionSchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .meta({ id: 'PresenceHistory' });
/** See {@link presenceHistorySchema}. */
export type PresenceHistory = z.infer<typeof presenceHistorySchema>;

/** A time in which a broker was not there; devices behind it were unknown, and this is told once and not for each. */
export const incidentSchema = z
  .object({
    id: z.number().int(),
    broker: z.string(),
    kind: z.enum(['lost', 'restarted']).describe('Not reached for a while, or ended and started anew'),
    from: instant,
    until: instant.nullable().describe('When every device behind it was known again; null while it lasts'),
    devices: z.number().int().describe('That were there when it was lost'),
    lost: z.number().int().nullable().describe('Of these, those that did not come back in time'),
  })
  .meta({ id: 'Incident' });
/** See {@link incidentSchema}. */
export type Incident = z.infer<typeof incidentSchema>;

/** A page of incidents, the newest first. */
export const incidentPageSchema = z
  .object({
    items: z.array(incidentSchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .meta({ id: 'IncidentPage' });
/** See {@link incidentPageSchema}. */
export type IncidentPage = z.infer<typeof incidentPageSchema>;

const UNSTORABLE = 'U+0000 and lone surrogates cannot be stored';

/** The name of a device. */
export const deviceNameSchema = z.string().trim().min(1).max(100).refine(isStorableText, UNSTORABLE);
/** What there is to say about something. */
export const descriptionSchema = z.string().trim().max(2000).refine(isStorableText, UNSTORABLE);

/** What an operator may change; a device that has been changed is registered. */
export const devicePatchSchema = z
  .strictObject({
    name: deviceNameSchema.nullable().optional(),
    description: descriptionSchema.nullable().optional(),
    tags: tagsSchema.optional().describe('In place of those that it has'),
  })
  .refine((patch) => Object.keys(patch).length > 0, 'expected name, description or tags')
  .meta({ id: 'DevicePatch' });
/** See {@link devicePatchSchema}. */
export type DevicePatch = z.infer<typeof devicePatchSchema>;

/** How many devices there are, and how many in each presence state. */
export const presenceCountSchema = z.object({
  devices: z.number().int(),
  presence: z.record(presenceStateSchema, z.number().int()),
});
/** See {@link presenceCountSchema}. */
export type PresenceCount = z.infer<typeof presenceCountSchema>;

/** Counts over the whole fleet; decommissioned and archived devices are left out. */
export const fleetSummarySchema = presenceCountSchema
  .extend({
    byGroup: z
      .array(presenceCountSchema.extend({ name: z.string().nullable() }))
      .describe('A device counts in each group that it is in; null stands for those that are in none'),
    byBroker: z
      .array(presenceCountSchema.extend({ name: z.string().nullable() }))
      .describe('By the broker over which a device was heard; null stands for those that were never heard'),
  })
  .meta({ id: 'FleetSummary' });
/** See {@link fleetSummarySchema}. */
export type FleetSummary = z.infer<typeof fleetSummarySchema>;
