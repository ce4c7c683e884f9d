import { z } from 'zod';
import { isStorableText } from '../payload.ts';
import { isMetricName, MUSTER_NAMESPACE } from '../topic-map.ts';
import { parsePattern, type TopicPattern } from '../topic-pattern.ts';

const instant = z.iso.datetime();
const storable = 'U+0000 and lone surrogates cannot be stored';

/** The id of a rule: part of a URL and of a topic property. */
export const ruleIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, 'expected 1 to 64 of a-z 0-9 _ -, beginning with a letter or a digit')
  .describe('Rule id: 1 to 64 of a-z 0-9 _ -');

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const LONGEST_MS = 366 * 86_400_000;

/** `30s`, `1.5h`, `7d` in milliseconds. */
export const durationSchema = z.string().transform((text, context): number => {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? [];
  const milliseconds = Math.round(Number(amount) * (UNITS[unit ?? ''] ?? Number.NaN));
  if (milliseconds >= 1 && milliseconds <= LONGEST_MS) return milliseconds;
  context.addIssue({ code: 'custom', message: 'expected a duration from 1ms to 366d, such as 30s, 5m, 1.5h or 7d' });
  return z.NEVER;
});

const offsetSchema = z.string().transform((text, context): number => {
  const sign = text.startsWith('-') ? -1 : 1;
  const parsed = durationSchema.safeParse(text.replace(/^[+-]/, ''));
  if (parsed.success && parsed.data <= 12 * 3_600_000) return sign * parsed.data;
  context.addIssue({ code: 'custom', message: 'expected at most 12h before or after, such as -30m or 1h' });
  return z.NEVER;
});

const patternSchema = z.string().transform((source, context): TopicPattern => {
  try {
    const pattern = parsePattern(source);
    if (!source.startsWith('$') && !source.startsWith(MUSTER_NAMESPACE)) return pattern;
    context.addIssue({ code: 'custom', message: "muster/ and $ topics are the system's own" });
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
  }
  return z.NEVER;
});

const timeZoneSchema = z.string().refine((zone) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}, 'expected a time zone of the IANA database, such as Europe/Berlin');

const scalarSchema = z.union([z.boolean(), z.number(), z.string().max(256)]);
const deviceGlobSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9_-]*(?:\*[A-Za-z0-9_-]*){0,3}$/,
    'expected a device id, or part of one with up to three * (hall-*)',
  )
  .min(1)
  .max(64)
  .describe('A device id, where * stands for any characters');

const triggerBase = {
  id: z
    .string()
    .regex(/^[a-z][a-z0-9_]{0,31}$/, 'expected a lower-case name')
    .optional()
    .describe('What conditions know it by: trigger.id'),
};
const lasting = { for: durationSchema.optional().describe('Fires when it has been so for that long without a break') };

const triggerKinds = {
  topic: z
    .strictObject({
      ...triggerBase,
      ...lasting,
      topic: patternSchema,
      path: z.string().min(1).max(200).optional().describe('Where in a JSON payload the value is: state.on'),
      becomes: scalarSchema.optional(),
      changes: z.literal(true).optional(),
    })
    .refine(({ becomes, changes }) => becomes === undefined || changes === undefined, 'either becomes or changes')
    .refine((trigger) => trigger.for === undefined || trigger.becomes !== undefined, {
      path: ['for'],
      message: 'says how long a state lasts: it needs becomes',
    }),
  metric: z
    .strictObject({
      ...triggerBase,
      ...lasting,
      metric: z.string().refine(isMetricName, 'not the name of a metric'),
      device: deviceGlobSchema.default('*'),
      above: z.number().optional(),
      below: z.number().optional(),
      becomes: scalarSchema.optional(),
      changes: z.literal(true).optional(),
      clear: z.number().optional().describe('Only beyond this value the state is over; without it, at the limit'),
    })
    .refine(
      ({ above, below, becomes, changes }) =>
        [above, below, becomes, changes].filter((one) => one !== undefined).length === 1,
      'expected one of above, below, becomes, changes',
    )
    .refine(
      ({ above, below, clear }) => clear === undefined || (clear <= (above ?? clear) && clear >= (below ?? clear)),
      {
        path: ['clear'],
        message: 'lies on the other side of the limit',
      },
    ),
  presence: z.strictObject({
    ...triggerBase,
    ...lasting,
    presence: z.enum(['online', 'asleep', 'stale', 'offline', 'lost', 'unknown']),
    device: deviceGlobSchema.default('*'),
  }),
  schedule: z.strictObject({
    ...triggerBase,
    schedule: z.string().max(100).describe('Five or six fields of cron'),
    timezone: timeZoneSchema.optional(),
  }),
  sun: z.strictObject({
    ...triggerBase,
    sun: z.enum(['sunrise', 'sunset']),
    offset: offsetSchema.default(0),
    latitude: z.number().min(-90).max(90).optional(),
    longitude: z.number().min(-180).max(180).optional(),
  }),
};

