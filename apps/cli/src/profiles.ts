import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';

/** The file with the profiles cannot be used; the message says how to mend it, and shows nothing of what stands in it. */
export class ProfileError extends Error {
  override readonly name = 'ProfileError';
  readonly code = 'profile-file';
}

const PROFILE_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
/** Others than the owner may neither read nor write it. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;
const OTHERS = 0o077;

/** The name of a profile. */
export const profileNameSchema = z
  .string()
  .regex(PROFILE_NAME, 'expected 1 to 64 of the characters A-Z a-z 0-9 _ -, the first a letter or a digit');

/** `http://HOST:PORT`, without an account and without a path. */
export const originSchema = z
  .string()
  .refine((text) => {
    if (!URL.canParse(text)) return false;
    const { protocol, username, password, pathname, search, hash } = new URL(text);
    return (
      /^https?:$/.test(protocol) && [username, password, search, hash].every((part) => part === '') && pathname === '/'
    );
  }, 'expected http://HOST:PORT or https://HOST:PORT')
  .transform((text) => new URL(text).origin);

const profileSchema = z.strictObject({
  url: originSchema,
  token: z.string().min(1).optional(),
  /** Path of the certificates, as PEM, of the authorities that may vouch for the API. */
  ca: z.string().min(1).optional(),
});
/** One Muster that somebody uses: where it is, with which token, and who vouches for it. */
export type Profile = z.infer<typeof profileSchema>;

const profilesSchema = z.strictObject({
  /** The one that is used where none is named. */
  current: profileNameSchema.optional(),
  profiles: z.record(profileNameSchema, profileSchema).default({}),
});
/** All profiles of a user. */
export type Profiles = z.infer<typeof profilesSchema>;

/** Where the profiles of a user are kept (XDG Base Directory). */
export function profilesFile(environment: Readonly<Record<string, string | undefined>>): string {
  const configured = environment['XDG_CONFIG_HOME'];
  // A relative path is to be ignored, says the specification.
  const folder = configured !== undefined && path.isAbsolute(configured) ? configured : path.join(homedir(), '.config');
  return path.join(folder, 'muster', 'config.yaml');
}

/** A profile by its name; undefined where there is none. */
export function profileOf({ profiles }: Profiles, name: string): Profile | undefined {
  return Object.hasOwn(profiles, name) ? profiles[name] : undefined;
}

/**
 * The profiles of a file; none where it is not there.
 * @throws ProfileError when it is broken, cannot be read, or can be read by others
 */
export function readProfiles(file: string): Profiles {
  let text: string;
  try {
    // On Windows the mode says nothing.
    if (process.platform !== 'win32' && (statSync(file).mode & OTHERS) !== 0)
      throw new ProfileError(`${file} has tokens and can be read by others: chmod 600 ${file}`);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof ProfileError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { profiles: {} };
    throw new ProfileError(`${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  let value: unknown;
  try {
    // Without the excerpt of the file that stands in its errors otherwise: it may be a token.
    value = parse(text, { prettyErrors: false });
  } catch (error) {
    throw new ProfileError(
      `${file} is no YAML (${messageOf(error)}); mend it, or delete it and add the profiles again`,
    );
  }
  const parsed = profilesSchema.safeParse(value ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue === undefined || issue.path.length === 0 ? 'the file' : issue.path.join('.');
    throw new ProfileError(
      `${file} has no profiles as they should be: ${where}: ${issue?.message}; mend it, or delete it and add the profiles again`,
    );
  }
  return parsed.data;
}

/**
 * Replaces the file in one step; nobody but its owner can read it.
 * @throws ProfileError
 */
export function writeProfiles(file: string, profiles: Profiles): void {
  const fresh = `${file}.${process.pid}`;
  try {
    mkdirSync(path.dirname(file), { recursive: true, mode: FOLDER_MODE });
    writeFileSync(fresh, stringify(profiles), { mode: FILE_MODE });
    // The mode of a file that stood there stays as it was.
    chmodSync(fresh, FILE_MODE);
    renameSync(fresh, file);
  } catch (error) {
    throw new ProfileError(`${file} cannot be written: ${messageOf(error)}`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
