import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { deviceIdSchema, scopeSchema, type Scope } from '@muster/contract';
import { isUnreachable, migrate } from '@muster/database';
import type { EngineWay } from '@muster/engines';
import { postgresVariables, readConfiguration } from '@muster/service';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import pRetry from 'p-retry';
import { z } from 'zod';
import { createToken, issueCredentials, listTokens, revokeCredentials, revokeToken } from './access-commands.ts';
import { addAlertCommands } from './alert-commands.ts';
import type { ApiTarget } from './api-client.ts';
import { addSecureCommands } from './secure-commands.ts';
import { decommissionDevice, listDevices, showDevice } from './device-commands.ts';
import { addPort, durationMs, PORT_NAMES, UsageError, type PortName } from './up/settings.ts';
import { up } from './up/up.ts';
import { verify } from './verify.ts';

const STATE_FOLDER = '.muster';
const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 10_000)
    throw new InvalidArgumentError('expected a whole number up to 10,000');
  return value;
}

function device(text: string): string {
  const parsed = deviceIdSchema.safeParse(text);
  if (!parsed.success) throw new InvalidArgumentError(z.prettifyError(parsed.error));
  return parsed.data;
}

function apiTarget(command: Command): ApiTarget {
  const { url } = command.optsWithGlobals<{ url: string }>();
  if (!URL.canParse(url)) throw new UsageError(`--url expects http://HOST:PORT; found ${JSON.stringify(url)}`);
  const isOwn = ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname);
  return { url, token: process.env['MUSTER_TOKEN'] ?? (isOwn ? ownToken() : undefined) };
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

/** The authority of the system that was started in this folder, if it speaks TLS. */
function ownAuthority(): string | undefined {
  const file = path.join(STATE_FOLDER, 'tls/ca.crt');
  return existsSync(file) ? file : undefined;
}

function api(command: Command): Command {
  return command
    .option('--url <origin>', 'where the API is', process.env['MUSTER_URL'] ?? 'http://127.0.0.1:8300')
    .option('--json', 'print JSON on standard output', false);
}

function addTokenCommands(muster: Command): void {
  const tokens = muster.command('token').description('tokens of the REST API');
  api(tokens.command('ls').description('list tokens')).action(async (options: { json: boolean }, command: Command) => {
    await listTokens(apiTarget(command), options);
  });
  api(
    tokens
      .command('create')
      .description('make a token; it is shown this once')
      .argument('<name>', 'who or what will use it')
      .addOption(
        new Option('--scope <scope>', 'what it allows: to look, to change devices too, to manage tokens too')
          .choices(scopeSchema.options)
          .default('viewer'),
      )
      .option('--expires <days>', 'after how many days it ends', count),
  ).action(async (name: string, options: { json: boolean; scope: Scope; expires?: number }, command: Command) => {
    await createToken(apiTarget(command), { name, scope: options.scope, expiresInDays: options.expires }, options);
  });
  api(tokens.command('revoke').description('revoke a token').argument('<id>', 'its id, as "token ls" shows it')).action(
    async (id: string, options: { json: boolean }, command: Command) => {
      await revokeToken(apiTarget(command), id, options);
    },
  );
}