const actionBase = {
  if: z.string().min(1).max(1_000).optional().describe('A condition (CEL) for this action alone'),
  after: durationSchema.optional().describe('So much later; asked for again, it starts anew'),
};
const textSchema = z.string().min(1).max(1_000).refine(isStorableText, storable);

const actionKinds = {
  publish: z
    .strictObject({
      ...actionBase,
      publish: patternSchema.describe('A topic, with the wildcards of the trigger'),
      payload: z
        .union([z.boolean(), z.number(), z.string().max(4_096), z.record(z.string(), z.unknown())])
        .optional()
        .describe('Text with {wildcards}, a number, true or false, or an object that is sent as JSON'),
      value: z.string().min(1).max(1_000).optional().describe('Instead of a payload: an expression (CEL)'),
      qos: z.union([z.literal(0), z.literal(1)]).default(1),
      retain: z.boolean().default(false),
      expires: durationSchema.default(5_000).describe('A broker that cannot deliver it within this time drops it'),
    })
    .refine(({ payload, value }) => (payload === undefined) !== (value === undefined), 'expected payload or value'),
  notify: z.strictObject({
    ...actionBase,
    notify: textSchema.describe('Text with {wildcards}'),
    severity: z.enum(['info', 'warning', 'critical']).default('info'),
  }),
  mode: z.strictObject({
    ...actionBase,
    mode: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, 'expected a lower-case name'),
  }),
};

