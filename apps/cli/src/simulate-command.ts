import type { BrokerTarget } from '@muster/broker';
import { credentialsListSchema, type Credentials, type DeviceId } from '@muster/contract';
import {
  DeviceCore,
  FLEET_FAULTS,
  FLEET_PROFILES,
  plannedDevices,
  VirtualFleet,
  VirtualTime,
  type FleetFault,
  type FleetFigures,
  type FleetProfile,
  type PlannedDevice,
} from '@muster/simulator';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withAddress } from './api-target.ts';
import { wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, showStatus, waitingFor, write } from './output.ts';
import { durationMs, UsageError } from './up/settings.ts';
import { brokerTarget } from './watch/broker-target.ts';

interface SimulateOptions {
  readonly devices: number;
  readonly profile: FleetProfile;
  readonly fault: readonly FleetFault[];
  readonly seed: number;
  readonly for?: number;
  readonly days?: number;
  readonly prefix: string;
  readonly connects: number;
  readonly broker?: string;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly ca?: string;
  readonly json: boolean;
  readonly url?: string;
  readonly timeout?: number;
}

const MAX_DEVICES = 20_000;
const DAY_MS = 86_400_000;
/** Nobody takes readings for true that are older than their own retention. */
const MAX_DAYS = 30;
const TELL_EVERY_MS = 1_000;
const GOODBYE_LIMIT_MS = 20_000;
const ACCOUNTS_AT_ONCE = 1_000;

function faultList(text: string): readonly FleetFault[] {
  return text.split(',').map((name) => {
    const fault = FLEET_FAULTS.find((known) => known === name.trim());
    if (fault === undefined)
      throw new InvalidArgumentError(`expected ${FLEET_FAULTS.join(', ')}, with commas between.`);
    return fault;
  });
}

function days(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= MAX_DAYS)) throw new InvalidArgumentError(`expected a number of days up to ${MAX_DAYS}.`);
  return value;
}

/** An account for each device: one that had one already gets a new password. */
async function accountsOf(
  api: ApiTarget,
  devices: readonly PlannedDevice[],
): Promise<ReadonlyMap<DeviceId, Credentials>> {
  const accounts = new Map<DeviceId, Credentials>();
  for (let first = 0; first < devices.length; first += ACCOUNTS_AT_ONCE) {
    const ids = devices.slice(first, first + ACCOUNTS_AT_ONCE).map(({ id }) => id);
    const body = { devices: ids, rotate: true };
    const made = callApi(api, 'POST', '/credentials', credentialsListSchema, body);
    const { items } = await waitingFor(`accounts: ${first} of ${devices.length}`, made);
    for (const account of items) accounts.set(account.device, account);
  }
  return accounts;
}

/** Where each device connects: at the broker that is named, or at its own with its own account. */
async function brokersOf(
  devices: readonly PlannedDevice[],
  options: SimulateOptions,
  command: Command,
): Promise<(id: DeviceId) => BrokerTarget> {
  const { broker } = options;
  if (broker !== undefined) {
    const target = brokerTarget({ ...options, broker }, process.env);
    return () => target;
  }
  const { url, timeout } = options;
  const api = apiTarget(command, {
    ...(url === undefined ? {} : { url }),
    ...(timeout === undefined ? {} : { timeout }),
  });
  const accounts = await accountsOf(api, devices);
  return (id) => {
    const account = accounts.get(id);
    if (account === undefined) throw new Error(`${id} has no account`);
    const { username, password } = account;
    const ca = account.broker.url.startsWith('mqtts:') ? api.ca : undefined;
    return { ...account.broker, username, password, ...(ca === undefined ? {} : { ca }) };
  };
}

function told({ devices, online, asleep, faults }: FleetFigures): string {
  const happened = FLEET_FAULTS.filter((fault) => faults[fault] > 0).map((fault) => `${faults[fault]} × ${fault}`);
  const sleeping = asleep === 0 ? '' : `, ${asleep} asleep`;
  return `${online} of ${devices} online${sleeping}${happened.length === 0 ? '' : `; ${happened.join(', ')}`}`;
}

