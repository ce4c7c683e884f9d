import {
  commandPageSchema,
  commandSchema,
  deviceConfigSchema,
  replacementListSchema,
  replacementSchema,
  type Command as DeviceCommand,
  type CommandPage,
  type DeviceConfig,
} from '@muster/contract';
import type { Command } from 'commander';
import { issuedLines } from './access-commands.ts';
import { callApi, sourceText, type ApiTarget } from './api-client.ts';
import { apiTarget, ownAuthority, withApi } from './api-target.ts';
import { collected, deviceArgument, wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, plain, say, table, waitingFor, write, type OutputOptions } from './output.ts';
import { durationMs, UsageError } from './up/settings.ts';

/** What the API waits for at most. */
const MAX_WAIT_SECONDS = 99;
const ANSWER_MARGIN_MS = 30_000;

/**
 * `key=value` as members of an object: a value that is JSON is what it says, every other one a text.
 * @throws UsageError
 */
export function assignments(texts: readonly string[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new UsageError(`expected KEY=VALUE; found ${JSON.stringify(text)}`);
      return [text.slice(0, at), valueOf(text.slice(at + 1))];
    }),
  );
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // No number, no quoted text, no object: a text as it stands.
    return text;
  }
}

/**
 * The settings of a file, a JSON object.
 * @throws UsageError
 */