/** One schema of several, told apart by the key that only it has: so an error speaks of what was meant. */
function byKey<Kinds extends Readonly<Record<string, z.ZodType>>>(
  kinds: Kinds,
): z.ZodType<{ [Kind in keyof Kinds]: { readonly kind: Kind } & z.output<Kinds[Kind]> }[keyof Kinds]> {
  const names = Object.keys(kinds);
  return z.unknown().transform((value, context) => {
    const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    const present = names.filter((name) => keys.includes(name));
    const [kind] = present;
    const schema = kind === undefined ? undefined : kinds[kind];
    if (kind === undefined || schema === undefined || present.length > 1) {
      const found = present.length > 1 ? `found ${present.join(' and ')}` : 'found none of them';
      context.addIssue({ code: 'custom', message: `expected one of ${names.join(', ')}; ${found}` });
      return z.NEVER;
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return { kind, ...(parsed.data as object) };
    for (const issue of parsed.error.issues) context.addIssue({ ...issue, path: [...issue.path] });
    return z.NEVER;
  }) as never;
}

/** A rule as it is written. */
export const ruleSchema = z.strictObject({
  id: ruleIdSchema,
  name: z.string().trim().min(1).max(100).refine(isStorableText, storable).optional(),
  description: z.string().max(2_000).refine(isStorableText, storable).optional(),
  enabled: z.boolean().default(true),
  triggers: z.array(byKey(triggerKinds)).min(1).max(20),
  when: z
    .union([
      z
        .string()
        .min(1)
        .max(1_000)
        .transform((one) => [one]),
      z.array(z.string().min(1).max(1_000)).max(20),
    ])
    .default([])
    .describe('Conditions (CEL), all of which must hold'),
  override: z
    .strictObject({ topic: patternSchema, for: durationSchema })
    .optional()
    .describe("Somebody else's message there keeps the rule from acting for so long"),
  timezone: timeZoneSchema.optional().describe('Of time in conditions, and of schedules that name none'),
  actions: z.array(byKey(actionKinds)).min(1).max(20),
});
/** A rule that has been read: durations are milliseconds, triggers and actions carry their kind. */
export type Rule = z.output<typeof ruleSchema>;
/** See {@link ruleSchema}. */
export type RuleTrigger = Rule['triggers'][number];
/** See {@link ruleSchema}. */
export type RuleAction = Rule['actions'][number];

/** Text of rules, as a file has it. */
export const ruleApplySchema = z
  .strictObject({
    yaml: z.string().min(1).max(200_000).describe('A document with the key rules, or one rule'),
    dryRun: z.boolean().default(false).describe('Only checks, and says what would change'),
  })
  .meta({ id: 'RuleApply' });
/** See {@link ruleApplySchema}. */
export type RuleApply = z.infer<typeof ruleApplySchema>;

/** What became of each rule of a document. */
export const ruleAppliedSchema = z
  .object({
    dryRun: z.boolean(),
    rules: z.array(
      z.object({ id: z.string(), version: z.number().int(), change: z.enum(['created', 'updated', 'unchanged']) }),
    ),
  })
  .meta({ id: 'RuleApplied' });
/** See {@link ruleAppliedSchema}. */
export type RuleApplied = z.infer<typeof ruleAppliedSchema>;

/** A rule as the API shows it. */
export const ruleViewSchema = z
  .object({
    id: ruleIdSchema,
    name: z.string().nullable(),
    version: z.number().int(),
    state: z.enum(['enabled', 'disabled', 'stopped']),
    stopped: z.string().nullable().describe('Why it was stopped'),
    stoppedAt: instant.nullable(),
    lastRunAt: instant.nullable(),
    updatedAt: instant,
    author: z.string(),
    definition: z.record(z.string(), z.unknown()).describe('As it was written'),
  })
  .meta({ id: 'Rule' });
/** See {@link ruleViewSchema}. */
export type RuleView = z.infer<typeof ruleViewSchema>;

/** All rules. */
export const ruleListSchema = z.object({ items: z.array(ruleViewSchema) }).meta({ id: 'RuleList' });
/** See {@link ruleListSchema}. */
export type RuleList = z.infer<typeof ruleListSchema>;

/** What may be changed of a rule without a new version. */
export const rulePatchSchema = z
  .strictObject({ enabled: z.boolean().describe('true lets a stopped rule run again') })
  .meta({ id: 'RulePatch' });
/** See {@link rulePatchSchema}. */
export type RulePatch = z.infer<typeof rulePatchSchema>;

/** Which version of a rule is meant; the newest where it is left out. */
export const ruleVersionQuerySchema = z.strictObject({
  version: z.coerce.number().int().min(1).max(2_147_483_647).optional(),
});
/** See {@link ruleVersionQuerySchema}. */
export type RuleVersionQuery = z.infer<typeof ruleVersionQuerySchema>;

/** Which runs are asked for. */
export const ruleRunQuerySchema = z.strictObject({
  rule: ruleIdSchema.optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});
/** See {@link ruleRunQuerySchema}. */
export type RuleRunQuery = z.infer<typeof ruleRunQuerySchema>;

/** What a rule has done, the newest first. */
export const ruleRunListSchema = z
  .object({
    items: z.array(
      z.object({
        id: z.string(),
        rule: z.string(),
        version: z.number().int(),
        at: instant,
        subject: z.string().describe('Wildcards and what they stood for'),
        outcome: z.enum(['acted', 'waiting', 'overridden', 'failed', 'stopped']),
        detail: z.string().nullable(),
        trigger: z.record(z.string(), z.unknown()),
      }),
    ),
  })
  .meta({ id: 'RuleRunList' });
/** See {@link ruleRunListSchema}. */
export type RuleRunList = z.infer<typeof ruleRunListSchema>;

/** What waits. */
export const timerListSchema = z
  .object({
    items: z.array(
      z.object({ rule: z.string(), part: z.string(), subject: z.string(), dueAt: instant, state: z.string() }),
    ),
  })
  .meta({ id: 'TimerList' });
/** See {@link timerListSchema}. */
export type TimerList = z.infer<typeof timerListSchema>;

/** The mode of the house. */
export const modeSchema = z
  .object({ mode: z.string(), since: instant.nullable(), setBy: z.string().nullable() })
  .meta({ id: 'Mode' });
/** See {@link modeSchema}. */
export type Mode = z.infer<typeof modeSchema>;

/** A mode to set. */
export const modePatchSchema = z
  .strictObject({ mode: z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, 'expected a lower-case name, such as evening') })
  .meta({ id: 'ModePatch' });
/** See {@link modePatchSchema}. */
export type ModePatch = z.infer<typeof modePatchSchema>;
