import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  decommissionPreviewSchema,
  decommissionReportSchema,
  deviceSchema,
  purgeResultSchema,
  signingKeySchema,
  type DecommissionReport,
  type DecommissionStep,
} from '@muster/contract';
import { checkSignature, SigningKeyError, type SignatureVerdict } from '@muster/security';
import type { Command } from 'commander';
import { callApi, sourceText, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument } from './arguments.ts';
import { EXIT_FAILURE, plain, say, showStatus, table, waitingFor, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

const VERIFIED_LIMIT_MS = 30_000;
const POLL_MS = 300;

interface DecommissionOptions extends OutputOptions {
  readonly dryRun?: true;
  readonly wait?: true;
}

function pathOf(id: string, rest = ''): string {
  return `/devices/${encodeURIComponent(id)}${rest}`;
}

/** What taking a device out of service would do. */
async function previewDecommission(target: ApiTarget, id: string, output: OutputOptions): Promise<boolean> {
  const preview = await waitingFor(
    `looking on every broker what there is of ${id}`,
    callApi(target, 'POST', pathOf(id, '/decommission?dryRun=true'), decommissionPreviewSchema),
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

/** How a step stands, for people. */
function stepLine({ name, state, waitsFor }: DecommissionStep): string {
  return `${name}: ${state}${waitsFor.length === 0 ? '' : `, ${waitsFor.map(plain).join('; ')}`}`;
}

/** Tells each step when it is over, and shows what is waited for. */
class Progress {
  readonly #told = new Set<string>();

  tell({ steps }: DecommissionReport): void {
    for (const step of steps) {
      if (step.state === 'waiting' || this.#told.has(step.name)) continue;
      this.#told.add(step.name);
      this.end();
      say(stepLine(step));
    }
    const next = steps.find(({ state }) => state === 'waiting');
    if (next !== undefined && process.stderr.isTTY) showStatus(stepLine(next));
  }

  end(): void {
    if (process.stderr.isTTY) showStatus('');
  }
}

/** Takes a device out of service and follows that until it is verified, or with `--wait` until it is done. */
async function decommissionDevice(target: ApiTarget, id: string, options: DecommissionOptions): Promise<boolean> {
  const progress = new Progress();
  const isFollowed = ({ state, steps }: DecommissionReport): boolean =>
    state === 'incomplete' ||
    (options.wait === true && state === 'verified' && steps.some((step) => step.state === 'waiting'));
  const untilMs = options.wait === true ? Number.POSITIVE_INFINITY : Date.now() + VERIFIED_LIMIT_MS;
  let report = await callApi(target, 'POST', pathOf(id, '/decommission?wait=1s'), decommissionReportSchema);
  for (;;) {
    if (!options.json) progress.tell(report);
    if (!isFollowed(report) || Date.now() > untilMs) break;
    await delay(POLL_MS);
    report = await callApi(target, 'GET', pathOf(id, '/decommission'), decommissionReportSchema);
  }
  if (!options.json) progress.end();
  if (options.json) write(JSON.stringify(report));
  else showReport(report);
  return report.state !== 'incomplete';
}

function showReport(report: DecommissionReport): void {
  const { device, state, verifiedAt, doneAt, account, signature } = report;
  const at = doneAt ?? verifiedAt;
  write(`${device}: ${state}${at === null ? '' : ` at ${at}`}`);
  if (report.cleared.length > 0) {
    write(
      table(
        ['BROKER', 'CLEARED', 'BYTES', 'AT'],
        report.cleared.map(({ broker, topic, bytes, clearedAt }) => [broker, topic, String(bytes), clearedAt]),
      ),
    );
  } else write('no retained message was found');
  for (const { broker, reasonCode, at: refusedAt } of account.revocation.brokers)
    write(`${broker} refused its account at ${refusedAt}, reason code ${reasonCode}`);
  for (const { broker, topic } of report.after) write(`still there: ${plain(topic)} on ${broker}`);
  for (const { topic, owner } of report.kept) write(`kept: ${plain(topic)}, which ${owner} owns as well`);
  for (const line of report.notDone) write(`not done: ${plain(line)}`);
  if (signature !== null) write(`signed with the key ${signature.keyId}`);
  if (state === 'incomplete') write('it goes on by itself; the same command shows how far it is');
}

const VERDICTS: Readonly<Record<SignatureVerdict, string>> = {
  valid: 'the signature is valid: the report is what was signed',
  unsigned: 'the report is not signed: it is from before it was verified, or from an earlier version',
  'other-key': 'the report was signed with another key than this one',
  forged: 'the signature does not fit: the report is not what was signed',
};

/**
 * Whether a report that was downloaded is what was signed; without a key file the API is asked for the key.
 * @throws UsageError
 */
async function verifyReport(
  file: string,
  options: OutputOptions & { readonly key?: string },
  target: () => ApiTarget,
): Promise<boolean> {
  const text = sourceText('the report', file);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${file} is no JSON; download the report with GET /api/v1/devices/ID/decommission`, {
      cause: error,
    });
  }
  const parsed = decommissionReportSchema.safeParse(content);
  if (!parsed.success)
    throw new UsageError(`${file} is no report of a decommissioning of this version; download it anew`);
  const key = options.key === undefined ? await keyOf(target()) : readFileSync(options.key, 'utf8');
  let verdict: SignatureVerdict;
  try {
    // As it stands in the file: what a schema does not know would be left out, and be missed by the signature.
    verdict = checkSignature(content as DecommissionReport, key);
  } catch (error) {
    if (error instanceof SigningKeyError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
  const { device, state, verifiedAt, doneAt, signature } = parsed.data;
  if (options.json) write(JSON.stringify({ device, state, verdict, keyId: signature?.keyId ?? null }));
  else write(`${device}: ${state}${verifiedAt === null ? '' : ` at ${doneAt ?? verifiedAt}`}\n${VERDICTS[verdict]}`);
  return verdict === 'valid';
}

async function keyOf(target: ApiTarget): Promise<string> {
  return (await callApi(target, 'GET', '/signing-key', signingKeySchema)).publicKey;
}

/** Adds `muster decommission` to the command line. */
export function addDecommissionCommand(muster: Command): void {
  const decommission = withApi(
    muster
      .command('decommission')
      .description('take a device out of service for good, and prove that no retained message of it is left')
      .argument('<device>', 'its id', deviceArgument)
      .option('--dry-run', 'only show what would be cleared')
      .option('--wait', 'until it is done: verified again after every broker has written it to disk'),
  ).action(async (id: string, options: DecommissionOptions, command: Command) => {
    const run = options.dryRun === true ? previewDecommission : decommissionDevice;
    if (!(await run(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });
  withApi(
    decommission
      .command('verify')
      .description('check the signature of a report that was downloaded')
      .argument('<file>', 'the report, as JSON; - is standard input')
      .option(
        '--key <file>',
        'the public key, as PEM (publicKey of GET /api/v1/signing-key); the API is asked otherwise',
      ),
  ).action(async (file: string, options: OutputOptions & { key?: string }, command: Command) => {
    if (!(await verifyReport(file, options, () => apiTarget(command)))) process.exitCode = EXIT_FAILURE;
  });
}

/** Adds what happens to devices beyond their service to `muster device …`. */
export function addLifeCommands(devices: Command): void {
  const change = (name: 'archive' | 'restore', description: string): void => {
    withApi(devices.command(name).description(description).argument('<device>', 'its id', deviceArgument)).action(
      async (id: string, options: OutputOptions, command: Command) => {
        const device = await callApi(apiTarget(command), 'POST', pathOf(id, `/${name}`), deviceSchema);
        write(options.json ? JSON.stringify(device) : `${device.id}: ${device.state}`);
      },
    );
  };
  change('archive', 'put a device away: it is in no list, count or alert until it is restored');
  change('restore', 'bring an archived device back, or undo a decommissioning; it has no account after that');
  withApi(
    devices
      .command('purge')
      .description('delete the history of a decommissioned device for good; tombstone and report stay')
      .argument('<device>', 'its id', deviceArgument)
      .requiredOption('--yes', 'that this is wanted: there is no way back'),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    const path = pathOf(id, '?purgeHistory=true');
    const result = await callApi(apiTarget(command), 'DELETE', path, purgeResultSchema);
    if (options.json) write(JSON.stringify(result));
    else {
      write(`${result.device}: its history is deleted`);
      write(plain(result.influxdb));
      for (const [name, count] of Object.entries(result.rows)) write(`${name}: ${count} rows`);
    }
  });
}
