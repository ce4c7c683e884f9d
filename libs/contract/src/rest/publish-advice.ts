import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { isMetricName } from '../topic-map.ts';
import { alertDurationMs } from './alert-rule.ts';

const DAY_MS = 86_400_000;
const LONGEST_RANGE_MS = 31 * DAY_MS;
const DEAD_BAND = /^(?:([A-Za-z][A-Za-z0-9_.-]{0,63}):)?(\d{1,9}(?:\.\d{1,9})?)$/;
const DEAD_BAND_EXPECTED =
  'expected a change in the unit of the metric, such as 0.5, or of one metric alone, such as vbat:0.05';
const MOST_DOLLARS = 1_000;

/** A query parameter that may be repeated; always a list. */
const asList = (value: unknown): unknown => (value === undefined || Array.isArray(value) ? value : [value]);

/** A time of 1 ms to `longest`, as milliseconds; `expected` says so. */
function duration(longestMs: number, expected: string): z.ZodType<number, string> {
  return z
    .string()
    .refine((text) => alertDurationMs(text) >= 1 && alertDurationMs(text) <= longestMs, expected)
    .transform(alertDurationMs);
}

const deadBands = z
  .array(z.string().regex(DEAD_BAND, DEAD_BAND_EXPECTED))
  .max(65)
  .transform((texts, context) => {
    const bands = texts.map((text) => DEAD_BAND.exec(text) ?? []);
    const names = bands.map(([, name]) => name ?? '');
    if (new Set(names).size !== names.length)
      context.addIssue({ code: 'custom', message: 'expected one dead-band for each metric, and one for all others' });
    const unknown = names.find((name) => name !== '' && !isMetricName(name));
    if (unknown !== undefined)
      context.addIssue({ code: 'custom', message: `expected the name of a metric before the colon; found ${unknown}` });
    return new Map(bands.map(([, name, band]) => [name ?? '', Number(band)]));
  });

/** What can be asked of the advice how to publish; times become milliseconds. */
export const publishAdviceQuerySchema = z.strictObject({
  deadband: z
    .preprocess(asList, deadBands.prefault(['0']))
    .describe(
      'A value is sent when it differs by more from the last one that was sent, in the unit of the metric: `0.5` for all metrics, `vbat:0.05` for one; repeat it for several. At 0 only repetitions are saved',
    ),
  heartbeat: duration(7 * DAY_MS, 'expected a time from 1ms to 7d, such as 300s, 5m or 1h')
    .prefault('300s')
    .describe('A message is sent at the latest so long after the one before: 300s, 5m, 1h; at most 7d'),
  metric: z
    .preprocess(
      asList,
      z.array(z.string().refine(isMetricName, 'expected the name of a metric, such as temp')).max(64).default([]),
    )
    .describe('Only these, as if the device sent no others; repeat it for several'),
  range: duration(LONGEST_RANGE_MS, 'expected a time from 1ms to 31d, such as 6h, 24h or 7d')
    .prefault('24h')
    .describe('How far back the history is looked at: 6h, 24h, 7d; at most 31d'),
  price: z
    .string()
    .regex(/^\d{1,4}(?:\.\d{1,9})?$/, `expected dollars from 0 to ${MOST_DOLLARS}, such as 1 or 0.7`)
    .transform(Number)
    .refine((dollars) => dollars <= MOST_DOLLARS, `expected at most ${MOST_DOLLARS} dollars`)
    .optional()
    .describe(
      'Dollars for a million messages; 1 where it is left out, which AWS IoT Core asks up to a billion a month',
    ),
});
/** See {@link publishAdviceQuerySchema}. */
export type PublishAdviceQuery = z.infer<typeof publishAdviceQuerySchema>;

const instant = z.iso.datetime().describe('UTC, with milliseconds');

const totalsSchema = z.object({
  messages: z.number(),
  bytes: z.number().describe('Of payloads, at the mean size of those of the device'),
  dollars: z.number(),
});

/** What publishing on change with a heartbeat would have saved, and the error that it would have made. */
export const publishAdviceSchema = z
  .object({
    device: deviceIdSchema,
    from: instant.describe('The first sample that was looked at'),
    to: instant.describe('The last one'),
    truncated: z
      .string()
      .nullable()
      .describe('Why older samples of the range were left out; null where all were looked at'),
    terms: z
      .object({
        heartbeatSeconds: z.number(),
        messageBytes: z.number().describe('Payload of a message'),
        messageBytesFrom: z.string().describe('Where that comes from'),
        dollarsPerMillionMessages: z.number(),
        priceFrom: z.string().describe('Where that comes from'),
      })
      .describe('What it was worked out with'),
    everySample: totalsSchema.describe('A message for each time at which something was stored'),
    onChange: totalsSchema.describe('With dead-band and heartbeat'),
    saved: totalsSchema,
    savedPercent: z.number(),
    savedPerMonth: totalsSchema.nullable().describe('The same in 30 days; null where less than an hour is known'),
    metrics: z.array(
      z.object({
        metric: z.string(),
        unit: z.string().nullable(),
        deadBand: z.number().describe('Of texts and booleans 0: every change of them is sent'),
        samples: z.number().int(),
        messages: z.number().int().describe('That it would have asked for if it were the only metric'),
        maximumError: z.number().describe('How far at most the last value sent was from the true one'),
        meanError: z.number().describe('Weighted by time'),
      }),
    ),
    explanation: z.string(),
  })
  .meta({ id: 'PublishAdvice' });
/** See {@link publishAdviceSchema}. */
export type PublishAdviceAnswer = z.infer<typeof publishAdviceSchema>;
