import {
  decommissionPreviewSchema,
  decommissionReportSchema,
  devicePageSchema,
  deviceSchema,
  lifeStateSchema,
  presenceHistorySchema,
  presenceStateSchema,
  type DecommissionReport,
  type Device,
  type DevicePage,
  type LastReading,
} from '@muster/contract';
import { Option, type Command } from 'commander';
import { addCredentialCommands } from './access-commands.ts';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument, wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, plain, say, table, waitingFor, write, type OutputOptions } from './output.ts';

interface ListFilter {
  readonly presence?: string;
  readonly state?: string;
}

function valueOf({ value, unit }: LastReading): string {
  return unit === null ? String(value) : `${value} ${unit}`;
}

/** Every device, page after page. */
async function listDevices(target: ApiTarget, { presence, state }: ListFilter, output: OutputOptions): Promise<void> {
  const filter = { ...(presence === undefined ? {} : { presence }), ...(state === undefined ? {} : { state }) };
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
    write(`evidence   ${plain(topic)} on ${broker}: ${plain(payload)}`);
    write(`           ${rule}`);
  }
  write(`last seen  ${device.lastSeenAt ?? 'never'}`);
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

/** What a device says about itself, as lines for people. */
function infoLines(info: Device['info']): readonly string[] {
  if (info === null) return [];
  const { model, firmware, reset_reason, keep_alive, config } = info;
  const addresses = Object.values(info.addresses ?? {});
  return [
    [model, firmware === undefined ? undefined : `firmware ${firmware}`]
      .filter((part) => part !== undefined)
      .join(', '),
    addresses.length === 0 ? '' : `at ${addresses.join(', ')}`,
    reset_reason === undefined ? '' : `last start: ${reset_reason}`,
    keep_alive === undefined ? '' : `keep-alive ${keep_alive} s`,
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

/** What taking a device out of service would do. */
async function previewDecommission(target: ApiTarget, id: string, output: OutputOptions): Promise<boolean> {
  const preview = await waitingFor(
    `looking on every broker what there is of ${id}`,
    callApi(target, 'POST', `/devices/${encodeURIComponent(id)}/decommission?dryRun=true`, decommissionPreviewSchema),
  );
  if (output.json) write(JSON.stringify(preview));
  else {
    write(`${id}: nothing has been changed`);
    write(preview.hasAccount ? 'its account would be taken away' : 'it has no account');
    if (preview.wouldClear.length > 0) {
      write(
        table(
          ['BROKER', 'WOULD CLEAR', 'BYTES'],
          preview.wouldClear.map(({ broker, topic, bytes }) => [broker, topic, String(bytes)]),
        ),
      );
    } else write('no retained message was found');
    for (const { topic, owner } of preview.wouldKeep) write(`would keep: ${plain(topic)}, which ${owner} owns as well`);
    for (const fault of preview.faults) write(fault);
  }
  return preview.faults.length === 0;
}

/** The report of taking a device out of service; answers whether it is verified. */
async function decommissionDevice(target: ApiTarget, id: string, output: OutputOptions): Promise<boolean> {
  const report: DecommissionReport = await waitingFor(
    `decommissioning ${id}: waiting until every broker has let go of it, and looking again`,
    callApi(target, 'POST', `/devices/${encodeURIComponent(id)}/decommission?wait=30s`, decommissionReportSchema),
  );
  if (output.json) {
    write(JSON.stringify(report));
    return report.state === 'verified';
  }
  write(`${report.device}: ${report.state}${report.verifiedAt === null ? '' : ` at ${report.verifiedAt}`}`);
  if (report.cleared.length > 0) {
    write(
      table(
        ['BROKER', 'CLEARED', 'BYTES', 'AT'],
        report.cleared.map(({ broker, topic, bytes, clearedAt }) => [broker, topic, String(bytes), clearedAt]),
      ),
    );
  } else write('no retained message was found');
  for (const { broker, topic } of report.after) write(`still there: ${plain(topic)} on ${broker}`);
  for (const { topic, owner } of report.kept) write(`kept: ${plain(topic)}, which ${owner} owns as well`);
  for (const line of report.notDone) write(`not done: ${line}`);
  if (report.state !== 'verified') write('it goes on by itself; the same command shows how far it is');
  return report.state === 'verified';
}

/** Adds `muster device …` to the command line. */
export function addDeviceCommands(muster: Command): void {
  const devices = muster.command('device').description('devices of the fleet');
  withApi(devices.command('ls').description('list devices'))
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
  addCredentialCommands(devices);
}

/** Adds `muster decommission` to the command line. */
export function addDecommissionCommand(muster: Command): void {
  withApi(
    muster
      .command('decommission')
      .description('take a device out of service for good, and prove that no retained message of it is left')
      .argument('<device>', 'its id', deviceArgument)
      .option('--dry-run', 'only show what would be cleared'),
  ).action(async (id: string, options: OutputOptions & { dryRun?: true }, command: Command) => {
    const run = options.dryRun === true ? previewDecommission : decommissionDevice;
    if (!(await run(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });
}
