import { z } from 'zod';
import { isStorableText } from '../payload.ts';
import { isMetricName } from '../topic-map.ts';
import { presenceStateSchema } from './device.ts';

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h|d)$/;
const LONGEST_MS = 366 * 86_400_000;

/** A duration as alert rules, receivers and maintenance windows write it: `500ms`, `30s`, `5m`, `1.5h`, `7d`; NaN for any other text. */
export function alertDurationMs(text: string): number {
  const [, amount, unit = ''] = DURATION.exec(text) ?? [];
  return Number(amount) * (UNITS_MS[unit] ?? Number.NaN);
}

/** See {@link alertDurationMs}; up to 366 days. */
export const alertDurationSchema = z
  .string()
  .refine((text) => alertDurationMs(text) <= LONGEST_MS, 'expected a duration such as 500ms, 30s, 5m, 1.5h or 7d')
  .describe('A duration: 500ms, 30s, 5m, 1.5h, 7d');

const positiveDuration = alertDurationSchema.refine((text) => !(alertDurationMs(text) <= 0), 'expected more than 0');

const UNSTORABLE = 'U+0000 and lone surrogates cannot be stored';

/** A text that an operator writes. */
export function operatorText(maxLength: number): z.ZodString {
  return z.string().trim().min(1).max(maxLength).refine(isStorableText, UNSTORABLE);
}

/** How bad it is. */
export const alertSeveritySchema = z.enum(['info', 'warning', 'critical']);
/** See {@link alertSeveritySchema}. */
export type AlertSeverity = z.infer<typeof alertSeveritySchema>;

/** The name of an alert rule, a receiver or a maintenance window. */
export const alertNameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'expected 1 to 63 of the characters a-z 0-9 -, beginning with none of -')
  .describe('1 to 63 of the characters a-z 0-9 -');

/** Labels that every alert has; a rule cannot give them another meaning. */
export const OWN_LABELS = ['alertname', 'rule', 'kind', 'severity', 'subject', 'device', 'broker'] as const;

const labelName = z
  .string()
  .regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,62}$/, 'expected a letter or _, then up to 62 of A-Z a-z 0-9 _');
const rulesLabels = z
  .record(labelName, operatorText(200))
  .refine((labels) => Object.keys(labels).length <= 16, 'expected at most 16 labels')
  .refine(
    (labels) => !OWN_LABELS.some((name) => Object.hasOwn(labels, name)),
    `the labels ${OWN_LABELS.join(', ')} are Muster's own; choose another name`,
  );

/** A text with `*` for any number of characters. */
export const wildcardSchema = operatorText(100).describe('A text, with * for any number of characters');
const patterns = z.array(wildcardSchema).min(1).max(100);

const common = {
  name: alertNameSchema,
  severity: alertSeveritySchema.default('warning'),
  summary: operatorText(300)
    .optional()
    .describe('What people read; {subject} {device} {broker} {value} {limit} {devices} and labels are put in'),
  runbook: operatorText(500).optional().describe('Where it stands what to do'),
  labels: rulesLabels.default({}),
  enabled: z.boolean().default(true),
};
const lasting = { for: alertDurationSchema.default('0s').describe('How long it must last before it fires') };
const devices = { devices: patterns.optional().describe('Only devices whose ids match one of these') };
const brokers = { brokers: patterns.optional().describe('Only brokers whose names match one of these') };
const metric = z.string().refine(isMetricName, 'expected the name of a metric');
const number = z.number().refine(Number.isFinite, 'expected a number');

const bounds = {
  above: number.optional().describe('Fires above this'),
  below: number.optional().describe('Fires below this; one of above and below'),
  clear: number.optional().describe('Ends only at or beyond this (hysteresis); the limit itself where it is left out'),
};

interface Bounds {
  readonly above?: number | undefined;
  readonly below?: number | undefined;
  readonly clear?: number | undefined;
}

function hasOneLimit({ above, below }: Bounds): boolean {
  return (above === undefined) !== (below === undefined);
}

function clearIsInside({ above, below, clear }: Bounds): boolean {
  if (clear === undefined) return true;
  return above === undefined ? below === undefined || clear >= below : clear <= above;
}

const ONE_LIMIT = { error: 'expected one of above and below', path: ['above'] };
const CLEAR_INSIDE = { error: 'expected a value on the good side of the limit', path: ['clear'] };

