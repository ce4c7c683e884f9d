import { z } from 'zod';
import { deviceIdSchema } from '../device-id.ts';
import { isStorableText } from '../payload.ts';

const instant = z.iso.datetime();

/** What a token allows: to look; to change devices too; to manage tokens too. */
export const scopeSchema = z.enum(['viewer', 'operator', 'admin']);
/** See {@link scopeSchema}. */
export type Scope = z.infer<typeof scopeSchema>;

const nameSchema = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .refine(isStorableText, 'U+0000 and lone surrogates cannot be stored');

/** A token as it is listed; the token itself is shown once, when it is made. */
export const apiTokenSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    scope: scopeSchema,
    createdAt: instant,
    expiresAt: instant.nullable(),
    lastUsedAt: instant.nullable().describe('To the minute'),
    revokedAt: instant.nullable(),
  })
  .meta({ id: 'ApiToken' });
/** See {@link apiTokenSchema}. */
export type ApiToken = z.infer<typeof apiTokenSchema>;

/** All tokens. */
export const apiTokenListSchema = z.object({ items: z.array(apiTokenSchema) }).meta({ id: 'ApiTokenList' });
/** See {@link apiTokenListSchema}. */
export type ApiTokenList = z.infer<typeof apiTokenListSchema>;

/** What a new token is to be. */
export const apiTokenRequestSchema = z
  .strictObject({
    name: nameSchema.describe('Who or what will use it'),
    scope: scopeSchema,
    expiresInDays: z.number().int().min(1).max(3650).optional().describe('Never, where it is left out'),
  })
  .meta({ id: 'ApiTokenRequest' });
/** See {@link apiTokenRequestSchema}. */
export type ApiTokenRequest = z.infer<typeof apiTokenRequestSchema>;

/** A token that was just made. */
export const newApiTokenSchema = apiTokenSchema
  .extend({ token: z.string().describe('Shown this once; only its hash is kept') })
  .meta({ id: 'NewApiToken' });
/** See {@link newApiTokenSchema}. */
export type NewApiToken = z.infer<typeof newApiTokenSchema>;

/** A browser's sign-in with a token. */
export const signInSchema = z.strictObject({ token: z.string().min(1).max(200) }).meta({ id: 'SignIn' });
/** See {@link signInSchema}. */
export type SignIn = z.infer<typeof signInSchema>;

/** Who is asking. */
export const signedInSchema = z.object({ name: z.string(), scope: scopeSchema }).meta({ id: 'SignedIn' });
/** See {@link signedInSchema}. */
export type SignedIn = z.infer<typeof signedInSchema>;

const brokerStateSchema = z.object({
  broker: z.string(),
  applied: z.boolean().describe('Whether the broker uses this version of the accounts'),
});

/** The account of a device at the brokers, just made. */
export const credentialsSchema = z
  .object({
    device: deviceIdSchema,
    clientId: z.string().describe('The brokers take the user name for the client id, whatever the device says'),
    username: z.string(),
    password: z.string().describe('Shown this once; only its hash is kept'),
    broker: z.object({ name: z.string(), url: z.string() }).describe('Where the device is to connect'),
    version: z.number().int().describe('Of the accounts'),
    brokers: z.array(brokerStateSchema),
  })
  .meta({ id: 'Credentials' });
/** See {@link credentialsSchema}. */
export type Credentials = z.infer<typeof credentialsSchema>;

/** Whose accounts are wanted at once: all of them are made, or none. */
export const credentialsRequestSchema = z
  .strictObject({
    devices: z
      .array(deviceIdSchema)
      .min(1)
      .max(1_000)
      .refine((ids) => new Set(ids).size === ids.length, 'a device stands twice'),
    rotate: z.boolean().default(false).describe('true gives those that have an account a new password'),
  })
  .meta({ id: 'CredentialsRequest' });
/** See {@link credentialsRequestSchema}. */
export type CredentialsRequest = z.infer<typeof credentialsRequestSchema>;

/** The accounts of many devices, in the order in which they were asked for. */
export const credentialsListSchema = z.object({ items: z.array(credentialsSchema) }).meta({ id: 'CredentialsList' });
/** See {@link credentialsListSchema}. */
export type CredentialsList = z.infer<typeof credentialsListSchema>;

/** What became of the account of a device. */
export const revocationSchema = z
  .object({
    device: deviceIdSchema,
    revoked: z.boolean().describe('False where it had no account'),
    version: z.number().int().nullable(),
    brokers: z.array(brokerStateSchema),
  })
  .meta({ id: 'Revocation' });
/** See {@link revocationSchema}. */
export type Revocation = z.infer<typeof revocationSchema>;
