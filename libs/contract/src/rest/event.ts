import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { alertSeveritySchema } from './alert-rule.ts';
import { decommissionReportSchema } from './decommission.ts';
import { presenceReasonSchema, presenceStateSchema } from './device.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');

/** An event of one kind: what it is about, and what happened. */
function eventOf<Kind extends string, Device extends z.ZodType, Data extends z.ZodType>(
  kind: Kind,
  device: Device,
  data: Data,
): z.ZodObject<{ id: z.ZodString; at: z.ZodISODateTime; kind: z.ZodLiteral<Kind>; device: Device; data: Data }> {
  return z.object({
    id: z.string().describe('Where it stands in the stream: reading goes on behind it'),
    at: instant.describe('When it was put on record'),
    kind: z.literal(kind),
    device,
    data,
  });
}

/** Something that changed in the fleet, as the stream of events tells it. */
export const eventSchema = z
  .discriminatedUnion('kind', [
    eventOf(
      'presence',
      deviceIdSchema,
      z.object({
        from: presenceStateSchema,
        to: presenceStateSchema,
        reason: presenceReasonSchema,
        explanation: z.string().describe('The reason as a sentence'),
        since: instant.describe('When it was decided; by the time of receipt'),
        rule: z.string().describe('The rule that was applied'),
        broker: z.string().describe('Where the message that decided it came from'),
      }),
    ),
    eventOf(
      'device',
      deviceIdSchema,
      z.object({
        change: z.enum([
          'discovered',
          'registered',
          'changed',
          'archived',
          'decommissioning',
          'decommissioned',
          'restored',
        ]),
      }),
    ),
    eventOf('decommission', deviceIdSchema, z.object({ state: decommissionReportSchema.shape.state })),
    eventOf(
      'alert',
      z.string().nullable().describe('The device that it is about, if it is about one'),
      z.object({
        alert: z.string().describe('Its id'),
        change: z.enum(['fired', 'resolved', 'acknowledged']),
        rule: z.string(),
        severity: alertSeveritySchema,
        subject: z.string(),
        broker: z.string().nullable(),
        summary: z.string(),
        actor: z.string().nullable().describe('Who did it; null where Muster did'),
      }),
    ),
    eventOf('command', deviceIdSchema, z.object({ id: z.string(), state: z.string() })),
    eventOf('config', deviceIdSchema, z.object({ id: z.string(), state: z.string() })),
    eventOf(
      'incident',
      z.null(),
      z.object({
        broker: z.string(),
        kind: z.enum(['lost', 'back', 'restarted']),
        devices: z
          .number()
          .int()
          .describe('That were there when it was lost; when it is back, those that have not come back'),
      }),
    ),
  ])
  .meta({ id: 'Event' });
/** See {@link eventSchema}. */
export type FleetEvent = z.infer<typeof eventSchema>;

/** What an event can be about. */
export const eventKindSchema = z.enum([
  'presence',
  'device',
  'decommission',
  'alert',
  'command',
  'config',
  'incident',
] satisfies readonly FleetEvent['kind'][]);
/** See {@link eventKindSchema}. */
export type EventKind = z.infer<typeof eventKindSchema>;

/** A query parameter that may be repeated. */
const asList = (value: unknown): unknown => (value === undefined || Array.isArray(value) ? value : [value]);

/** What a stream of events is asked for. */
export const eventQuerySchema = z.strictObject({
  kind: z
    .preprocess(asList, z.array(eventKindSchema).max(20).default([]))
    .describe('Only these; repeat it for several'),
  device: z
    .preprocess(asList, z.array(deviceIdSchema).max(200).default([]))
    .describe('Only these; repeat it for several'),
  after: z
    .string()
    .regex(/^\d{1,19}-\d{1,18}$/, 'expected the id of an event, such as 7403-1288')
    .optional()
    .describe('The last event that is known; the header Last-Event-ID counts more. Without either it begins now'),
});
/** See {@link eventQuerySchema}. */
export type EventQuery = z.infer<typeof eventQuerySchema>;

/** The data of `reset`: what happened since the event that was named is no longer on record, or never was. */
export const eventResetSchema = z.object({ reason: z.string() }).meta({ id: 'EventReset' });
/** See {@link eventResetSchema}. */
export type EventReset = z.infer<typeof eventResetSchema>;
