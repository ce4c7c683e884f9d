import { z } from 'zod';
import { descriptionSchema } from './device.ts';

/** The name of a group; capitals become small. */
export const groupNameSchema = z
  .string()
  .trim()
  .toLowerCase()
  .regex(/^[a-z0-9][a-z0-9_.-]{0,49}$/, 'expected a name: a letter or digit, then up to 49 of a-z 0-9 _ . -');

/** A group of devices. A device may be in many; `GET /devices?q=group:NAME` lists them. */
export const groupSchema = z
  .object({
    name: z.string(),
    description: z.string().nullable(),
    createdAt: z.iso.datetime(),
    devices: z.number().int().describe('How many are in it; decommissioned and archived ones are left out'),
  })
  .meta({ id: 'Group' });
/** See {@link groupSchema}. */
export type Group = z.infer<typeof groupSchema>;

/** All groups, in the order of their names. */
export const groupListSchema = z.object({ items: z.array(groupSchema) }).meta({ id: 'GroupList' });
/** See {@link groupListSchema}. */
export type GroupList = z.infer<typeof groupListSchema>;

/** A new group. */
export const groupRequestSchema = z
  .strictObject({ name: groupNameSchema, description: descriptionSchema.nullable().default(null) })
  .meta({ id: 'GroupRequest' });
/** See {@link groupRequestSchema}. */
export type GroupRequest = z.infer<typeof groupRequestSchema>;

/** What of a group can be changed. */
export const groupPatchSchema = z
  .strictObject({ name: groupNameSchema.optional(), description: descriptionSchema.nullable().optional() })
  .refine((patch) => Object.keys(patch).length > 0, 'expected name or description')
  .meta({ id: 'GroupPatch' });
/** See {@link groupPatchSchema}. */
export type GroupPatch = z.infer<typeof groupPatchSchema>;