/** Resolves when the time is over or somebody interrupts; meanwhile says how things stand. */
async function untilOver(limitMs: number | undefined, tell: () => void): Promise<void> {
  const timers: NodeJS.Timeout[] = [setInterval(tell, TELL_EVERY_MS)];
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
    if (limitMs !== undefined) timers.push(setTimeout(resolve, limitMs));
  });
  for (const timer of timers) clearTimeout(timer);
}

async function simulate(options: SimulateOptions, command: Command): Promise<void> {
  const { profile, seed, fault, json } = options;
  if (options.days !== undefined && options.for === undefined)
    throw new UsageError('--days says what passes while it runs, so --for has to say how long that is');
  const speed = options.days === undefined ? 1 : (options.days * DAY_MS) / (options.for ?? DAY_MS);
  const devices = plannedDevices(options.devices, profile, options.prefix);
  const brokerOf = await brokersOf(devices, options, command);
  // What was compressed ends now: readings from the future would not be believed.
  const time = new VirtualTime(speed, Date.now() - (options.days ?? 0) * DAY_MS);
  const core = await DeviceCore.load();
  const fleet = new VirtualFleet({
    ...{ devices, brokerOf, profile, faults: fault, seed, core, time },
    connectsPerSecond: options.connects,
  });
  let most = 0;
  let last = '';
  fleet.start();
  await untilOver(options.for, () => {
    const { figures } = fleet;
    most = Math.max(most, figures.online);
    if (json) write(JSON.stringify({ event: 'figures', ...figures }));
    const text = told(figures);
    if (text !== last && !json) showStatus(text);
    last = text;
  });
  showStatus('');
  const figures = fleet.figures;
  most = Math.max(most, figures.online);
  await waitingFor('saying goodbye', fleet.stop(GOODBYE_LIMIT_MS));
  const memory = { bytesPerDevice: core.bytesPerDevice, bytes: core.memoryBytes };
  if (json) write(JSON.stringify({ event: 'ended', mostOnline: most, memory, ...figures }));
  else
    write(
      `at most ${most} of ${devices.length} were online at the same time; ${core.bytesPerDevice} bytes of core each`,
    );
  if (most === 0) process.exitCode = EXIT_FAILURE;
}

/** Adds `muster simulate` to the command line. */
export function addSimulateCommand(muster: Command): void {
  withAddress(muster.command('simulate').description('virtual devices: the firmware itself, at a real broker'))
    .option('--devices <number>', 'how many', wholeNumber(1, MAX_DEVICES), 100)
    .addOption(new Option('--profile <name>', 'how they behave').choices([...FLEET_PROFILES]).default('office'))
    .option('--fault <list>', `what goes wrong now and then: ${FLEET_FAULTS.join(', ')}`, faultList, [])
    .option('--seed <number>', 'the same seed does the same', wholeNumber(0, 2 ** 31 - 1), 1)
    .option('--for <duration>', 'end after so long: 60s, 5m, 1h', durationMs)
    .option('--days <number>', 'so many days of theirs pass meanwhile, and end now', days)
    .option('--prefix <text>', 'how their ids begin', 'sim-')
    .option('--connects <number>', 'how many connect in a second', wholeNumber(1, 5_000), 200)
    .option('--broker <url>', 'a broker that needs no account of each: mqtt://HOST:PORT, mqtts://HOST:PORT')
    .option('--username <name>', 'of the account there (MUSTER_BROKER_USERNAME)')
    .option('--password-file <path>', 'its password; otherwise MUSTER_BROKER_PASSWORD')
    .option('--ca <path>', 'the authority of its certificate, PEM')
    .action(async (options: SimulateOptions, command: Command) => simulate(options, command));
}
