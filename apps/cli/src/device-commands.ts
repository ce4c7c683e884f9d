import {
  devicePageSchema,
  deviceSchema,
  lifeStateSchema,
  presenceHistorySchema,
  presenceStateSchema,
  type Device,
  type DevicePage,
  type LastReading,
} from '@muster/contract';
import { Option, type Command } from 'commander';
import { addCredentialCommands } from './access-commands.ts';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument, wholeNumber } from './arguments.ts';
import { addBulkCommands } from './bulk-commands.ts';
import { addDeviceFileCommands } from './device-file-commands.ts';
import { addDownlinkCommands } from './downlink-commands.ts';
import { addLifeCommands } from './decommission-commands.ts';
import { plain, say, table, write, type OutputOptions } from './output.ts';
import { addPublishAdviceCommand } from './publish-advice-command.ts';

interface ListFilter {
  readonly presence?: string;
  readonly state?: string;
  readonly search?: string;
}

function valueOf({ value, unit }: LastReading): string {
  return unit === null ? String(value) : `${value} ${unit}`;
}

/** Every device, page after page. */
async function listDevices(
  target: ApiTarget,
  { presence, state, search }: ListFilter,
  output: OutputOptions,
): Promise<void> {
  const filter = {
    ...(presence === undefined ? {} : { presence }),
    ...(state === undefined ? {} : { state }),
    ...(search === undefined ? {} : { q: search }),
  };
  const devices: Device[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const query = new URLSearchParams({ limit: '1000', ...filter, ...(cursor === undefined ? {} : { cursor }) });
    const page: DevicePage = await callApi(target, 'GET', `/devices?${query.toString()}`, devicePageSchema);
    devices.push(...page.items);
    cursor = page.next;
  }
  if (output.json) {
    write(JSON.stringify(devices));
    return;
  }
  if (devices.length === 0) {
    say(
      Object.keys(filter).length === 0
        ? 'no devices: they appear by themselves when they are first heard'
        : 'no such devices',
    );
    return;
  }
  write(
    table(
      ['DEVICE', 'PRESENCE', 'REASON', 'SINCE', 'LAST VALUES'],
      devices.map(({ id, presence, readings }) => [
        id,
        presence.state,
        presence.reason,
        presence.since ?? '-',
        Object.entries(readings)
          .map(([metric, reading]) => `${metric} ${valueOf(reading)}`)
          .join(', ') || '-',
      ]),
    ),
  );
}

/** One device with presence, evidence and readings. */
async function showDevice(target: ApiTarget, id: string, output: OutputOptions): Promise<void> {
  const device = await callApi(target, 'GET', `/devices/${encodeURIComponent(id)}`, deviceSchema);
  if (output.json) {
    write(JSON.stringify(device));
    return;
  }
  const { presence } = device;
  write(`${device.id}  ${device.state}${device.name === null ? '' : `  ${plain(device.name)}`}`);
  write(
    `presence   ${presence.state} (${presence.reason})${presence.since === null ? '' : ` since ${presence.since}`}`,
  );
  write(`           ${presence.explanation}`);
  if (presence.evidence !== null) {
    const { topic, payload, broker, rule } = presence.evidence;
    write(topic === '' ? `evidence   on ${broker}` : `evidence   ${plain(topic)} on ${broker}: ${plain(payload)}`);
    write(`           ${rule}`);
  }
  for (const { flag, since, evidence } of presence.flags) write(`flag       ${flag} since ${since}: ${evidence}`);
  write(`last seen  ${device.lastSeenAt ?? 'never'}`);
  for (const [index, line] of trafficLines(device.traffic).entries())
    write((index === 0 ? 'traffic' : '').padEnd(11) + line);
  if (device.replacedAt !== null)
    write(
      `hardware   replaced at ${device.replacedAt}${device.replacements > 1 ? `, ${device.replacements} times` : ''}`,
    );
  if (device.tags.length > 0) write(`tags       ${device.tags.join(', ')}`);
  if (device.groups.length > 0) write(`groups     ${device.groups.join(', ')}`);
  for (const [index, line] of infoLines(device.info).entries()) write((index === 0 ? 'info' : '').padEnd(11) + line);
  const readings = Object.entries(device.readings);
  if (readings.length > 0) {
    write('');
    write(
      table(
        ['METRIC', 'VALUE', 'AT'],
        readings.map(([metric, reading]) => [metric, valueOf(reading), reading.at]),
      ),
    );
  }
}

