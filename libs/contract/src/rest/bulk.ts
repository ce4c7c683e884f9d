import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { tagsSchema } from './device.ts';
import { groupNameSchema } from './group.ts';

/** A bulk action changes at most so many devices. */
export const MAX_BULK_DEVICES = 10_000;
/** As many ids as a request's body has room for. */
export const MAX_BULK_IDS = 3_000;
/** A preview names so many devices. */
export const MAX_PREVIEWED = 100;

const common = {
  select: z.union([
    z.strictObject({
      ids: z
        .array(deviceIdSchema)
        .min(1)
        .max(MAX_BULK_IDS)
        .overwrite((ids) => [...new Set(ids)]),
    }),
    z.strictObject({
      q: z.string().trim().min(1, 'expected a search; id:* is every device').describe('As in GET /devices'),
    }),
  ]),
  limit: z
    .number()
    .int()
    .min(1)
    .max(MAX_BULK_DEVICES)
    .default(100)
    .describe('Where more devices than this are selected, nothing is done'),
  preview: z.boolean().default(false).describe('Only shows what would be changed'),
  expect: z
    .number()
    .int()
    .min(0)
    .optional()
    .describe('`selected` of a preview: where another number is selected by now, nothing is done'),
};
const tags = tagsSchema.refine((list) => list.length > 0, 'expected a tag');

/** What is to be done with many devices at once. */
export const bulkRequestSchema = z
  .discriminatedUnion('action', [
    z.strictObject({ action: z.literal('tag'), tags, ...common }),
    z.strictObject({ action: z.literal('untag'), tags, ...common }),
    z.strictObject({ action: z.literal('group'), group: groupNameSchema, ...common }),
    z.strictObject({ action: z.literal('ungroup'), group: groupNameSchema, ...common }),
    z.strictObject({ action: z.literal('decommission'), ...common }),
  ])
  .meta({ id: 'BulkRequest' });
/** See {@link bulkRequestSchema}. */
export type BulkRequest = z.infer<typeof bulkRequestSchema>;

/** The names of the actions. */
export const BULK_ACTIONS = [
  'tag',
  'untag',
  'group',
  'ungroup',
  'decommission',
] as const satisfies readonly BulkRequest['action'][];

/** Why a device is left as it is. */
export const bulkSkipSchema = z.object({
  device: deviceIdSchema,
  code: z.enum(['unknown', 'unchanged', 'state', 'too-many-tags', 'failed']),
  reason: z.string(),
});
/** See {@link bulkSkipSchema}. */
export type BulkSkip = z.infer<typeof bulkSkipSchema>;

/** What a bulk action did, or with `preview` would do. */
export const bulkResultSchema = z
  .object({
    action: z.enum(BULK_ACTIONS),
    preview: z.boolean(),
    selected: z.number().int(),
    changed: z.number().int().describe('How many of them are changed; in a preview how many would be'),
    devices: z
      .array(deviceIdSchema)
      .describe(`The first ${MAX_PREVIEWED} of these; all of them where they are decommissioned`),
    skipped: z.number().int().describe('How many are left as they are'),
    skips: z.array(bulkSkipSchema).describe(`Why; the first ${MAX_PREVIEWED} of them in a preview`),
    follow: z
      .string()
      .nullable()
      .describe('Of a decommissioning: where each report is, with the id in place of {device}'),
  })
  .meta({ id: 'BulkResult' });
/** See {@link bulkResultSchema}. */
export type BulkResult = z.infer<typeof bulkResultSchema>;
