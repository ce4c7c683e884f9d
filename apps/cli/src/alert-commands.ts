import {
  alertDetailSchema,
  alertDurationMs,
  alertPageSchema,
  alertRuleChangesSchema,
  alertRuleListSchema,
  alertRuleViewSchema,
  alertSeveritySchema,
  alertStateSchema,
  deliveryPageSchema,
  deliverySchema,
  maintenanceListSchema,
  maintenanceWindowSchema,
  receiverListSchema,
  silenceListSchema,
  silenceSchema,
  type Alert,
  type AlertPage,
  type Matchers,
} from '@muster/contract';
import { Option, type Command } from 'commander';
import { stringify } from 'yaml';
import { z } from 'zod';
import { callApi, sourceText, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { EXIT_FAILURE, plain, say, table, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

/** JSON, or lines for people. */
function print(value: unknown, { json }: OutputOptions, lines: () => string): void {
  write(json ? JSON.stringify(value) : lines());
}

/** A list as JSON or as a table; that there is nothing in it is said beside it. */
function printList<Row>(
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

/** What became of something as JSON on standard output, or as a sentence beside it. */
function confirm(value: unknown, { json }: OutputOptions, sentence: string): void {
  if (json) write(JSON.stringify(value));
  else say(sentence);
}

/**
 * `NAME=TEXT` added to the matchers before.
 * @throws UsageError
 */
export function addMatcher(text: string, before: Matchers | undefined): Matchers {
  const [, name, value] = /^([a-zA-Z_][a-zA-Z0-9_]*)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new UsageError(`expected LABEL=TEXT, such as device=cellar-*; found ${JSON.stringify(text)}`);
  return { ...before, [name]: value };
}

/**
 * The end of a silence: an instant, or so long from now.
 * @throws UsageError
 */
export function endOf(options: { readonly for?: string; readonly until?: string }, nowMs: number): string {
  if ((options.for === undefined) === (options.until === undefined))
    throw new UsageError('expected one of --for DURATION and --until TIME');
  if (options.until !== undefined) return options.until;
  const durationMs = alertDurationMs(options.for ?? '');
  if (Number.isNaN(durationMs))
    throw new UsageError(`--for expects a duration such as 30m, 2h or 7d; found ${JSON.stringify(options.for)}`);
  return new Date(nowMs + durationMs).toISOString();
}

function stateOf({ state, acknowledgedBy, silencedBy }: Alert): string {
  const by = [
    ...(acknowledgedBy === null ? [] : [`acknowledged by ${acknowledgedBy}`]),
    ...(silencedBy === null ? [] : [`silenced by ${silencedBy}`]),
  ];
  return [state, ...by].join(', ');
}

function matchersText(matchers: Matchers): string {
  return Object.entries(matchers)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

async function listAlerts(
  target: ApiTarget,
  filter: { readonly state?: string; readonly severity?: string; readonly rule?: string },
  output: OutputOptions,
): Promise<void> {
  const alerts: Alert[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const query = new URLSearchParams({ limit: '1000', ...filter, ...(cursor === undefined ? {} : { cursor }) });
    const page: AlertPage = await callApi(target, 'GET', `/alerts?${query.toString()}`, alertPageSchema);
    alerts.push(...page.items);
    cursor = page.next;
  }
  printList(alerts, output, 'No alerts.', ['ID', 'SEVERITY', 'STATE', 'SINCE', 'RULE', 'SUMMARY'], (alert) => [
    ...[alert.id, alert.severity, stateOf(alert), alert.since, alert.rule, alert.summary],
  ]);
}

function addAlerts(alert: Command): void {
  withApi(alert.command('ls').description('list alerts; open ones, unless a state is given'))
    .addOption(new Option('--state <state>', 'only those in this state').choices(alertStateSchema.options))
    .addOption(new Option('--severity <severity>', 'only those').choices(alertSeveritySchema.options))
    .option('--rule <name>', 'only those of this rule')
    .action(
      async (
        { json, state, severity, rule }: OutputOptions & { state?: string; severity?: string; rule?: string },
        command: Command,
      ) => {
        const filter = {
          ...(state === undefined ? {} : { state }),
          ...(severity === undefined ? {} : { severity }),
          ...(rule === undefined ? {} : { rule }),
        };
        await listAlerts(apiTarget(command), filter, { json });
      },
    );
  withApi(alert.command('show').description('show one alert with its history').argument('<id>', 'its id')).action(
    async (id: string, options: OutputOptions, command: Command) => {
      const found = await callApi(apiTarget(command), 'GET', `/alerts/${encodeURIComponent(id)}`, alertDetailSchema);
      print(found, options, () =>
        [
          `${found.rule}  ${found.severity}  ${stateOf(found)}`,
          plain(found.summary),
          `labels   ${plain(matchersText(found.labels))}`,
          ...(found.runbook === null ? [] : [`runbook  ${plain(found.runbook)}`]),
          '',
          table(
            ['AT', 'WHAT', 'WHO', 'TEXT'],
            found.history.map(({ at, kind, actor, text }) => [at, kind, actor ?? '-', text ?? '']),
          ),
        ].join('\n'),
      );
    },
  );
  withApi(alert.command('ack').description('say that you look after an alert').argument('<id>', 'its id'))
    .option('--comment <text>', 'what there is to say')
    .action(async (id: string, options: OutputOptions & { comment?: string }, command: Command) => {
      const body = options.comment === undefined ? {} : { comment: options.comment };
      const path = `/alerts/${encodeURIComponent(id)}/acknowledge`;
      const found = await callApi(apiTarget(command), 'POST', path, alertDetailSchema, body);
      confirm(found, options, `${found.id} is ${stateOf(found)}`);
    });
  withApi(
    alert
      .command('comment')
      .description('say something about an alert')
      .argument('<id>', 'its id')
      .argument('<text>', 'what there is to say'),
  ).action(async (id: string, text: string, options: OutputOptions, command: Command) => {
    const path = `/alerts/${encodeURIComponent(id)}/comments`;
    const found = await callApi(apiTarget(command), 'POST', path, alertDetailSchema, { text });
    confirm(found, options, `${found.id} has ${found.comments.length} comments`);
  });
}

function addReceivers(alert: Command): void {
  withApi(alert.command('receivers').description('who is told of alerts')).action(
    async (options: OutputOptions, command: Command) => {
      const { items } = await callApi(apiTarget(command), 'GET', '/receivers', receiverListSchema);
      printList(
        items,
        options,
        'Nobody is told: name a file of receivers in MUSTER_ALERTING_RECEIVERS (docs/alerting.md).',
        ['NAME', 'TYPE', 'TARGET', 'WAITING', 'LAST DELIVERED', 'LAST FAILURE'],
        ({ name, type, target, waiting, lastDeliveredAt, lastFailure }) => [
          ...[name, type, target, String(waiting), lastDeliveredAt ?? 'never'],
          lastFailure === null ? '-' : `${lastFailure.at} ${lastFailure.detail}`,
        ],
      );
    },
  );
  withApi(alert.command('test').description('tell a receiver a test').argument('<receiver>', 'its name')).action(
    async (name: string, options: OutputOptions, command: Command) => {
      const path = `/receivers/${encodeURIComponent(name)}/test`;
      const attempt = await callApi(apiTarget(command), 'POST', path, deliverySchema);
      print(attempt, options, () => `${attempt.outcome} in ${attempt.durationMs} ms: ${plain(attempt.detail)}`);
      if (attempt.outcome !== 'delivered') process.exitCode = EXIT_FAILURE;
    },
  );
  withApi(alert.command('deliveries').description('the newest attempts to tell receivers'))
    .option('--receiver <name>', 'only those to this one')
    .addOption(new Option('--outcome <outcome>', 'only those').choices(['delivered', 'failed', 'given-up']))
    .action(async (options: OutputOptions & { receiver?: string; outcome?: string }, command: Command) => {
      const query = new URLSearchParams({
        ...(options.receiver === undefined ? {} : { receiver: options.receiver }),
        ...(options.outcome === undefined ? {} : { outcome: options.outcome }),
      });
      const { items } = await callApi(apiTarget(command), 'GET', `/deliveries?${query.toString()}`, deliveryPageSchema);
      printList(
        items,
        options,
        'Nobody was told anything.',
        ['AT', 'RECEIVER', 'OUTCOME', 'ATTEMPT', 'ANSWER', 'SUMMARY'],
        (item) => [item.at, item.receiver, item.outcome, String(item.attempt), item.detail, item.summary],
      );
    });
}

function addRules(alert: Command): void {
  const rules = alert.command('rule').description('alert rules');
  withApi(rules.command('ls').description('list alert rules')).action(
    async (options: OutputOptions, command: Command) => {
      const { items } = await callApi(apiTarget(command), 'GET', '/alert-rules', alertRuleListSchema);
      printList(
        items,
        options,
        'No alert rules.',
        ['RULE', 'KIND', 'SEVERITY', 'VERSION', 'BY', 'FIRING', 'PENDING'],
        ({ name, definition: { enabled, kind, severity }, version, author, firing, pending }) => [
          ...[name, enabled ? kind : `${kind} (not enabled)`, severity, String(version), author],
          ...[String(firing), String(pending)],
        ],
      );
    },
  );
  withApi(rules.command('show').description('show one as YAML').argument('<rule>', 'its name')).action(
    async (name: string, options: OutputOptions, command: Command) => {
      const path = `/alert-rules/${encodeURIComponent(name)}`;
      const rule = await callApi(apiTarget(command), 'GET', path, alertRuleViewSchema);
      print(rule, options, () => stringify({ rules: [rule.definition] }).trimEnd());
    },
  );
  withApi(rules.command('apply').description('put the rules of a file in force; others stay'))
    .requiredOption('-f, --file <path>', 'YAML; - is standard input')
    .option('--dry-run', 'say what would change, and change nothing', false)
    .action(async (options: OutputOptions & { file: string; dryRun: boolean }, command: Command) => {
      const { file, dryRun } = options;
      const body = { yaml: sourceText('-f', file), dryRun };
      const target = apiTarget(command);
      const changes = await callApi(target, 'POST', '/alert-rules/apply', alertRuleChangesSchema, body, file);
      print(changes, options, () =>
        table(
          ['RULE', options.dryRun ? 'WOULD BE' : 'IS', 'VERSION', 'HOLDS NOW FOR'],
          changes.items.map(({ name, change, version, breaching }) => [
            name,
            change,
            String(version),
            breaching === null ? '-' : String(breaching),
          ]),
        ),
      );
    });
  withApi(rules.command('rm').description('delete a rule; its alerts end').argument('<rule>', 'its name')).action(
    async (name: string, options: OutputOptions, command: Command) => {
      await callApi(apiTarget(command), 'DELETE', `/alert-rules/${encodeURIComponent(name)}`, z.undefined());
      confirm({ deleted: name }, options, `${name} is deleted`);
    },
  );
}

function addSilences(muster: Command): void {
  const silences = muster.command('silence').description('alerts that nobody is told of for a time');
  withApi(silences.command('ls').description('list silences')).action(
    async (options: OutputOptions, command: Command) => {
      const { items } = await callApi(apiTarget(command), 'GET', '/silences', silenceListSchema);
      printList(
        items,
        options,
        'No silences.',
        ['ID', 'ALERTS WITH', 'FROM', 'UNTIL', 'BY', 'WHY'],
        ({ id, matchers, from, until, who, why }) => [id, matchersText(matchers), from, until, who, why],
      );
    },
  );
  withApi(silences.command('create').description('tell nobody of alerts with these labels'))
    .requiredOption('--match <label=text>', 'a label that they have; * is any text; repeat it for more', addMatcher)
    .option('--for <duration>', 'for so long: 30m, 2h, 7d')
    .option('--until <time>', 'until then: 2027-01-31T22:00:00Z')
    .requiredOption('--why <text>', 'why')
    .action(
      async (
        options: OutputOptions & { match: Matchers; for?: string; until?: string; why: string },
        command: Command,
      ) => {
        const body = { matchers: options.match, until: endOf(options, Date.now()), why: options.why };
        const silence = await callApi(apiTarget(command), 'POST', '/silences', silenceSchema, body);
        print(silence, options, () => `${silence.id} until ${silence.until}`);
      },
    );
  withApi(silences.command('rm').description('end a silence now').argument('<id>', 'its id')).action(
    async (id: string, options: OutputOptions, command: Command) => {
      const path = `/silences/${encodeURIComponent(id)}`;
      const silence = await callApi(apiTarget(command), 'DELETE', path, silenceSchema);
      confirm(silence, options, `${silence.id} has ended`);
    },
  );
}

interface WindowOptions extends OutputOptions {
  readonly match: Matchers;
  readonly from?: string;
  readonly until?: string;
  readonly cron?: string;
  readonly duration?: string;
  readonly timeZone: string;
  readonly why: string;
}

function scheduleOf({ from, until, cron, duration, timeZone }: WindowOptions): object {
  if (cron !== undefined && duration !== undefined && from === undefined && until === undefined)
    return { cron, duration, timeZone };
  if (from !== undefined && until !== undefined && cron === undefined && duration === undefined) return { from, until };
  throw new UsageError('expected --from TIME and --until TIME, or --cron EXPRESSION and --duration DURATION');
}

function addWindows(muster: Command): void {
  const windows = muster.command('maintenance').description('times in which nobody is told of alerts');
  withApi(windows.command('ls').description('list maintenance windows')).action(
    async (options: OutputOptions, command: Command) => {
      const { items } = await callApi(apiTarget(command), 'GET', '/maintenance-windows', maintenanceListSchema);
      printList(
        items,
        options,
        'No maintenance windows.',
        ['NAME', 'ALERTS WITH', 'OPEN', 'NEXT', 'BY', 'WHY'],
        ({ name, matchers, active, next, who, why }) => [
          ...[name, matchersText(matchers), active ? 'yes' : 'no', next ?? 'never', who, why],
        ],
      );
    },
  );
  withApi(
    windows
      .command('create')
      .description('tell nobody of alerts with these labels while a window is open')
      .argument('<name>', 'its name'),
  )
    .requiredOption('--match <label=text>', 'a label that they have; * is any text; repeat it for more', addMatcher)
    .option('--from <time>', 'once, from then: 2027-01-31T22:00:00Z')
    .option('--until <time>', 'until then')
    .option('--cron <expression>', 'again and again: minute, hour, day of month, month, day of week')
    .option('--duration <duration>', 'each time for so long: 30m, 4h')
    .option('--time-zone <name>', 'in which the times of --cron are meant', 'UTC')
    .requiredOption('--why <text>', 'why')
    .action(async (name: string, options: WindowOptions, command: Command) => {
      const body = { name, matchers: options.match, schedule: scheduleOf(options), why: options.why };
      const window = await callApi(apiTarget(command), 'POST', '/maintenance-windows', maintenanceWindowSchema, body);
      confirm(window, options, `${window.name} ${window.active ? 'is open' : `opens ${window.next ?? 'never'}`}`);
    });
  withApi(windows.command('rm').description('delete a maintenance window').argument('<name>', 'its name')).action(
    async (name: string, options: OutputOptions, command: Command) => {
      await callApi(apiTarget(command), 'DELETE', `/maintenance-windows/${encodeURIComponent(name)}`, z.undefined());
      confirm({ deleted: name }, options, `${name} is deleted`);
    },
  );
}

/** `muster alert`, `muster silence` and `muster maintenance`. */
export function addAlertCommands(muster: Command): void {
  const alert = muster.command('alert').description('alerts, their rules and who is told');
  addAlerts(alert);
  addRules(alert);
  addReceivers(alert);
  addSilences(muster);
  addWindows(muster);
}
