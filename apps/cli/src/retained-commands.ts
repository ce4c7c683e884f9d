import { createInterface } from 'node:readline/promises';
import {
  driftSchema,
  ghostPageSchema,
  orphanPageSchema,
  retainedPageSchema,
  sweepReportSchema,
  topicFilterSchema,
  type BrokerDrift,
  type Ghost,
  type Orphan,
  type RetainedTopic,
  type SweepReport,
} from '@muster/contract';
import { InvalidArgumentError, type Command } from 'commander';
import { z } from 'zod';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { deviceArgument, wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, plain, say, table, waitingFor, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

interface BrokerOption {
  readonly broker?: string;
}

interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** Every item, page after page. */
async function all<Item>(
  target: ApiTarget,
  path: string,
  filter: Readonly<Record<string, string | undefined>>,
  schema: z.ZodType<Page<Item>>,
): Promise<readonly Item[]> {
  const items: Item[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const query = new URLSearchParams({ limit: '1000', ...(cursor === undefined ? {} : { cursor }) });
    for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, value);
    const page: Page<Item> = await callApi(target, 'GET', `${path}?${query.toString()}`, schema);
    items.push(...page.items);
    cursor = page.next;
  }
  return items;
}

/** A list as JSON or as a table; that there is nothing in it is said beside it. */
function print<Row>(
  rows: readonly Row[],
  { json }: OutputOptions,
  nothing: string,
  headings: readonly string[],
  cells: (row: Row) => readonly string[],
): void {
  if (json) write(JSON.stringify(rows));
  else if (rows.length === 0) say(nothing);
  else write(table(headings, rows.map(cells)));
}

function filterArgument(text: string): string {
  const parsed = topicFilterSchema.safeParse(text);
  if (!parsed.success) throw new InvalidArgumentError(z.prettifyError(parsed.error));
  return parsed.data;
}

function addFilter(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), filterArgument(text)];
}

function expiry({ expiresAt, expired }: RetainedTopic): string {
  if (expiresAt === null) return '-';
  return expired ? `expired ${expiresAt}` : expiresAt;
}

function addList(retained: Command): void {
  withApi(retained.command('list').description('list what is retained, and whose it is'))
    .option('--broker <name>', 'only on this one')
    .option('--device <id>', 'only of this one', deviceArgument)
    .option('--topic <filter>', 'only what an MQTT topic filter matches', filterArgument)
    .action(
      async (
        { json, ...filter }: OutputOptions & BrokerOption & { device?: string; topic?: string },
        command: Command,
      ) => {
        const { broker, device, topic } = filter;
        const rows = await all(apiTarget(command), '/retained', { broker, device, topic }, retainedPageSchema);
        print(
          ...([rows, { json }, 'nothing is retained there'] as const),
          ['BROKER', 'TOPIC', 'DEVICE', 'BYTES', 'QOS', 'LAST SEEN', 'EXPIRES'],
          (row) => [
            ...[row.broker, row.topic, row.device ?? '-', String(row.bytes), String(row.qos ?? '-')],
            ...[row.lastSeenAt, expiry(row)],
          ],
        );
      },
    );
}

const orphanHeadings = ['BROKER', 'TOPIC', 'DEVICE', 'WHY', 'BYTES', 'FIRST SEEN'];

function orphanCells({ broker, topic, device, reason, bytes, firstSeenAt }: Orphan): readonly string[] {
  return [broker, topic, device ?? '-', reason, String(bytes), firstSeenAt];
}

function addOrphans(retained: Command): void {
  withApi(retained.command('orphans').description('list retained topics that no device in service has'))
    .option('--broker <name>', 'only on this one')
    .action(async ({ json, broker }: OutputOptions & BrokerOption, command: Command) => {
      const rows = await all(apiTarget(command), '/retained/orphans', { broker }, orphanPageSchema);
      print(
        rows,
        { json },
        'no orphans: every retained topic belongs to a device in service',
        orphanHeadings,
        orphanCells,
      );
    });
}

function driftCells({ broker, ledger, expired, counted, baseline, drift }: BrokerDrift): readonly string[] {
  const own = baseline === null ? '-' : String(baseline.system + baseline.muster);
  return [
    ...[broker, String(ledger), String(expired), String(counted?.retained ?? '-'), own, String(drift ?? 'not known')],
    counted?.at ?? '-',
  ];
}

