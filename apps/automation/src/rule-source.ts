import { ruleSchema, type Rule } from '@muster/contract';
import { Cron } from 'croner';
import { isNode, LineCounter, parseDocument, type Document } from 'yaml';
import { type z } from 'zod';
import { ConditionError, parseCondition } from './conditions.ts';

/** A place in a text, counted from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** What is wrong with a text of rules, and where. */
export interface RuleFault extends Place {
  /** Where in the document: `rules.0.triggers.1.for`. */
  readonly path: string;
  readonly message: string;
}

/** A rule, and the same as it was written. */
export interface WrittenRule {
  readonly rule: Rule;
  readonly written: Readonly<Record<string, unknown>>;
}

/** Rules that cannot be used. */
export class RuleError extends Error {
  override readonly name = 'RuleError';
  readonly code = 'invalid-rules';

  constructor(readonly faults: readonly RuleFault[]) {
    super(faults.map(({ line, column, path, message }) => `${line}:${column} ${path}: ${message}`).join('; '));
  }
}

const MAX_RULES = 1_000;
const MAX_FAULTS = 50;

/**
 * Reads rules: a document with the key `rules`, or a single rule. Shape, conditions, schedules and wildcards are checked.
 * @throws RuleError with every fault and its place
 */
export function readRules(text: string): readonly WrittenRule[] {
  const lines = new LineCounter();
  // Aliases multiply: a small text could become a huge document.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    logLevel: 'error',
  });
  const placeOf = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (document.errors.length > 0) {
    throw new RuleError(
      document.errors.slice(0, MAX_FAULTS).map(({ pos, message }) => ({ ...placeOf(pos[0]), path: '', message })),
    );
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new RuleError([
      { line: 1, column: 1, path: '', message: error instanceof Error ? error.message : String(error) },
    ]);
  }
  const isList = typeof value === 'object' && value !== null && 'rules' in value;
  const written: unknown = isList ? (value as { rules: unknown }).rules : [value];
  const prefix = isList ? ['rules'] : [];
  const faults: RuleFault[] = [];
  const report = (path: readonly PropertyKey[], message: string, offsetInValue = 0): void => {
    faults.push({ ...placeOf(offsetOf(document, path) + offsetInValue), path: path.map(String).join('.'), message });
  };
  if (!Array.isArray(written) || written.length === 0 || written.length > MAX_RULES) {
    report(prefix, `expected a list of 1 to ${MAX_RULES} rules`);
    throw new RuleError(faults);
  }
  const ids = new Map<string, number>();
  const rules = written.flatMap((one: unknown, index): readonly WrittenRule[] => {
    const path = isList ? [...prefix, index] : [];
    const parsed = ruleSchema.safeParse(one);
    if (!parsed.success) {
      for (const issue of parsed.error.issues) report([...path, ...issue.path], messageOf(issue));
      return [];
    }
    const before = ids.get(parsed.data.id);
    if (before !== undefined) report([...path, 'id'], `the id ${parsed.data.id} stands twice`);
    ids.set(parsed.data.id, index);
    for (const fault of faultsOf(parsed.data)) report([...path, ...fault.path], fault.message, fault.offset);
    return [{ rule: parsed.data, written: one as Record<string, unknown> }];
  });
  if (faults.length > 0) throw new RuleError(faults.slice(0, MAX_FAULTS));
  return rules;
}

/** A rule that was checked when it was saved. */
export function storedRule(written: unknown): Rule {
  return ruleSchema.parse(written);
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.message.replace(/^Invalid input: /, '');
}

/** Where a value of the document begins; of what is missing, where the thing that should have it begins. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const node: unknown = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range != null) return node.range[0] + (isQuoted(node) ? 1 : 0);
  }
  return 0;
}

function isQuoted(node: unknown): boolean {
  const { type } = node as { readonly type?: unknown };
  return type === 'QUOTE_DOUBLE' || type === 'QUOTE_SINGLE';
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
