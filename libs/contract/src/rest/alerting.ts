import { z } from 'zod';
import { isStorableText } from '../payload.ts';
import {
  alertDurationSchema,
  alertNameSchema,
  alertRuleSchema,
  alertSeveritySchema,
  operatorText,
  wildcardSchema,
} from './alert-rule.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');
const given = z.iso
  .datetime({ offset: true })
  .describe('An instant with its offset: 2027-01-31T22:00:00Z, 2027-01-31T23:00:00+01:00');
const cursor = z.string().max(200).optional().describe('`next` of the page before');
const limit = z.coerce.number().int().min(1).max(1000).default(100).describe('Items a page');
const next = z.string().nullable().describe('The cursor of the next page; null on the last');
const filter = z.string().min(1).max(200).refine(isStorableText, 'U+0000 and lone surrogates cannot be stored');

/** Where an alert is: waiting for its `for:`, told, or over. */
export const alertStateSchema = z.enum(['pending', 'firing', 'resolved']);
/** See {@link alertStateSchema}. */
export type AlertPhase = z.infer<typeof alertStateSchema>;

/** One entry in the history of an alert. */
export const alertEventSchema = z.object({
  at: instant,
  kind: z.enum(['pending', 'firing', 'resolved', 'acknowledged', 'comment', 'silenced', 'unsilenced']),
  actor: z.string().nullable().describe('Who did it; null where Muster did'),
  text: z.string().nullable(),
});
/** See {@link alertEventSchema}. */
export type AlertEvent = z.infer<typeof alertEventSchema>;

/** An alert: one rule, one subject, from its breach to its end. */
export const alertSchema = z
  .object({
    id: z.string(),
    rule: z.string(),
    ruleVersion: z.number().int(),
    kind: z.string(),
    severity: alertSeveritySchema,
    state: alertStateSchema,
    subject: z.string().describe('What it is about: a device, a broker, a certificate, a reason'),
    device: z.string().nullable(),
    broker: z.string().nullable().describe('The broker, or the one that the device is behind'),
    summary: z.string(),
    value: z.number().nullable().describe('When it began'),
    labels: z.record(z.string(), z.string()),
    runbook: z.string().nullable(),
    since: instant.describe('When the condition began to hold'),
    startedAt: instant.nullable().describe('When it fired; null while it is pending'),
    resolvedAt: instant.nullable(),
    acknowledgedAt: instant.nullable(),
    acknowledgedBy: z.string().nullable(),
    silencedBy: z.string().nullable().describe('The silence or the maintenance window for which nobody is told'),
    comments: z.array(z.object({ at: instant, actor: z.string().nullable(), text: z.string() })),
  })
  .meta({ id: 'Alert' });
/** See {@link alertSchema}. */
export type Alert = z.infer<typeof alertSchema>;

/** An alert with all that happened to it. */
export const alertDetailSchema = alertSchema
  .extend({ history: z.array(alertEventSchema).describe('The oldest first') })
  .meta({ id: 'AlertDetail' });
/** See {@link alertDetailSchema}. */
export type AlertDetail = z.infer<typeof alertDetailSchema>;

/** What can be asked of the list of alerts. */
export const alertQuerySchema = z.strictObject({
  limit,
  cursor,
  state: alertStateSchema.optional().describe('Pending and firing ones, where it is left out'),
  severity: alertSeveritySchema.optional(),
  rule: filter.optional(),
  subject: filter.optional(),
});
/** See {@link alertQuerySchema}. */
export type AlertQuery = z.infer<typeof alertQuerySchema>;

/** One page of alerts, the newest first. */
export const alertPageSchema = z.object({ items: z.array(alertSchema), next }).meta({ id: 'AlertPage' });
/** See {@link alertPageSchema}. */
export type AlertPage = z.infer<typeof alertPageSchema>;

/** An acknowledgement: somebody looks after it. */
export const acknowledgementSchema = z
  .strictObject({ comment: operatorText(2000).optional() })
  .meta({ id: 'Acknowledgement' });
/** See {@link acknowledgementSchema}. */
export type Acknowledgement = z.infer<typeof acknowledgementSchema>;

/** What somebody has to say about an alert. */
export const alertCommentSchema = z.strictObject({ text: operatorText(2000) }).meta({ id: 'AlertComment' });
/** See {@link alertCommentSchema}. */
export type AlertComment = z.infer<typeof alertCommentSchema>;

