import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import type { ApiTarget } from './api-client.ts';
import { originSchema, profileOf, profilesFile, readProfiles, type Profile, type Profiles } from './profiles.ts';
import { durationMs, UsageError } from './up/settings.ts';

/** Where `muster up` keeps its state, unless it is told otherwise. */
export const STATE_FOLDER = '.muster';
const OWN_URL = 'http://127.0.0.1:8300';

/** What every command that asks the API is told. */
export interface ApiOptions {
  readonly url?: string;
  readonly profile?: string;
  readonly timeout?: number;
}

/** Adds to a command what it needs to ask the API, and `--json`. */
export function withApi(command: Command): Command {
  return withAddress(command).option('--profile <name>', 'a Muster of "muster profile" (MUSTER_PROFILE)');
}

/** The same for a command that has another use for `--profile`. */
export function withAddress(command: Command): Command {
  return command
    .option('--url <origin>', `where the API is (MUSTER_URL, then the profile in use, then ${OWN_URL})`)
    .option('--timeout <duration>', 'how long one answer may take (default: 60s)', durationMs)
    .option('--json', 'print JSON on standard output', false);
}

/** What may name an API and a token, from what counts most to what counts least. */
export interface TargetSources {
  readonly options: ApiOptions;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Read only where a profile may be used: a broken file is no matter to whoever names a URL. */
  readonly profiles: () => Profiles;
  /** The token of the system that was started in this folder. */
  readonly ownToken: () => string | undefined;
}

/** The API that is meant, without the text of its authority. */
export interface ResolvedTarget {
  readonly url: string;
  readonly token: string | undefined;
  readonly caFile: string | undefined;
}

/**
 * Which API, with which token: what the command line says, then the environment, then the profile in use, then the
 * system that was started in this folder. The token of a profile goes to the URL of that profile alone.
 * @throws UsageError, ProfileError
 */
export function resolveTarget({ options, environment, profiles, ownToken }: TargetSources): ResolvedTarget {
  const { MUSTER_TOKEN: token, MUSTER_URL: url, MUSTER_PROFILE: profile } = withoutEmpty(environment);
  if (options.url !== undefined && options.profile !== undefined)
    throw new UsageError('--url and --profile both name a Muster; give one of them');
  if (options.url !== undefined) return atUrl('--url', options.url, token, ownToken);
  if (options.profile !== undefined) {
    const named = profileNamed('--profile', options.profile, profiles());
    return { url: named.url, token: named.token ?? token, caFile: named.ca };
  }
  if (url !== undefined) return atUrl('MUSTER_URL', url, token, ownToken);
  const known = profiles();
  const inUse = profile ?? known.current;
  if (inUse === undefined) return { url: OWN_URL, token: token ?? ownToken(), caFile: undefined };
  const named = profileNamed(profile === undefined ? 'the profile in use' : 'MUSTER_PROFILE', inUse, known);
  return { url: named.url, token: token ?? named.token, caFile: named.ca };
}

function withoutEmpty(environment: TargetSources['environment']): TargetSources['environment'] {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
}

function atUrl(
  source: string,
  text: string,
  token: string | undefined,
  ownToken: () => string | undefined,
): ResolvedTarget {
  const origin = originSchema.safeParse(text);
  if (!origin.success)
    throw new UsageError(`${source} expects http://HOST:PORT or https://HOST:PORT; found ${JSON.stringify(text)}`);
  const isOwn = ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(origin.data).hostname);
  return { url: origin.data, token: token ?? (isOwn ? ownToken() : undefined), caFile: undefined };
}

function profileNamed(source: string, name: string, known: Profiles): Profile {
  const found = profileOf(known, name);
  if (found !== undefined) return found;
  const names = Object.keys(known.profiles);
  const there = names.length === 0 ? 'there are none yet: muster profile add' : `there are ${names.join(', ')}`;
  throw new UsageError(`${source} names ${JSON.stringify(name)}, which is no profile; ${there}`);
}

/** The token of the system that was started in this folder: whoever can read the file may use it. */
function ownToken(): string | undefined {
  try {
    const { token } = JSON.parse(readFileSync(path.join(STATE_FOLDER, 'secrets.json'), 'utf8')) as { token?: unknown };
    return typeof token === 'string' ? token : undefined;
  } catch {
    // No system was started here: the API says that a token is needed.
    return undefined;
  }
}

/** The authority of the brokers of the system that was started in this folder, if they speak TLS. */
export function ownAuthority(): string | undefined {
  const file = path.join(STATE_FOLDER, 'tls/ca.crt');
  return existsSync(file) ? file : undefined;
}

/**
 * The API that a command is to ask; `options` where it is not to be what the command line says.
 * @throws UsageError, ProfileError
 */
export function apiTarget(command: Command, options = command.optsWithGlobals<ApiOptions>()): ApiTarget {
  const { url, token, caFile } = resolveTarget({
    options,
    environment: process.env,
    profiles: () => readProfiles(profilesFile(process.env)),
    ownToken,
  });
  return { url, token, ca: caFile === undefined ? undefined : readAuthority(caFile), timeoutMs: options.timeout };
}

function readAuthority(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(
      `the profile's authority ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}
