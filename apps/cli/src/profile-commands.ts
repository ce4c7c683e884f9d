import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { InvalidArgumentError, type Command } from 'commander';
import type { z } from 'zod';
import { say, table, write, type OutputOptions } from './output.ts';
import {
  originSchema,
  profileNameSchema,
  profileOf,
  profilesFile,
  readProfiles,
  writeProfiles,
  type Profile,
  type Profiles,
} from './profiles.ts';
import { UsageError } from './up/settings.ts';

/** Longer than any token, and what is longer is not read on. */
const MAX_TOKEN_LENGTH = 1_000;

function checkedBy(schema: z.ZodType<string>): (text: string) => string {
  return (given) => {
    const parsed = schema.safeParse(given);
    if (!parsed.success) throw new InvalidArgumentError(parsed.error.issues[0]?.message ?? 'not valid');
    return parsed.data;
  };
}

const nameArgument = checkedBy(profileNameSchema);

/** A profile as it may be shown: whether there is a token, never which. */
function shown(
  name: string,
  { url, token, ca }: Profile,
  current: string | undefined,
): Readonly<Record<string, unknown>> {
  return { name, url, token: token !== undefined, ca: ca ?? null, current: name === current };
}

function existing(profiles: Profiles, name: string): Profile {
  const found = profileOf(profiles, name);
  if (found === undefined)
    throw new UsageError(`there is no profile ${JSON.stringify(name)}; "muster profile ls" shows those that there are`);
  return found;
}

/** The absolute path of a file with certificates. */
function authorityArgument(file: string): string {
  try {
    new X509Certificate(readFileSync(file));
  } catch (error) {
    throw new InvalidArgumentError(
      `${file} has no certificate as PEM (${error instanceof Error ? error.message : String(error)})`,
    );
  }
  return path.resolve(file);
}

/** The token: typed without being shown, or what standard input has. A command line would show it to everybody. */
async function readToken(): Promise<string | undefined> {
  const { stdin, stderr } = process;
  let given: string;
  if (stdin.isTTY) {
    stderr.write('token (nothing is shown; empty for none): ');
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
    const reader = createInterface({ input: stdin, output: nowhere, terminal: true });
    try {
      given = await reader.question('');
    } finally {
      reader.close();
      stderr.write('\n');
    }
  } else given = await text(stdin);
  const token = given.trim();
  if (token.length > MAX_TOKEN_LENGTH || /[^\x21-\x7e]/.test(token))
    throw new UsageError('what was given is no token: expected one word of letters, digits and signs');
  return token === '' ? undefined : token;
}

interface AddOptions extends OutputOptions {
  readonly url: string;
  readonly ca?: string;
  readonly force: boolean;
}

async function add(name: string, { url, ca, force, json }: AddOptions): Promise<void> {
  const file = profilesFile(process.env);
  if (profileOf(readProfiles(file), name) !== undefined && !force)
    throw new UsageError(`there is a profile ${name} already; --force replaces it`);
  const token = await readToken();
  const profile: Profile = { url, ...(token === undefined ? {} : { token }), ...(ca === undefined ? {} : { ca }) };
  // Read again: somebody may have taken long to type.
  const before = readProfiles(file);
  writeProfiles(file, { ...before, profiles: { ...before.profiles, [name]: profile } });
  if (json) write(JSON.stringify(shown(name, profile, before.current)));
  else say(`${name} is ${url}, ${token === undefined ? 'without a token' : 'with its token'}, in ${file}`);
  if (before.current !== name) say(`use it with --profile ${name}, or from now on with "muster profile use ${name}"`);
}

function list({ json }: OutputOptions): void {
  const { profiles, current } = readProfiles(profilesFile(process.env));
  const rows = Object.entries(profiles);
  if (json) write(JSON.stringify(rows.map(([name, profile]) => shown(name, profile, current))));
  else if (rows.length === 0) say('no profiles; "muster profile add NAME --url URL" makes one');
  else
    write(
      table(
        ['', 'NAME', 'URL', 'TOKEN', 'CA'],
        rows.map(([name, { url, token, ca }]) => [
          name === current ? '*' : '',
          name,
          url,
          token === undefined ? 'no' : 'yes',
          ca ?? '-',
        ]),
      ),
    );
}

function use(name: string | undefined, { json }: OutputOptions): void {
  const file = profilesFile(process.env);
  const profiles = readProfiles(file);
  if (name !== undefined) existing(profiles, name);
  const { current: _, ...rest } = profiles;
  writeProfiles(file, name === undefined ? rest : { ...rest, current: name });
  if (json) write(JSON.stringify({ current: name ?? null }));
  else say(name === undefined ? 'no profile is in use: the system of this folder is' : `${name} is in use`);
}

function remove(name: string, { json }: OutputOptions): void {
  const file = profilesFile(process.env);
  const before = readProfiles(file);
  existing(before, name);
  const { [name]: _, ...profiles } = before.profiles;
  const { current, ...rest } = before;
  writeProfiles(file, { ...rest, ...(current === undefined || current === name ? {} : { current }), profiles });
  if (json) write(JSON.stringify({ removed: name }));
  else say(`${name} is removed${current === name ? '; no profile is in use' : ''}`);
}

function show(name: string | undefined, { json }: OutputOptions): void {
  const profiles = readProfiles(profilesFile(process.env));
  const wanted = name ?? profiles.current;
  if (wanted === undefined) throw new UsageError('no profile is in use; name one');
  const profile = existing(profiles, wanted);
  if (json) {
    write(JSON.stringify(shown(wanted, profile, profiles.current)));
    return;
  }
  write(`name   ${wanted}${wanted === profiles.current ? ' (in use)' : ''}`);
  write(`url    ${profile.url}`);
  write(`token  ${profile.token === undefined ? 'none' : 'there is one'}`);
  write(`ca     ${profile.ca ?? 'those of Node'}`);
}

/** Adds `muster profile …` to the command line. */
export function addProfileCommands(muster: Command): void {
  const profile = muster.command('profile').description('several Musters by name: URL, token and authority of each');
  const withJson = (command: Command): Command => command.option('--json', 'print JSON on standard output', false);
  withJson(profile.command('ls').description('list profiles')).action((options: OutputOptions) => list(options));
  withJson(
    profile
      .command('add')
      .description('add a profile; its token is asked for, or read from standard input')
      .argument('<name>', 'how to call it', nameArgument)
      .requiredOption('--url <origin>', 'where its API is', checkedBy(originSchema))
      .option('--ca <file>', 'PEM file of the authority of its API', authorityArgument)
      .option('--force', 'replace one that there is', false),
  ).action(async (name: string, options: AddOptions) => {
    await add(name, options);
  });
  withJson(
    profile
      .command('use')
      .description('use a profile from now on; without a name, the system of this folder again')
      .argument('[name]', 'its name', nameArgument),
  ).action((name: string | undefined, options: OutputOptions) => use(name, options));
  withJson(
    profile
      .command('show')
      .description('show a profile, without its token')
      .argument('[name]', 'its name; otherwise the one in use', nameArgument),
  ).action((name: string | undefined, options: OutputOptions) => show(name, options));
  withJson(profile.command('rm').description('remove a profile').argument('<name>', 'its name', nameArgument)).action(
    (name: string, options: OutputOptions) => remove(name, options),
  );
}