function program(): Command {
  const muster = new Command('muster')
    .description('Fleet monitor for MQTT devices: presence with a reason, decommissioning with a proof.')
    .exitOverride()
    .showHelpAfterError('(--help shows what there is)');

  muster
    .command('up')
    .description('run the whole system on this machine: engines, services, virtual devices')
    .option('--devices <count>', 'virtual devices', count, 25)
    .option('--brokers <count>', 'brokers, each a shard', count, 1)
    .addOption(
      new Option('--engines <way>', 'where engines come from, apart from those that the environment names')
        .choices(['auto', 'local', 'docker'])
        .default('auto'),
    )
    .option('--tls', 'brokers speak TLS alone; certificates are made at the first start', false)
    .option('--shared-account', 'an account that any number of devices may share, with any client id', false)
    .option('--dir <path>', 'where the state is kept', STATE_FOLDER)
    .option('--for <duration>', 'end after so long: 60s, 5m, 1h', durationMs)
    .option('--port <name=number>', `a port: ${PORT_NAMES.join(', ')}`, addPort, new Map<PortName, number>())
    .option('--watch', 'build what changes and start its service again', false)
    .option('--json', 'one JSON line when ready and one for each event; ports are free ones unless given', false)
    .action(
      async (options: {
        devices: number;
        brokers: number;
        engines: EngineWay;
        tls: boolean;
        sharedAccount: boolean;
        dir: string;
        for?: number;
        port: ReadonlyMap<PortName, number>;
        json: boolean;
        watch: boolean;
      }) => {
        if (options.brokers < 1) throw new UsageError('--brokers expects at least 1');
        process.exitCode = await up({
          json: options.json,
          devices: options.devices,
          brokers: options.brokers,
          engines: options.engines,
          tls: options.tls,
          sharedAccount: options.sharedAccount,
          forMs: options.for,
          dir: options.dir,
          watch: options.watch,
          ports: options.port,
        });
      },
    );

  muster
    .command('migrate')
    .description('bring the database in MUSTER_POSTGRES_URL to the schema of this version')
    .option('--wait <duration>', 'how long to wait for a database that does not answer yet', durationMs, 0)
    .option('--json', 'print JSON on standard output', false)
    .action(async ({ json, wait }: { json: boolean; wait: number }) => {
      const { MUSTER_POSTGRES_URL } = readConfiguration(z.object(postgresVariables), process.env);
      const applied = await pRetry(() => migrate(MUSTER_POSTGRES_URL), {
        retries: Number.POSITIVE_INFINITY,
        maxRetryTime: wait,
        minTimeout: 500,
        factor: 1,
        shouldRetry: ({ error }) => wait > 0 && isUnreachable(error),
        onFailedAttempt: ({ error, attemptNumber }) => {
          if (wait > 0 && attemptNumber % 10 === 1) process.stderr.write(`waiting: ${error.message}\n`);
        },
      });
      if (json) process.stdout.write(`${JSON.stringify({ applied })}\n`);
      else
        process.stdout.write(applied.length === 0 ? 'the database is up to date\n' : `applied ${applied.join(', ')}\n`);
    });

  const devices = muster.command('device').description('devices of the fleet');
  api(devices.command('ls').description('list devices'))
    .option('--presence <state>', 'only those that are online, asleep, stale, offline, lost or unknown')
    .option(
      '--state <state>',
      'only those that are discovered, registered, decommissioning, decommissioned or archived',
    )
    .action(async (options: { json: boolean; presence?: string; state?: string }, command: Command) => {
      const filter = {
        ...(options.presence === undefined ? {} : { presence: options.presence }),
        ...(options.state === undefined ? {} : { state: options.state }),
      };
      await listDevices(apiTarget(command), filter, options);
    });
  api(
    devices
      .command('show')
      .description('show one device: presence and why, last readings')
      .argument('<device>', 'its id', device),
  ).action(async (id: string, options: { json: boolean }, command: Command) => {
    await showDevice(apiTarget(command), id, options);
  });

  api(
    devices
      .command('credentials')
      .description('give a device its account at the brokers; the password is shown this once')
      .argument('<device>', 'its id', device),
  )
    .option('--rotate', 'a new password for the account that it has', false)
    .action(async (id: string, options: { json: boolean; rotate: boolean }, command: Command) => {
      await issueCredentials(apiTarget(command), id, { ...options, ca: ownAuthority() });
    });
  api(
    devices
      .command('revoke')
      .description('take the account of a device away: it is disconnected and not let in again')
      .argument('<device>', 'its id', device),
  ).action(async (id: string, options: { json: boolean }, command: Command) => {
    if (!(await revokeCredentials(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });
  api(
    muster
      .command('verify')
      .description('publish as a new device, read it back over REST, and decommission the device again'),
  )
    .option('--ca <file>', 'the authority of the brokers, as PEM', ownAuthority())
    .action(async (options: { json: boolean; ca?: string }, command: Command) => {
      if (!(await verify(apiTarget(command), options))) process.exitCode = EXIT_FAILURE;
    });
  addTokenCommands(muster);
  addSecureCommands(muster);
  addAlertCommands(muster, { add: api, target: apiTarget });

  api(
    muster
      .command('decommission')
      .description('take a device out of service for good, and prove that no retained message of it is left')
      .argument('<device>', 'its id', device),
  ).action(async (id: string, options: { json: boolean }, command: Command) => {
    if (!(await decommissionDevice(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });

  return muster;
}

try {
  await program().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else {
    process.stderr.write(`muster: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
  }
}
// A started system may leave sockets that are still closing; everything has been stopped and said by now.
process.exit();