function addDrift(retained: Command): void {
  withApi(retained.command('drift').description('compare the ledger with what each broker counts'))
    .option('--broker <name>', 'only this one')
    .action(async ({ json, broker }: OutputOptions & BrokerOption, command: Command) => {
      const { brokers } = await callApi(apiTarget(command), 'GET', '/retained/drift', driftSchema);
      const wanted = brokers.filter(({ broker: name }) => broker === undefined || name === broker);
      if (wanted.length === 0)
        throw new UsageError(`no broker ${broker}; there are ${brokers.map((one) => one.broker).join(', ')}`);
      print(
        ...([wanted, { json }, ''] as const),
        ['BROKER', 'LEDGER', 'EXPIRED', 'BROKER COUNTS', 'OF ITS OWN', 'DRIFT', 'TOLD AT'],
        driftCells,
      );
      if (json) return;
      for (const { broker: name, likely } of wanted) for (const line of likely) write(`${name}: ${line}`);
    });
}

function addGhosts(retained: Command): void {
  withApi(
    retained
      .command('ghosts')
      .description('list what appeared again under decommissioned devices, the newest first')
      .argument('[device]', 'only of this one', deviceArgument),
  ).action(async (device: string | undefined, { json }: OutputOptions, command: Command) => {
    const path = device === undefined ? '/ghosts' : `/devices/${encodeURIComponent(device)}/ghosts`;
    const rows: readonly Ghost[] = await all(apiTarget(command), path, {}, ghostPageSchema);
    print(
      ...([rows, { json }, 'no ghosts: decommissioned devices are silent'] as const),
      ['DEVICE', 'BROKER', 'TOPIC', 'TIMES', 'LAST SEEN', 'CLEARED', 'CAUSE'],
      (ghost) => [
        ...[ghost.device, ghost.broker, ghost.topic, String(ghost.times), ghost.lastSeenAt],
        ghost.clearedAt ?? 'not yet',
        ghost.cause,
      ],
    );
  });
}

interface SweepOptions extends OutputOptions, BrokerOption {
  readonly allow: readonly string[];
  readonly limit: number;
  readonly preview?: true;
  readonly yes?: true;
}

async function sweep(target: ApiTarget, { allow, broker, limit, json, preview, yes }: SweepOptions): Promise<void> {
  const request = { allow, limit, ...(broker === undefined ? {} : { broker }) };
  const ask = async (body: object): Promise<SweepReport> =>
    waitingFor(
      'sweeping: clearing, and looking again',
      callApi(target, 'POST', '/retained/sweep', sweepReportSchema, { ...request, ...body }),
    );
  const shown = await ask({ preview: true });
  const isOnlyShown = preview === true || shown.count === 0;
  if (json && (isOnlyShown || yes !== true)) write(JSON.stringify(shown));
  if (!json)
    print(
      ...([shown.items, { json }, 'nothing to clear: no orphan matches'] as const),
      ['BROKER', 'WOULD CLEAR', 'DEVICE', 'WHY', 'BYTES'],
      (one) => [one.broker, one.topic, one.device ?? '-', one.reason, String(one.bytes)],
    );
  if (isOnlyShown) return;
  if (yes !== true && !(await isAgreed(shown.count))) {
    say('nothing was cleared');
    return;
  }
  const report = await ask({ preview: false, expect: shown.count });
  if (json) write(JSON.stringify(report));
  const failed = report.items.filter(({ outcome }) => outcome === 'still-there' || outcome === 'not-verified');
  if (failed.length > 0) process.exitCode = EXIT_FAILURE;
  if (json) return;
  const count = (wanted: string): number => report.items.filter(({ outcome }) => outcome === wanted).length;
  write(`${count('cleared')} cleared and looked for again, ${count('gone-before')} gone before, ${count('kept')} kept`);
  for (const { broker: name, topic, outcome, detail } of report.items)
    if (detail !== null) write(`${outcome}: ${plain(topic)} on ${name}: ${plain(detail)}`);
}

/** @throws UsageError where nobody can be asked */
async function isAgreed(count: number): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new UsageError('nothing was cleared: there is no terminal to ask; --yes clears, --preview only shows');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`clear ${count} retained messages? (yes/no) `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

function addSweep(retained: Command): void {
  withApi(retained.command('sweep').description('clear orphans: shows them, asks, clears, and looks again'))
    .requiredOption('--allow <filter>', 'an MQTT topic filter that may be cleared; may be given again', addFilter)
    .option('--broker <name>', 'only on this one')
    .option('--limit <number>', 'clear nothing if there are more', wholeNumber(1, 10_000), 1_000)
    .option('--preview', 'only show what would be cleared')
    .option('--yes', 'do not ask')
    .action(async (options: SweepOptions, command: Command) => {
      await sweep(apiTarget(command), options);
    });
}

/** Adds `muster retained …` to the command line. */
export function addRetainedCommands(muster: Command): void {
  const retained = muster.command('retained').description('what brokers retain: whose it is, and what is nobody’s');
  addList(retained);
  addOrphans(retained);
  addSweep(retained);
  addDrift(retained);
  addGhosts(retained);
}
