import { deviceIdSchema } from '@muster/contract';
import { migrate } from '@muster/database';
import type { EngineWay } from '@muster/engines';
import { postgresVariables, readConfiguration } from '@muster/service';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import type { ApiTarget } from './api-client.ts';
import { decommissionDevice, listDevices, showDevice } from './device-commands.ts';
import { addSecureCommands } from './secure-commands.ts';
import { addPort, durationMs, UsageError, type PortName } from './up/settings.ts';
import { up } from './up/up.ts';

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
  return { url, token: process.env['MUSTER_TOKEN'] };
}

function api(command: Command): Command {
  return command
    .option('--url <origin>', 'where the API is', process.env['MUSTER_URL'] ?? 'http://127.0.0.1:8300')
    .option('--json', 'print JSON on standard output', false);
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
    .option('--dir <path>', 'where the state is kept', '.muster')
    .option('--for <duration>', 'end after so long: 60s, 5m, 1h', durationMs)
    .option(
      '--port <name=number>',
      'a port: broker, api, postgres, influxdb, ingestion, presence',
      addPort,
      new Map<PortName, number>(),
    )
    .option('--watch', 'build what changes and start its service again', false)
    .option('--json', 'one JSON line when ready and one for each event; ports are free ones unless given', false)
    .action(
      async (options: {
        devices: number;
        brokers: number;
        engines: EngineWay;
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
    .option('--json', 'print JSON on standard output', false)
    .action(async ({ json }: { json: boolean }) => {
      const { MUSTER_POSTGRES_URL } = readConfiguration(z.object(postgresVariables), process.env);
      const applied = await migrate(MUSTER_POSTGRES_URL);
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
    muster
      .command('decommission')
      .description('take a device out of service for good, and prove that no retained message of it is left')
      .argument('<device>', 'its id', device),
  ).action(async (id: string, options: { json: boolean }, command: Command) => {
    if (!(await decommissionDevice(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });

  addSecureCommands(muster);
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
