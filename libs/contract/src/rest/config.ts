import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { deviceSettingsSchema, MAX_CONFIG_VERSION } from '../downlink.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');
const version = z.number().int().min(0).max(MAX_CONFIG_VERSION);

/** The settings that a device is to have: a whole state, what is not named goes back to the device's own default. */
export const configRequestSchema = z
  .strictObject({
    settings: deviceSettingsSchema.describe('At most 2,000 bytes of JSON and 7 levels, which is what devices read'),
    expectVersion: version.optional().describe('Refused with 409 where the newest version is another one by now'),
  })
  .meta({ id: 'ConfigRequest' });
/** See {@link configRequestSchema}. */
export type ConfigRequest = z.infer<typeof configRequestSchema>;

/** One version of a device's configuration. */
export const configVersionSchema = z.object({
  version,
  settings: z.record(z.string(), z.unknown()).nullable().describe('Null where it was cleared'),
  by: z.string(),
  at: instant,
});
/** See {@link configVersionSchema}. */
export type ConfigVersion = z.infer<typeof configVersionSchema>;

/** What can be asked of a device's configuration. */
export const configQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(20).describe('Versions a page'),
  cursor: z
    .string()
    .regex(/^\d{1,10}$/)
    .optional()
    .describe('`next` of the page before'),
});
/** See {@link configQuerySchema}. */
export type ConfigQuery = z.infer<typeof configQuerySchema>;

/** The configuration that a device is to have, the one it goes by, and how it came to it. */
export const deviceConfigSchema = z
  .object({
    device: deviceIdSchema,
    version: version.describe('The newest one; 0 before the first'),
    desired: configVersionSchema.nullable().describe('Null where there is none, or it was cleared'),
    applied: z
      .object({
        version: version.describe('0: its own defaults'),
        error: z.string().nullable().describe('What was wrong with the last one it was told'),
        unknown: z.number().int().describe('Settings that it does not have'),
      })
      .nullable()
      .describe('What the device says it goes by; null as long as it has not said so'),
    inSync: z.boolean().describe('The device goes by what is desired, or nothing is'),
    explanation: z.string().describe('What is so, or what is waited for, as a sentence'),
    brokers: z.array(
      z.object({
        broker: z.string(),
        published: z.boolean().describe('Whether it has the newest version'),
        publishedAt: instant.nullable(),
        fault: z.string().nullable().describe('Why it has not'),
      }),
    ),
    history: z.array(configVersionSchema).describe('Every version, the newest first'),
    next: z.string().nullable().describe('The cursor of the next page of the history; null on the last'),
  })
  .meta({ id: 'DeviceConfig' });
/** See {@link deviceConfigSchema}. */
export type DeviceConfig = z.infer<typeof deviceConfigSchema>;