export function settingsOf(text: string, file: string): Readonly<Record<string, unknown>> {
  const value = valueOf(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError(`-f ${file}: expected a JSON object of settings, such as {"heartbeat":60}`);
  return value as Readonly<Record<string, unknown>>;
}

/** What became of a command, as a sentence. */
export function outcomeOf(command: DeviceCommand): string {
  const late =
    command.late === null
      ? ''
      : `; the device answered at ${command.late.at}, too late: ${command.late.error ?? 'it has done it'}`;
  switch (command.state) {
    case 'queued':
      return `${command.sentAt === null ? 'waits' : 'was sent, and waits again'}: ${command.waitsFor}`;
    case 'sent':
      return `sent to ${command.brokers.join(', ')}, not answered`;
    case 'acknowledged':
      return `done at ${command.at}`;
    case 'failed':
      return `refused by the device: ${command.error}`;
    case 'expired':
      return `expired at ${command.at}${command.sentAt === null ? ', and never reached a broker that had somebody for it' : ', not answered'}${late}`;
    case 'cancelled':
      return `${command.reason}${late}`;
  }
}

interface GiveOptions extends OutputOptions {
  readonly expires: number;
  readonly wait: number;
  readonly key?: string;
}

/** Gives a command and waits for the answer; answers whether the device has done it, or may do it yet. */
async function giveCommand(
  target: ApiTarget,
  id: string,
  name: string,
  texts: readonly string[],
  { expires, wait, key, json }: GiveOptions,
): Promise<boolean> {
  const seconds = Math.ceil(wait / 1000);
  if (seconds > MAX_WAIT_SECONDS) throw new UsageError(`--wait takes at most ${MAX_WAIT_SECONDS}s`);
  const body = { name, args: assignments(texts), expiresInSeconds: Math.ceil(expires / 1000) };
  const command = await waitingFor(
    `waiting for ${id} to answer`,
    callApi(
      { ...target, timeoutMs: target.timeoutMs ?? wait + ANSWER_MARGIN_MS },
      'POST',
      `/devices/${id}/commands?wait=${seconds}s`,
      commandSchema,
      body,
      undefined,
      key === undefined ? {} : { 'idempotency-key': key },
    ),
  );
  write(json ? JSON.stringify(command) : `${command.id}  ${plain(outcomeOf(command))}`);
  const isOpen = command.state === 'queued' || command.state === 'sent';
  return command.state === 'acknowledged' || (isOpen && seconds === 0);
}

async function listCommands(
  target: ApiTarget,
  id: string,
  { limit, json }: OutputOptions & { readonly limit: number },
): Promise<void> {
  const page: CommandPage = await callApi(target, 'GET', `/devices/${id}/commands?limit=${limit}`, commandPageSchema);
  if (json) {
    write(JSON.stringify(page.items));
    return;
  }
  if (page.items.length === 0) {
    say(`no commands were given to ${id}`);
    return;
  }
  write(
    table(
      ['ID', 'AT', 'BY', 'COMMAND', 'STATE', 'WHAT BECAME OF IT'],
      page.items.map((command) => {
        const { name, args, by, createdAt, state } = command;
        const told = Object.keys(args).length === 0 ? name : `${name} ${JSON.stringify(args)}`;
        return [command.id, createdAt, by, told, state, outcomeOf(command)];
      }),
    ),
  );
  if (page.next !== null) say('(there are older ones: --limit shows more)');
}

async function cancelCommand(target: ApiTarget, id: string, { json }: OutputOptions): Promise<void> {
  const command = await callApi(target, 'DELETE', `/commands/${encodeURIComponent(id)}`, commandSchema);
  if (json) write(JSON.stringify(command));
  else write(`${command.id}  ${plain(outcomeOf(command))}`);
  if (command.sentAt !== null) say('a broker had taken it already: the device may do it yet');
}

interface ConfigOptions extends OutputOptions {
  readonly set: readonly string[];
  readonly unset: readonly string[];
  readonly file?: string;
  readonly clear: boolean;
  readonly limit: number;
}

/** Shows the configuration of a device, or changes it first. */
async function configure(target: ApiTarget, id: string, options: ConfigOptions): Promise<void> {
  const path = `/devices/${id}/config`;
  const { set, unset, file, clear } = options;
  const isEdited = set.length > 0 || unset.length > 0;
  if ([isEdited, file !== undefined, clear].filter(Boolean).length > 1)
    throw new UsageError('--set and --unset, -f, and --clear each say everything; give one of them');
  let config: DeviceConfig;
  if (clear) config = await callApi(target, 'DELETE', path, deviceConfigSchema);
  else if (file !== undefined) {
    const settings = settingsOf(sourceText('-f', file), file);
    config = await callApi(target, 'PUT', path, deviceConfigSchema, { settings }, file);
  } else if (isEdited) {
    const { desired, version } = await callApi(target, 'GET', path, deviceConfigSchema);
    const kept = Object.entries(desired?.settings ?? {}).filter(([name]) => !unset.includes(name));
    const settings = { ...Object.fromEntries(kept), ...assignments(set) };
    // Whoever has changed it meanwhile is not overwritten.
    const body = { settings, expectVersion: version };
    config = await callApi(target, 'PUT', path, deviceConfigSchema, body);
  } else config = await callApi(target, 'GET', `${path}?limit=${options.limit}`, deviceConfigSchema);
  if (options.json) write(JSON.stringify(config));
  else write(configText(config));
}

function configText({ device, desired, explanation, brokers, history, next }: DeviceConfig): string {
  const settings = Object.entries(desired?.settings ?? {});
  const lines = [`${device}  ${plain(explanation)}`];
  if (settings.length > 0)
    lines.push(
      '',
      table(
        ['SETTING', 'VALUE'],
        settings.map(([name, value]) => [name, JSON.stringify(value)]),
      ),
    );
  for (const { broker, fault } of brokers) if (fault !== null) lines.push(`${broker}: ${plain(fault)}`);
  if (history.length > 0)
    lines.push(
      '',
      table(
        ['VERSION', 'AT', 'BY', 'SETTINGS'],
        history.map((one) => [
          String(one.version),
          one.at,
          one.by,
          one.settings === null ? 'cleared' : JSON.stringify(one.settings),
        ]),
      ),
    );
  if (next !== null) lines.push('(there are older ones: --limit shows more)');
  return lines.join('\n');
}

/** Lets new hardware take a device over; answers whether every broker has let go of the old one. */
async function replaceDevice(target: ApiTarget, id: string, { json }: OutputOptions): Promise<boolean> {
  const replacement = await waitingFor(
    `replacing the hardware of ${id}: waiting until every broker has let go of the old one`,
    callApi(target, 'POST', `/devices/${id}/replace`, replacementSchema),
  );
  const { credentials, report } = replacement;
  if (json) {
    write(JSON.stringify(replacement));
    return report.state === 'complete';
  }
  for (const line of issuedLines(credentials, ownAuthority())) write(line);
  write('');
  write(
    table(
      ['BROKER', 'OLD PASSWORD', 'OLD SESSION', 'OLD INFO', 'WAITS FOR'],
      report.brokers.map(({ broker, accountApplied, sessionEnded, infoCleared, fault }) => [
        broker,
        accountApplied ? 'refused' : '-',
        sessionEnded ? 'ended' : '-',
        infoCleared ? 'cleared' : '-',
        fault ?? '',
      ]),
    ),
  );
  if (report.commandsCancelled > 0) write(`commands of the old hardware, cancelled: ${report.commandsCancelled}`);
  if (report.state !== 'complete')
    say(
      `not complete: it goes on by itself; keep the new hardware off until "muster device replacements ${id}" says so`,
    );
  return report.state === 'complete';
}

async function listReplacements(target: ApiTarget, id: string, { json }: OutputOptions): Promise<void> {
  const list = await callApi(target, 'GET', `/devices/${id}/replacements`, replacementListSchema);
  if (json) {
    write(JSON.stringify(list));
    return;
  }
  if (list.items.length === 0) {
    say(`the hardware of ${id} was never replaced`);
    return;
  }
  write(
    table(
      ['AT', 'BY', 'STATE', 'COMMANDS CANCELLED', 'WAITS FOR'],
      list.items.map(({ requestedAt, by, state, commandsCancelled, brokers }) => {
        const faults = brokers.flatMap(({ broker, fault }) => (fault === null ? [] : [`${broker}: ${fault}`]));
        return [requestedAt, by, state, String(commandsCancelled), faults.join('; ')];
      }),
    ),
  );
}

/** Adds `muster device command`, `commands`, `cancel`, `config`, `replace` and `replacements` to `muster device`. */
export function addDownlinkCommands(devices: Command): void {
  withApi(
    devices
      .command('command')
      .description('give a device a command, and wait for its answer')
      .argument('<device>', 'its id', deviceArgument)
      .argument('<name>', 'what it is to do: report, restart, sleep, or what its node knows')
      .argument('[arguments...]', 'KEY=VALUE, such as seconds=60')
      .option('--expires <duration>', 'after this time it is not done any more: 60s, 5m, 1h', durationMs, 60_000)
      .option('--wait <duration>', 'how long to wait for the answer; 0s does not', durationMs, 10_000)
      .option('--key <text>', 'the same key within 24 hours is the same command, given once'),
  ).action(async (id: string, name: string, texts: readonly string[], options: GiveOptions, command: Command) => {
    if (!(await giveCommand(apiTarget(command), id, name, texts, options))) process.exitCode = EXIT_FAILURE;
  });
  withApi(
    devices
      .command('commands')
      .description('the commands of a device and what became of them, the newest first')
      .argument('<device>', 'its id', deviceArgument)
      .option('--limit <number>', 'at most so many', wholeNumber(1, 1_000), 20),
  ).action(async (id: string, options: OutputOptions & { limit: number }, command: Command) => {
    await listCommands(apiTarget(command), id, options);
  });
  withApi(
    devices
      .command('cancel')
      .description('cancel a command that is not answered')
      .argument('<command>', 'its id, as "device commands" shows it'),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    await cancelCommand(apiTarget(command), id, options);
  });
  withApi(
    devices
      .command('config')
      .description('the settings that a device is to have and those it goes by; with options, change them')
      .argument('<device>', 'its id', deviceArgument)
      .option('--set <key=value>', 'change one setting and keep the others; repeat it for several', collected, [])
      .option('--unset <key>', 'let one go back to the default of the device', collected, [])
      .option('-f, --file <path>', 'a JSON object of all settings; - is standard input')
      .option('--clear', 'desire nothing any more; the device keeps what it goes by', false)
      .option('--limit <number>', 'at most so many versions', wholeNumber(1, 1_000), 20),
  ).action(async (id: string, options: ConfigOptions, command: Command) => {
    await configure(apiTarget(command), id, options);
  });
  withApi(
    devices
      .command('replace')
      .description('let new hardware take over id, history and settings; its password is shown this once')
      .argument('<device>', 'its id', deviceArgument),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    if (!(await replaceDevice(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });
  withApi(
    devices
      .command('replacements')
      .description('how often the hardware of a device was replaced, the newest time first')
      .argument('<device>', 'its id', deviceArgument),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    await listReplacements(apiTarget(command), id, options);
  });
}
