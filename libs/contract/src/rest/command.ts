import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { commandArgsSchema } from '../downlink.ts';

const instant = z.iso.datetime().describe('UTC, with milliseconds');

/** The longest that a command may wait for its device: seven days. */
const MAX_EXPIRY_SECONDS = 604_800;

/** A command for a device. */
export const commandRequestSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z][A-Za-z0-9_.-]{0,31}$/, 'expected a letter, then up to 31 of A-Z a-z 0-9 _ . -')
      .describe('What it is to do: `report`, `restart`, `sleep`, or what its node knows'),
    args: commandArgsSchema
      .default({})
      .describe('At most 1,920 bytes of JSON and 7 levels, which is what devices read'),
    expiresInSeconds: z
      .number()
      .int()
      .min(1)
      .max(MAX_EXPIRY_SECONDS)
      .default(60)
      .describe('After this time it is not done any more'),
  })
  .meta({ id: 'CommandRequest' });
/** See {@link commandRequestSchema}. */
export type CommandRequest = z.infer<typeof commandRequestSchema>;

/** The same key within 24 hours is the same command. */
export const idempotencyKeySchema = z
  .string()
  .regex(/^[\x21-\x7e]{1,200}$/, 'expected 1 to 200 visible ASCII characters');

/** How a command is given. */
export const commandQuerySchema = z.strictObject({
  wait: z
    .string()
    .regex(/^[0-9]{1,2}s$/, 'expected seconds such as 10s, at most 99s')
    .default('0s')
    .describe('How long the answer may wait for the device'),
});
/** See {@link commandQuerySchema}. */
export type CommandQuery = z.infer<typeof commandQuerySchema>;

const common = {
  id: z.uuid(),
  device: deviceIdSchema,
  name: z.string(),
  args: z.record(z.string(), z.unknown()),
  by: z.string().describe('Who gave it'),
  createdAt: instant,
  expiresAt: instant,
  sentAt: instant
    .nullable()
    .describe('When a broker last took it for somebody who subscribes to it; null where none ever did'),
  brokers: z.array(z.string()).describe('Those that took it then'),
  late: z
    .object({ at: instant, error: z.string().nullable().describe('Null where the device did it') })
    .nullable()
    .describe('What the device answered when the command had expired or was cancelled'),
};

/** A command and what became of it. */
export const commandSchema = z
  .discriminatedUnion('state', [
    z.object({ ...common, state: z.literal('queued'), waitsFor: z.string().describe('Why no broker has taken it') }),
    z.object({ ...common, state: z.literal('sent') }),
    z.object({ ...common, state: z.literal('acknowledged'), at: instant }),
    z.object({
      ...common,
      state: z.literal('failed'),
      at: instant,
      error: z.string().describe('What the device said'),
    }),
    z.object({ ...common, state: z.literal('expired'), at: instant }),
    z.object({ ...common, state: z.literal('cancelled'), at: instant, reason: z.string() }),
  ])
  .meta({ id: 'Command' });
/** See {@link commandSchema}. */
export type Command = z.infer<typeof commandSchema>;

/** What can be asked of the commands of a device. */
export const commandPageQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe('Commands a page'),
  cursor: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional()
    .describe('`next` of the page before'),
});
/** See {@link commandPageQuerySchema}. */
export type CommandPageQuery = z.infer<typeof commandPageQuerySchema>;

/** One page of the commands of a device, the newest first. */
export const commandPageSchema = z
  .object({
    items: z.array(commandSchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .meta({ id: 'CommandPage' });
/** See {@link commandPageSchema}. */
export type CommandPage = z.infer<typeof commandPageSchema>;
