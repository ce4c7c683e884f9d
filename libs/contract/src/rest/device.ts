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
  'overslept',
  'expired',
  'never-heard',
]);
/** See {@link presenceReasonSchema}. */
export type PresenceReason = z.infer<typeof presenceReasonSchema>;

const instant = z.iso.datetime().describe('UTC, with milliseconds');

/** The message that decided a presence state. */
export const evidenceSchema = z.object({
  broker: z.string(),
  topic: z.string(),
  payload: z.string().describe('At most 200 characters of it'),
  retained: z.boolean().describe('Replayed by the broker to a new subscription, so older than its receipt'),
  rule: z.string().describe('The rule that was applied'),
});
/** See {@link evidenceSchema}. */
export type Evidence = z.infer<typeof evidenceSchema>;

/** Presence with its reason. */
export const presenceSchema = z.object({
  state: presenceStateSchema,
  reason: presenceReasonSchema,
  explanation: z.string().describe('The reason as a sentence'),
  since: instant.nullable(),
  session: z.number().int().nullable(),
  wakeExpectedAt: instant.nullable().describe('When a sleeping device said that it will be back'),
  evidence: evidenceSchema.nullable(),
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

/** A device as the API shows it. */
export const deviceSchema = z
  .object({
    id: deviceIdSchema,
    state: lifeStateSchema,
    name: z.string().nullable(),
    description: z.string().nullable(),
    discoveredAt: instant,
    updatedAt: instant,
    lastSeenAt: instant.nullable(),
    presence: presenceSchema,
    readings: z.record(z.string(), lastReadingSchema).describe('The newest value of each metric'),
    info: deviceInfoSchema.nullable().describe('What the device says about itself'),
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

const UNSTORABLE = 'U+0000 and lone surrogates cannot be stored';

/** What an operator may change; a device that has been changed is registered. */
export const devicePatchSchema = z
  .strictObject({
    name: z.string().trim().min(1).max(100).refine(isStorableText, UNSTORABLE).nullable().optional(),
    description: z.string().trim().max(2000).refine(isStorableText, UNSTORABLE).nullable().optional(),
  })
  .refine((patch) => Object.keys(patch).length > 0, 'expected name or description')
  .meta({ id: 'DevicePatch' });
/** See {@link devicePatchSchema}. */
export type DevicePatch = z.infer<typeof devicePatchSchema>;

/** Counts over the whole fleet. */
export const fleetSummarySchema = z
  .object({
    devices: z.number().int(),
    presence: z.record(presenceStateSchema, z.number().int()),
  })
  .meta({ id: 'FleetSummary' });
/** See {@link fleetSummarySchema}. */
export type FleetSummary = z.infer<typeof fleetSummarySchema>;