/** A clock that is off by less is as good as any. */
const WORTH_TELLING_MS = 1_000;

/** What the telemetry of a device was like, as lines for people. */
function trafficLines(traffic: Device['traffic']): readonly string[] {
  if (traffic === null) return [];
  const { broker, messages, bytes, lost, duplicates, dropped, runawaySince, clockOffsetMs } = traffic;
  return [
    `${messages} messages with ${bytes} bytes on ${broker}; ${lost} lost, ${duplicates} came again`,
    ...(dropped === 0 ? [] : [`${dropped} messages beyond its quota were dropped`]),
    ...(runawaySince === null ? [] : [`it sends more than its quota since ${runawaySince}`]),
    ...(clockOffsetMs === null || Math.abs(clockOffsetMs) < WORTH_TELLING_MS
      ? []
      : [`its clock is ${Math.abs(clockOffsetMs) / 1000} s ${clockOffsetMs > 0 ? 'ahead' : 'behind'}`]),
  ];
}

/** What a device says about itself, as lines for people. */
function infoLines(info: Device['info']): readonly string[] {
  if (info === null) return [];
  const { model, firmware, reset_reason, keep_alive, interval, config } = info;
  const addresses = Object.values(info.addresses ?? {});
  return [
    [model, firmware === undefined ? undefined : `firmware ${firmware}`]
      .filter((part) => part !== undefined)
      .join(', '),
    addresses.length === 0 ? '' : `at ${addresses.join(', ')}`,
    reset_reason === undefined ? '' : `last start: ${reset_reason}`,
    keep_alive === undefined ? '' : `keep-alive ${keep_alive} s`,
    interval === undefined ? '' : `sends every ${interval} s`,
    config === undefined ? '' : `goes by configuration ${config.version}`,
    config?.error === undefined ? '' : `refused its last configuration: ${config.error}`,
  ].flatMap((line) => (line === '' ? [] : [plain(line)]));
}

/** How a device came to its presence, the newest change first. */
async function showPresence(
  target: ApiTarget,
  id: string,
  { limit, json }: OutputOptions & { readonly limit: number },
): Promise<void> {
  const path = `/devices/${encodeURIComponent(id)}/presence?limit=${limit}`;
  const answer = await callApi(target, 'GET', path, presenceHistorySchema);
  if (json) {
    write(JSON.stringify(answer));
    return;
  }
  const { presence, history, next } = answer;
  write(`${id}  ${presence.state} (${presence.reason}): ${presence.explanation}`);
  if (history.length === 0) return;
  write('');
  write(
    table(
      ['AT', 'FROM', 'TO', 'REASON', 'SESSION', 'BROKER', 'RULE'],
      history.map(({ at, from, to, reason, session, evidence }) => {
        const { broker, rule } = evidence;
        return [at, from, to, reason, session === null ? '-' : String(session), broker, rule];
      }),
    ),
  );
  if (next !== null) say('(there are older ones: --limit shows more)');
}

/** Adds `muster device …` to the command line. */
export function addDeviceCommands(muster: Command): void {
  const devices = muster.command('device').description('devices of the fleet');
  withApi(devices.command('ls').alias('list').description('list devices'))
    .option('--search <text>', 'only those that match, such as "presence:lost tag:roof last.temp:>30"')
    .addOption(new Option('--presence <state>', 'only those in this state').choices(presenceStateSchema.options))
    .addOption(new Option('--state <state>', 'only those at this point of their life').choices(lifeStateSchema.options))
    .action(async (options: OutputOptions & ListFilter, command: Command) => {
      await listDevices(apiTarget(command), options, options);
    });
  withApi(
    devices
      .command('show')
      .description('show one device: presence and why, last readings')
      .argument('<device>', 'its id', deviceArgument),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    await showDevice(apiTarget(command), id, options);
  });
  withApi(
    devices
      .command('presence')
      .description('how a device came to its presence: every change with its reason and its rule, the newest first')
      .argument('<device>', 'its id', deviceArgument)
      .option('--limit <number>', 'at most so many changes', wholeNumber(1, 1_000), 20),
  ).action(async (id: string, options: OutputOptions & { limit: number }, command: Command) => {
    await showPresence(apiTarget(command), id, options);
  });
  addBulkCommands(devices);
  addDeviceFileCommands(devices);
  addCredentialCommands(devices);
  addDownlinkCommands(devices);
  addPublishAdviceCommand(devices);
  addLifeCommands(devices);
}
