import type { EngineWay } from '@muster/engines';
import { Option, type Command } from 'commander';
import { STATE_FOLDER } from '../api-target.ts';
import { wholeNumber } from '../arguments.ts';
import { addPort, durationMs, PORT_NAMES, UsageError, type PortName } from './settings.ts';
import { up } from './up.ts';

interface UpCommandOptions {
  readonly devices: number;
  readonly brokers: number;
  readonly engines: EngineWay;
  readonly tls: boolean;
  readonly sharedAccount: boolean;
  readonly dir: string;
  readonly for?: number;
  readonly port: ReadonlyMap<PortName, number>;
  readonly json: boolean;
  readonly watch: boolean;
}

/** Adds `muster up` to the command line. */
export function addUpCommand(muster: Command): void {
  muster
    .command('up')
    .description('run the whole system on this machine: engines, services, virtual devices')
    .option('--devices <count>', 'virtual devices', wholeNumber(0, 10_000), 25)
    .option('--brokers <count>', 'brokers, each a shard', wholeNumber(0, 10_000), 1)
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
    .action(async ({ for: forMs, port: ports, ...options }: UpCommandOptions) => {
      if (options.brokers < 1) throw new UsageError('--brokers expects at least 1');
      process.exitCode = await up({ ...options, forMs, ports });
    });
}
