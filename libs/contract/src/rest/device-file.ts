import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { descriptionSchema, deviceNameSchema, lifeStateSchema, presenceStateSchema, tagsSchema } from './device.ts';
import { groupNameSchema } from './group.ts';

/** A file that is imported has at most so many bytes. */
export const MAX_IMPORT_BYTES = 16 * 1024 * 1024;
/** And so many devices. */
export const MAX_IMPORT_ROWS = 20_000;

/** Forms of a file of devices. */
export const deviceFileFormatSchema = z.enum(['json', 'csv']);
/** See {@link deviceFileFormatSchema}. */
export type DeviceFileFormat = z.infer<typeof deviceFileFormatSchema>;

/** What an export has of each device, in this order. */
export const exportedDeviceSchema = z
  .object({
    id: deviceIdSchema,
    name: z.string().nullable(),
    description: z.string().nullable(),
    tags: z.array(z.string()),
    groups: z.array(z.string()),
    state: lifeStateSchema,
    presence: presenceStateSchema,
    model: z.string().nullable(),
    firmware: z.string().nullable(),
    broker: z.string().nullable(),
  })
  .meta({ id: 'ExportedDevice' });
/** See {@link exportedDeviceSchema}. */
export type ExportedDevice = z.infer<typeof exportedDeviceSchema>;

const ignored = z.unknown().optional().describe('Not read: an export has it');

/**
 * A device of a file that is imported. What is left out stays as it is; null, an empty cell or an empty list takes it
 * away.
 */
export const importedDeviceSchema = z
  .strictObject({
    id: deviceIdSchema,
    name: deviceNameSchema.nullable().optional(),
    description: descriptionSchema.nullable().optional(),
    tags: tagsSchema.optional(),
    groups: z
      .array(groupNameSchema)
      .max(100)
      .overwrite((names) => [...new Set(names)].sort())
      .optional()
      .describe('Those that do not exist yet are made'),
    state: ignored,
    presence: ignored,
    model: ignored,
    firmware: ignored,
    broker: ignored,
  })
  .meta({ id: 'ImportedDevice' });
/** See {@link importedDeviceSchema}. */
export type ImportedDevice = Pick<
  z.infer<typeof importedDeviceSchema>,
  'id' | 'name' | 'description' | 'tags' | 'groups'
>;

/** How devices are exported. */
export const exportQuerySchema = z.strictObject({
  format: deviceFileFormatSchema.optional(),
  q: z.string().optional().describe('A search as in GET /devices'),
});
/** See {@link exportQuerySchema}. */
export type ExportQuery = z.infer<typeof exportQuerySchema>;

const flag = z.enum(['true', 'false']).default('false');

/** How devices are imported. */
export const importQuerySchema = z.strictObject({
  preview: flag.describe('Only shows what would be done'),
  partial: flag.describe('Takes what can be taken, where other rows have faults; otherwise all of them or none'),
});
/** See {@link importQuerySchema}. */
export type ImportQuery = z.infer<typeof importQuerySchema>;

/** What is wrong with a row of a file. */
export const importFaultSchema = z.object({
  line: z.number().int().describe('Where the row begins, counted from 1'),
  path: z.string().describe('The field; empty for the row as a whole'),
  message: z.string(),
});
/** See {@link importFaultSchema}. */
export type ImportFault = z.infer<typeof importFaultSchema>;

/** What an import did, or with `preview` would do. */
export const importResultSchema = z
  .object({
    preview: z.boolean(),
    rows: z.number().int(),
    created: z.number().int(),
    updated: z.number().int(),
    unchanged: z.number().int(),
    refused: z.number().int().describe('Rows with faults'),
    groupsCreated: z.array(z.string()),
    faults: z.array(importFaultSchema).describe('The first 100'),
  })
  .meta({ id: 'ImportResult' });
/** See {@link importResultSchema}. */
export type ImportResult = z.infer<typeof importResultSchema>;
