import { ruleSchema, type Rule } from '@muster/contract';
import { YamlError, YamlSource, type YamlFault } from '@muster/service';
import { Cron } from 'croner';
import { ConditionError, parseCondition } from './conditions.ts';

/** A rule, and the same as it was written. */
export interface WrittenRule {
  readonly rule: Rule;
  readonly written: Readonly<Record<string, unknown>>;
}

const MAX_RULES = 1_000;

/**
 * Reads rules: a document with the key `rules`, or a single rule. Shape, conditions, schedules and wildcards are checked.
 * @throws YamlError with every fault and its place
 */
export function readRules(text: string): readonly WrittenRule[] {
  const source = new YamlSource(text);
  const { value } = source;
  const isList = typeof value === 'object' && value !== null && 'rules' in value;
  const written: unknown = isList ? value.rules : [value];
  const prefix = isList ? ['rules'] : [];
  if (!Array.isArray(written) || written.length === 0 || written.length > MAX_RULES)
    throw new YamlError([source.faultAt(prefix, `expected a list of 1 to ${MAX_RULES} rules`)]);
  const faults: YamlFault[] = [];
  const ids = new Set<string>();
  const rules = written.flatMap((one: unknown, index): readonly WrittenRule[] => {
    const path = isList ? [...prefix, index] : [];
    const parsed = ruleSchema.safeParse(one);
    if (!parsed.success) {
      faults.push(...source.faultsOf(parsed.error, path));
      return [];
    }
    const rule = parsed.data;
    if (ids.has(rule.id)) faults.push(source.faultAt([...path, 'id'], `the id ${rule.id} stands twice`));
    ids.add(rule.id);
    faults.push(
      ...faultsOf(rule).map((fault) => source.faultAt([...path, ...fault.path], fault.message, fault.offset)),
    );
    return [{ rule, written: one as Record<string, unknown> }];
  });
  YamlSource.refuse(faults);
  return rules;
}

/** A rule on record, which was checked when it was saved, perhaps by another version; or why this one cannot read it. */
export function storedRule(written: unknown): { readonly rule: Rule } | { readonly reason: string } {
  const parsed = ruleSchema.safeParse(written);
  const faults = parsed.success ? faultsOf(parsed.data) : parsed.error.issues;
  if (parsed.success && faults.length === 0) return { rule: parsed.data };
  return {
    reason: faults.map(({ path, message }) => `${path.length === 0 ? '' : `${path.join('.')}: `}${message}`).join('; '),
  };
}

interface Fault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly offset?: number;
}

const PLACEHOLDER = /\{([A-Za-z][A-Za-z0-9_]*)\}/g;

function placeholders(text: string): readonly string[] {
  return [...text.matchAll(PLACEHOLDER)].map((match) => match[1] ?? '');
}

/** The wildcards that a trigger gives. */
export function capturesOf(trigger: Rule['triggers'][number]): readonly string[] {
  switch (trigger.kind) {
    case 'topic':
      return trigger.topic.levels.flatMap((level) => (level.kind === 'wildcard' ? [level.name] : []));
    case 'metric':
    case 'presence':
      return ['device'];
    case 'schedule':
    case 'sun':
      return [];
  }
}

/** What the shape alone does not tell: conditions, schedules, and wildcards that no trigger gives. */
function faultsOf(rule: Rule): readonly Fault[] {
  const faults: Fault[] = [];
  const condition = (path: readonly PropertyKey[], text: string, wanted: 'bool' | 'value'): void => {
    try {
      parseCondition(text, wanted);
    } catch (error) {
      if (!(error instanceof ConditionError)) throw error;
      faults.push({ path, message: error.message, offset: error.offset });
    }
  };
  const shared = rule.triggers.map(capturesOf).reduce((all, names) => all.filter((name) => names.includes(name)));
  const needs = (path: readonly PropertyKey[], names: readonly string[], why: string): void => {
    const unknown = names.find((name) => !shared.includes(name));
    if (unknown !== undefined)
      faults.push({
        path,
        message: `{${unknown}} ${why}; every trigger gives ${shared.length === 0 ? 'no wildcard' : shared.map((name) => `{${name}}`).join(', ')}`,
      });
  };
  rule.when.forEach((text, index) => condition(rule.when.length === 1 ? ['when'] : ['when', index], text, 'bool'));
  rule.triggers.forEach((trigger, index) => {
    if (trigger.kind !== 'schedule') return;
    try {
      new Cron(trigger.schedule, {
        paused: true,
        ...(trigger.timezone === undefined ? {} : { timezone: trigger.timezone }),
      });
    } catch (error) {
      const why = error instanceof Error ? error.message.replace(/^CronPattern: /, '') : String(error);
      faults.push({ path: ['triggers', index, 'schedule'], message: `not a schedule: ${why}` });
    }
  });
  if (rule.override !== undefined) {
    const names = rule.override.topic.levels.flatMap((level) => (level.kind === 'wildcard' ? [level.name] : []));
    needs(['override', 'topic'], names, 'is no wildcard of the triggers');
  }
  rule.actions.forEach((action, index) => {
    const path = ['actions', index];
    if (action.if !== undefined) condition([...path, 'if'], action.if, 'bool');
    if (action.kind === 'notify')
      needs([...path, 'notify'], placeholders(action.notify), 'is no wildcard of the triggers');
    if (action.kind !== 'publish') return;
    needs([...path, 'publish'], placeholders(action.publish.source), 'is no wildcard of the triggers');
    if (typeof action.payload === 'string')
      needs([...path, 'payload'], placeholders(action.payload), 'is no wildcard of the triggers');
    if (action.value !== undefined) condition([...path, 'value'], action.value, 'value');
  });
  return faults;
}