/** Labels that an alert must have; a text with `*` matches any number of characters. */
export const matchersSchema = z
  .record(z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,62}$/, 'expected the name of a label'), wildcardSchema)
  .refine((matchers) => Object.keys(matchers).length > 0, 'expected at least one label; { "rule": "*" } is every alert')
  .refine((matchers) => Object.keys(matchers).length <= 16, 'expected at most 16 labels')
  .describe('Labels that an alert must have, all of them: rule, severity, subject, device, broker, and those of rules');
/** See {@link matchersSchema}. */
export type Matchers = z.infer<typeof matchersSchema>;

/** What a silence is to be. */
export const silenceRequestSchema = z
  .strictObject({
    matchers: matchersSchema,
    from: given.optional().describe('Now, where it is left out'),
    until: given,
    why: operatorText(500),
  })
  .refine(({ from, until }) => from === undefined || Date.parse(from) < Date.parse(until), {
    error: 'expected a time after from',
    path: ['until'],
  })
  .meta({ id: 'SilenceRequest' });
/** See {@link silenceRequestSchema}. */
export type SilenceRequest = z.infer<typeof silenceRequestSchema>;

/** A silence: nobody is told of the alerts that it matches. */
export const silenceSchema = z
  .object({
    id: z.string(),
    matchers: matchersSchema,
    from: instant,
    until: instant,
    why: z.string(),
    who: z.string(),
    createdAt: instant,
    active: z.boolean(),
  })
  .meta({ id: 'Silence' });
/** See {@link silenceSchema}. */
export type Silence = z.infer<typeof silenceSchema>;

/** Silences that have not ended. */
export const silenceListSchema = z.object({ items: z.array(silenceSchema) }).meta({ id: 'SilenceList' });
/** See {@link silenceListSchema}. */
export type SilenceList = z.infer<typeof silenceListSchema>;

const timeZone = z
  .string()
  .max(64)
  .refine((name) => isTimeZone(name), 'expected a time zone such as Europe/Berlin or UTC');

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    // The only way to ask, and the answer is no.
    return false;
  }
}

/** When a maintenance window is: once, or again and again. */
export const maintenanceScheduleSchema = z.union([
  z
    .strictObject({ from: given, until: given })
    .refine(({ from, until }) => Date.parse(from) < Date.parse(until), {
      error: 'expected a time after from',
      path: ['until'],
    })
    .describe('Once'),
  z
    .strictObject({
      cron: z.string().min(9).max(100).describe('When it begins: minute, hour, day of month, month, day of week'),
      duration: alertDurationSchema.describe('How long it lasts'),
      timeZone: timeZone.default('UTC').describe('In which the times of cron are meant'),
    })
    .describe('Again and again'),
]);
/** See {@link maintenanceScheduleSchema}. */
export type MaintenanceSchedule = z.infer<typeof maintenanceScheduleSchema>;

/** What a maintenance window is to be. */
export const maintenanceRequestSchema = z
  .strictObject({
    name: alertNameSchema,
    matchers: matchersSchema,
    schedule: maintenanceScheduleSchema,
    why: operatorText(500),
  })
  .meta({ id: 'MaintenanceRequest' });
/** See {@link maintenanceRequestSchema}. */
export type MaintenanceRequest = z.infer<typeof maintenanceRequestSchema>;

/** A maintenance window: while it is open, nobody is told of the alerts that it matches. */
export const maintenanceWindowSchema = z
  .object({
    name: z.string(),
    matchers: matchersSchema,
    schedule: maintenanceScheduleSchema,
    why: z.string(),
    who: z.string(),
    createdAt: instant,
    active: z.boolean(),
    next: instant.nullable().describe('When it opens next'),
  })
  .meta({ id: 'MaintenanceWindow' });
/** See {@link maintenanceWindowSchema}. */
export type MaintenanceWindow = z.infer<typeof maintenanceWindowSchema>;

/** Maintenance windows that are open or to come. */
export const maintenanceListSchema = z
  .object({ items: z.array(maintenanceWindowSchema) })
  .meta({ id: 'MaintenanceList' });
/** See {@link maintenanceListSchema}. */
export type MaintenanceList = z.infer<typeof maintenanceListSchema>;

/** An alert rule as it stands. */
export const alertRuleViewSchema = z
  .object({
    name: z.string(),
    version: z.number().int(),
    definition: alertRuleSchema,
    starter: z.boolean().describe('Whether it came with Muster'),
    author: z.string(),
    updatedAt: instant,
    firing: z.number().int().describe('Alerts of it that fire'),
    pending: z.number().int(),
  })
  .meta({ id: 'AlertRuleView' });
