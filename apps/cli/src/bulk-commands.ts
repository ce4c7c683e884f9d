import { createInterface } from 'node:readline/promises';
import {
  BULK_ACTIONS,
  bulkResultSchema,
  MAX_BULK_DEVICES,
  tagSchema,
  type BulkRequest,
  type BulkResult,
} from '@muster/contract';
import { Argument, InvalidArgumentError, type Command } from 'commander';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument, wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, say, table, waitingFor, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

const DONE: Readonly<Record<BulkRequest['action'], string>> = {
  tag: 'tagged',
  untag: 'untagged',
  group: 'added',
  ungroup: 'removed',
  decommission: 'decommissioned',
};

/** What is done with which devices; as the API takes it. */
export type BulkBody = Readonly<Record<string, unknown>> & { readonly action: BulkRequest['action'] };

/** Ids of devices, each checked, behind each other on the command line. */
export function deviceArguments(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), deviceArgument(text)];
}

/** @throws InvalidArgumentError */
function tagArguments(text: string, before: readonly string[] = []): readonly string[] {
  const tags = text.split(',').map((tag) => tagSchema.safeParse(tag));
  const fault = tags.find(({ success }) => !success)?.error;
  if (fault !== undefined) throw new InvalidArgumentError(`${fault.issues[0]?.message ?? 'not a tag'}.`);
  return [...before, ...tags.flatMap(({ data }) => data ?? [])];
}

/** Asks the API for a bulk action. */
async function askBulk(target: ApiTarget, body: BulkBody): Promise<BulkResult> {
  return callApi(target, 'POST', '/devices/bulk', bulkResultSchema, body);
}

/** Tells what a bulk action did, or would do; a device that was so already is no failure. */
function tellBulk({ action, preview, selected, changed, devices, skipped, skips }: BulkResult): void {
  write(
    `${changed} of ${selected} selected devices ${preview ? 'would be' : changed === 1 ? 'is' : 'are'} ${DONE[action]}`,
  );
  if (preview && devices.length > 0)
    write(`${devices.join(' ')}${devices.length < changed ? ` and ${changed - devices.length} more` : ''}`);
  if (skips.length > 0)
    write(
      `\n${table(
        ['LEFT AS IT IS', 'WHY'],
        skips.map(({ device, reason }) => [device, reason]),
      )}`,
    );
  if (skips.length < skipped) say(`(and ${skipped - skips.length} more that are left as they are)`);
  if (action === 'decommission' && !preview && changed > 0)
    say('each goes on by itself until it is verified; "muster decommission DEVICE" shows how far it is');
}

/** Whether something was not done that should have been. */
function failedIn({ skips }: BulkResult): boolean {
  return skips.some(({ code }) => code !== 'unchanged');
}

/** Changes devices that are named one by one, and tells. */
export async function bulkOf(target: ApiTarget, bodies: readonly BulkBody[], { json }: OutputOptions): Promise<void> {
  const results: BulkResult[] = [];
  for (const body of bodies) {
    const result = await askBulk(target, { ...body, limit: MAX_BULK_DEVICES });
    results.push(result);
    if (!json) tellBulk(result);
  }
  if (json) write(JSON.stringify(results));
  if (results.some(failedIn)) process.exitCode = EXIT_FAILURE;
}

/** Whether somebody at the terminal says yes. */
async function isConfirmed(question: string): Promise<boolean> {
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await reader.question(`${question} [y/N] `)).trim());
  } finally {
    reader.close();
  }
}

interface BulkOptions extends OutputOptions {
  readonly search: string;
  readonly tags?: readonly string[];
  readonly group?: string;
  readonly limit: number;
  readonly dryRun: boolean;
  readonly yes: boolean;
}

/** @throws UsageError where an option is missing that the action needs */
function bodyOf(action: BulkRequest['action'], { search, tags, group, limit }: BulkOptions): BulkBody {
  const common = { action, select: { q: search }, limit };
  if (action === 'tag' || action === 'untag') {
    if (tags === undefined) throw new UsageError(`${action} needs --tags, such as --tags roof,site:7`);
    return { ...common, tags };
  }
  if (action === 'decommission') return common;
  if (group === undefined) throw new UsageError(`${action} needs --group, the name of a group`);
  return { ...common, group };
}

/** Shows what would be changed, and changes it when somebody says yes. */
async function runBulk(target: ApiTarget, action: BulkRequest['action'], options: BulkOptions): Promise<void> {
  const body = bodyOf(action, options);
  const preview = await askBulk(target, { ...body, preview: true });
  if (options.dryRun && options.json) write(JSON.stringify(preview));
  else if (!options.json) tellBulk(preview);
  if (options.dryRun) return;
  if (preview.changed === 0) {
    if (options.json) write(JSON.stringify({ ...preview, preview: false }));
    return;
  }
  if (!options.yes) {
    if (!process.stdin.isTTY)
      throw new UsageError(`nothing was changed: nobody can be asked here; --yes does it, --dry-run only shows it`);
    if (!(await isConfirmed(`${action} ${preview.changed} devices?`))) {
      say('nothing was changed');
      process.exitCode = EXIT_FAILURE;
      return;
    }
  }
  // What is selected may have changed since it was shown: then nothing is done.
  const result = await waitingFor(
    `${action}: ${preview.changed} devices`,
    askBulk(target, { ...body, expect: preview.selected }),
  );
  if (options.json) write(JSON.stringify(result));
  else tellBulk(result);
  if (failedIn(result)) process.exitCode = EXIT_FAILURE;
}

/** Adds `muster device tag` and `muster device bulk` to `muster device`. */
export function addBulkCommands(devices: Command): void {
  withApi(
    devices
      .command('tag')
      .description('give devices tags, and take tags away from them')
      .argument('<device...>', 'their ids', deviceArguments),
  )
    .option('--add <tags>', 'tags to give, with commas between them', tagArguments)
    .option('--remove <tags>', 'tags to take away, with commas between them', tagArguments)
    .action(
      async (
        ids: readonly string[],
        options: OutputOptions & { readonly add?: readonly string[]; readonly remove?: readonly string[] },
        command: Command,
      ) => {
        const { add, remove } = options;
        if (add === undefined && remove === undefined) throw new UsageError('give --add, --remove, or both');
        const bodies: readonly BulkBody[] = [
          ...(remove === undefined ? [] : [{ action: 'untag' as const, tags: remove, select: { ids } }]),
          ...(add === undefined ? [] : [{ action: 'tag' as const, tags: add, select: { ids } }]),
        ];
        await bulkOf(apiTarget(command), bodies, options);
      },
    );
  withApi(
    devices
      .command('bulk')
      .description('do something with all devices that a search finds; shows first which, and asks')
      .addArgument(new Argument('<action>', 'what to do with them').choices(BULK_ACTIONS)),
  )
    .requiredOption('--search <text>', 'which devices, such as "presence:lost tag:roof"')
    .option('--tags <tags>', 'for tag and untag, with commas between them', tagArguments)
    .option('--group <name>', 'for group and ungroup')
    .option(
      '--limit <number>',
      'do nothing where more devices than this are found',
      wholeNumber(1, MAX_BULK_DEVICES),
      100,
    )
    .option('--dry-run', 'only show what would be changed', false)
    .option('--yes', 'do not ask', false)
    .action(async (action: BulkRequest['action'], options: BulkOptions, command: Command) => {
      await runBulk(apiTarget(command), action, options);
    });
}
