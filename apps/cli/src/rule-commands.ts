import {
  modeSchema,
  ruleAppliedSchema,
  ruleListSchema,
  ruleRunListSchema,
  ruleVersionQuerySchema,
  ruleViewSchema,
  timerListSchema,
  type RuleApplied,
} from '@muster/contract';
import type { Command } from 'commander';
import { z } from 'zod';
import { stringify } from 'yaml';
import { callApi, sourceText, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { plain, say, table, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

/** @throws UsageError */
function versionNumber(text: string): number {
  const parsed = ruleVersionQuerySchema.shape.version.safeParse(text);
  if (!parsed.success || parsed.data === undefined)
    throw new UsageError(`--at-version expects a whole number from 1; found ${JSON.stringify(text)}`);
  return parsed.data;
}

async function applyRules(
  target: ApiTarget,
  files: readonly string[],
  options: OutputOptions & { readonly dryRun: boolean },
): Promise<void> {
  const sources = files.map((file) => ({ file, yaml: sourceText('-f', file) }));
  const rules: RuleApplied['rules'] = [];
  try {
    for (const { file, yaml } of sources) {
      const body = { yaml, dryRun: options.dryRun };
      const applied = await callApi(target, 'POST', '/rules', ruleAppliedSchema, body, file);
      rules.push(...applied.rules);
    }
  } finally {
    // What was saved is told, also when a later file was refused.
    if (options.json) write(JSON.stringify({ dryRun: options.dryRun, rules }));
    else
      for (const { id, version, change } of rules)
        write(`${id}  version ${version}  ${options.dryRun ? 'would be ' : ''}${change}`);
  }
}

async function listRules(target: ApiTarget, output: OutputOptions): Promise<void> {
  const { items } = await callApi(target, 'GET', '/rules', ruleListSchema);
  if (output.json) write(JSON.stringify(items));
  else if (items.length === 0)
    say('No rules. "muster rule apply -f FILE" saves some; docs/automation.md has examples.');
  else
    write(
      table(
        ['RULE', 'STATE', 'VERSION', 'LAST RUN', 'NAME'],
        items.map((rule) => [
          rule.id,
          rule.stopped === null ? rule.state : `stopped: ${rule.stopped}`,
          String(rule.version),
          rule.lastRunAt ?? 'never',
          rule.name ?? '',
        ]),
      ),
    );
}

async function listRuns(target: ApiTarget, rule: string | undefined, output: OutputOptions): Promise<void> {
  const query = rule === undefined ? '' : `?rule=${encodeURIComponent(rule)}`;
  const { items } = await callApi(target, 'GET', `/automation-runs${query}`, ruleRunListSchema);
  if (output.json) write(JSON.stringify(items));
  else if (items.length === 0) say('Nothing yet.');
  else
    write(
      table(
        ['AT', 'RULE', 'FOR', 'OUTCOME', 'WHAT'],
        items.map(({ at, rule: id, subject, outcome, detail }) => [at, id, subject || '-', outcome, detail ?? '']),
      ),
    );
}

async function listTimers(target: ApiTarget, output: OutputOptions): Promise<void> {
  const { items } = await callApi(target, 'GET', '/timers', timerListSchema);
  if (output.json) write(JSON.stringify(items));
  else if (items.length === 0) say('No rule waits for anything.');
  else
    write(
      table(
        ['DUE', 'RULE', 'FOR', 'PART'],
        items.map(({ dueAt, rule, subject, part }) => [dueAt, rule, subject || '-', part]),
      ),
    );
}

/** Adds `muster rule …` and `muster mode …`. */
export function addRuleCommands(muster: Command): void {
  const rules = muster.command('rule').description('rules: what happens when something happens');
  withApi(rules.command('apply').description('save rules; one that has changed becomes a new version'))
    .requiredOption('-f, --file <path...>', 'YAML files; - is standard input')
    .option('--dry-run', 'only check, and say what would change', false)
    .action(async (options: { json: boolean; file: string[]; dryRun: boolean }, command: Command) => {
      await applyRules(apiTarget(command), options.file, options);
    });
  withApi(rules.command('ls').description('list rules')).action(async (options: OutputOptions, command: Command) => {
    await listRules(apiTarget(command), options);
  });
  withApi(rules.command('show').description('show a rule as it was written').argument('<rule>', 'its id'))
    .option('--at-version <number>', 'as it was in an older version', versionNumber)
    .action(async (id: string, options: { json: boolean; atVersion?: number }, command: Command) => {
      const query = options.atVersion === undefined ? '' : `?version=${options.atVersion}`;
      const path = `/rules/${encodeURIComponent(id)}${query}`;
      const rule = await callApi(apiTarget(command), 'GET', path, ruleViewSchema);
      write(options.json ? JSON.stringify(rule) : plainLines(stringify(rule.definition)).trimEnd());
    });
  for (const [verb, enabled, does] of [
    ['enable', true, 'let a rule run, also one that was stopped'],
    ['disable', false, 'keep a rule from running'],
  ] as const) {
    withApi(rules.command(verb).description(does).argument('<rule>', 'its id')).action(
      async (id: string, options: OutputOptions, command: Command) => {
        const path = `/rules/${encodeURIComponent(id)}`;
        const rule = await callApi(apiTarget(command), 'PATCH', path, ruleViewSchema, { enabled });
        write(options.json ? JSON.stringify(rule) : `${rule.id} is ${rule.state}`);
      },
    );
  }
  withApi(rules.command('rm').description('remove a rule and what it waits for').argument('<rule>', 'its id')).action(
    async (id: string, options: OutputOptions, command: Command) => {
      await callApi(apiTarget(command), 'DELETE', `/rules/${encodeURIComponent(id)}`, z.undefined());
      write(options.json ? JSON.stringify({ removed: id }) : `${id} is removed`);
    },
  );
  withApi(rules.command('runs').description('what rules have done').argument('[rule]', 'only this one')).action(
    async (rule: string | undefined, options: OutputOptions, command: Command) => {
      await listRuns(apiTarget(command), rule, options);
    },
  );
  withApi(rules.command('timers').description('what rules wait for')).action(
    async (options: OutputOptions, command: Command) => {
      await listTimers(apiTarget(command), options);
    },
  );

  const modes = muster.command('mode').description('the mode that rules ask for: day, evening, away, …');
  withApi(modes.command('show').description('show it')).action(async (options: OutputOptions, command: Command) => {
    const mode = await callApi(apiTarget(command), 'GET', '/mode', modeSchema);
    write(
      options.json ? JSON.stringify(mode) : `${mode.mode}${mode.setBy === null ? '' : `  set by ${plain(mode.setBy)}`}`,
    );
  });
  withApi(modes.command('set').description('set it').argument('<mode>', 'a lower-case name')).action(
    async (name: string, options: OutputOptions, command: Command) => {
      const mode = await callApi(apiTarget(command), 'PUT', '/mode', modeSchema, { mode: name });
      write(options.json ? JSON.stringify(mode) : mode.mode);
    },
  );
}

function plainLines(text: string): string {
  return text.split('\n').map(plain).join('\n');
}