/** See {@link alertRuleViewSchema}. */
export type AlertRuleView = z.infer<typeof alertRuleViewSchema>;

/** All alert rules, in the order of their names. */
export const alertRuleListSchema = z.object({ items: z.array(alertRuleViewSchema) }).meta({ id: 'AlertRuleList' });
/** See {@link alertRuleListSchema}. */
export type AlertRuleList = z.infer<typeof alertRuleListSchema>;

/** Every version that an alert rule has had, the newest first. */
export const alertRuleVersionsSchema = z
  .object({
    items: z.array(
      z.object({
        version: z.number().int(),
        definition: alertRuleSchema.nullable().describe('Null where it was deleted'),
        author: z.string(),
        createdAt: instant,
      }),
    ),
  })
  .meta({ id: 'AlertRuleVersions' });
/** See {@link alertRuleVersionsSchema}. */
export type AlertRuleVersions = z.infer<typeof alertRuleVersionsSchema>;

/** A file of alert rules to be taken. */
export const alertRuleApplySchema = z
  .strictObject({
    yaml: z.string().min(1).max(200_000).describe('rules: and a list of them'),
    dryRun: z.boolean().default(false).describe('Say what would change, and change nothing'),
  })
  .meta({ id: 'AlertRuleApply' });
/** See {@link alertRuleApplySchema}. */
export type AlertRuleApply = z.infer<typeof alertRuleApplySchema>;

/** What became of each rule of a file; rules that the file does not name stay as they are. */
export const alertRuleChangesSchema = z
  .object({
    dryRun: z.boolean(),
    items: z.array(
      z.object({
        name: z.string(),
        change: z.enum(['created', 'changed', 'unchanged']),
        version: z.number().int(),
        breaching: z
          .number()
          .int()
          .nullable()
          .describe('Subjects for which it holds by what is known now; null where only time can tell'),
      }),
    ),
  })
  .meta({ id: 'AlertRuleChanges' });
/** See {@link alertRuleChangesSchema}. */
export type AlertRuleChanges = z.infer<typeof alertRuleChangesSchema>;

/** Where alerts are told; secrets are never part of it. */
export const receiverSchema = z
  .object({
    name: z.string(),
    type: z.enum(['alertmanager', 'webhook', 'email']),
    target: z.string().describe('The URL or the addresses, with references to the environment as they are written'),
    severities: z.array(alertSeveritySchema),
    groupBy: z.array(z.string()),
    groupWait: z.string(),
    groupInterval: z.string(),
    waiting: z.number().int().describe('Notifications that it has not taken yet'),
    lastDeliveredAt: instant.nullable(),
    lastFailure: z.object({ at: instant, detail: z.string() }).nullable(),
  })
  .meta({ id: 'Receiver' });
/** See {@link receiverSchema}. */
export type Receiver = z.infer<typeof receiverSchema>;

/** All receivers, in the order of their file. */
export const receiverListSchema = z.object({ items: z.array(receiverSchema) }).meta({ id: 'ReceiverList' });
/** See {@link receiverListSchema}. */
export type ReceiverList = z.infer<typeof receiverListSchema>;

/** One attempt to tell a receiver something. */
export const deliverySchema = z
  .object({
    id: z.string(),
    notification: z.string().describe('The same for every attempt, and what the receiver can tell repetitions by'),
    receiver: z.string(),
    kind: z.enum(['alerts', 'notice', 'test']),
    attempt: z.number().int(),
    at: instant,
    outcome: z.enum(['delivered', 'failed', 'given-up']),
    detail: z.string().describe('What the receiver answered'),
    durationMs: z.number().int(),
    summary: z.string(),
  })
  .meta({ id: 'Delivery' });
/** See {@link deliverySchema}. */
export type Delivery = z.infer<typeof deliverySchema>;

/** What can be asked of the log of deliveries. */
export const deliveryQuerySchema = z.strictObject({
  limit,
  cursor,
  receiver: filter.optional(),
  outcome: z.enum(['delivered', 'failed', 'given-up']).optional(),
});
/** See {@link deliveryQuerySchema}. */
export type DeliveryQuery = z.infer<typeof deliveryQuerySchema>;

/** One page of deliveries, the newest first. */
export const deliveryPageSchema = z.object({ items: z.array(deliverySchema), next }).meta({ id: 'DeliveryPage' });
/** See {@link deliveryPageSchema}. */
export type DeliveryPage = z.infer<typeof deliveryPageSchema>;