const thresholdSchema = z
  .strictObject({ ...common, ...lasting, ...devices, kind: z.literal('threshold'), metric, ...bounds })
  .refine(hasOneLimit, ONE_LIMIT)
  .refine(clearIsInside, CLEAR_INSIDE);

const rateSchema = z
  .strictObject({
    ...common,
    ...lasting,
    ...devices,
    kind: z.literal('rate'),
    metric,
    per: positiveDuration.describe('Change of the metric over this time'),
    ...bounds,
  })
  .refine(hasOneLimit, ONE_LIMIT)
  .refine(clearIsInside, CLEAR_INSIDE);

const absenceSchema = z.strictObject({
  ...common,
  ...devices,
  kind: z.literal('absence'),
  metric: metric.optional().describe('Any telemetry of the device, where it is left out'),
  for: positiveDuration.describe('How long nothing has come'),
});

const presenceSchema = z.strictObject({
  ...common,
  ...lasting,
  ...devices,
  kind: z.literal('presence'),
  states: z.array(presenceStateSchema).min(1).max(6).default(['lost']),
});

const flappingSchema = z.strictObject({
  ...common,
  ...devices,
  kind: z.literal('flapping'),
  times: z.number().int().min(2).max(1000).describe('Lost so many times …'),
  within: positiveDuration.describe('… in this time'),
});

const brokerLostSchema = z.strictObject({
  ...common,
  ...brokers,
  kind: z.literal('broker-lost'),
  for: alertDurationSchema.default('15s'),
});

const brokerConnectionsSchema = z
  .strictObject({
    ...common,
    ...lasting,
    ...brokers,
    kind: z.literal('broker-connections'),
    percent: z.number().min(1).max(100).default(80).describe('Of the configured maximum; fires at it and above'),
    clear: z.number().min(0).max(100).default(75).describe('Ends below this'),
  })
  .refine(({ percent, clear }) => clear <= percent, CLEAR_INSIDE);

const counted = {
  above: z.number().int().min(0).default(0).describe('More than so many …'),
  within: positiveDuration.default('10m').describe('… in this time'),
};

const brokerDroppedSchema = z.strictObject({ ...common, ...brokers, kind: z.literal('broker-dropped'), ...counted });

const brokerRetainedSchema = z
  .strictObject({
    ...common,
    ...lasting,
    ...brokers,
    kind: z.literal('broker-retained'),
    above: z.number().int().min(0).describe('So many more retained messages than the devices of the broker explain'),
    per_device: z.number().min(0).max(10_000).default(5).describe('Retained messages that one device may have'),
    clear: z.number().int().min(0).optional(),
  })
  .refine(clearIsInside, CLEAR_INSIDE);

const deadLettersSchema = z.strictObject({ ...common, kind: z.literal('dead-letters'), ...counted });

const ingestionSchema = z
  .strictObject({
    ...common,
    ...lasting,
    kind: z.literal('ingestion'),
    figure: z
      .string()
      .regex(/^[a-z][a-z0-9_]{0,62}$/, 'expected the name of a metric of ingestion without muster_ingestion_')
      .describe('A metric of ingestion without muster_ingestion_: waiting_lines, in_hand, spool_bytes'),
    ...bounds,
  })
  .refine(hasOneLimit, ONE_LIMIT)
  .refine(clearIsInside, CLEAR_INSIDE);

const certificateSchema = z.strictObject({
  ...common,
  kind: z.literal('certificate'),
  within: positiveDuration.describe('Fires when a certificate expires within this time'),
});

/** An alert rule, as YAML and REST have it. */
export const alertRuleSchema = z
  .discriminatedUnion('kind', [
    thresholdSchema,
    rateSchema,
    absenceSchema,
    presenceSchema,
    flappingSchema,
    brokerLostSchema,
    brokerConnectionsSchema,
    brokerDroppedSchema,
    brokerRetainedSchema,
    deadLettersSchema,
    ingestionSchema,
    certificateSchema,
  ])
  .meta({ id: 'AlertRule' });
/** See {@link alertRuleSchema}. */
export type AlertRule = z.infer<typeof alertRuleSchema>;

/** What an alert rule looks at. */
export type AlertKind = AlertRule['kind'];

/** A file of alert rules. */
export const alertRuleFileSchema = z
  .strictObject({ rules: z.array(alertRuleSchema).max(500) })
  .refine(({ rules }) => new Set(rules.map(({ name }) => name)).size === rules.length, {
    error: 'two rules have the same name',
    path: ['rules'],
  });
