import type { ReadingValue, Rule, RuleAction, RuleTrigger } from '@muster/contract';
import { parseCondition, type Condition, type LastValueLookup } from './conditions.ts';
import { isValue } from './values.ts';

/** A rule as it is in force. */
export interface RuleInForce {
  readonly rule: Rule;
  readonly version: number;
}

/** A trigger with what it takes to decide on it. */
export interface CompiledTrigger {
  readonly compiled: CompiledRule;
  readonly index: number;
  readonly trigger: RuleTrigger;
}

/** An action with its expressions. */
export interface CompiledAction {
  readonly index: number;
  readonly action: RuleAction;
  readonly condition: Condition | undefined;
  readonly value: Condition | undefined;
}

/** A rule with its expressions checked and its triggers ready to be indexed. */
export interface CompiledRule extends RuleInForce {
  readonly triggers: readonly CompiledTrigger[];
  readonly conditions: readonly Condition[];
  readonly actions: readonly CompiledAction[];
  /** The names of the wildcards by which an override is kept. */
  readonly overrideNames: readonly string[];
  /** Metrics of which it needs to hear. */
  readonly metrics: ReadonlySet<string>;
}

/** Makes a rule ready; it was checked when it was saved. */
export function compileRule({ rule, version }: RuleInForce, lookup: LastValueLookup): CompiledRule {
  const conditions = rule.when.map((source) => parseCondition(source, 'bool', lookup));
  const actions = rule.actions.map((action, index): CompiledAction => ({
    index,
    action,
    condition: action.if === undefined ? undefined : parseCondition(action.if, 'bool', lookup),
    value:
      action.kind === 'publish' && action.value !== undefined
        ? parseCondition(action.value, 'value', lookup)
        : undefined,
  }));
  const triggers: CompiledTrigger[] = [];
  const compiled: CompiledRule = {
    rule,
    version,
    triggers,
    conditions,
    actions,
    overrideNames: (rule.override?.topic.levels ?? []).flatMap((level) =>
      level.kind === 'wildcard' ? [level.name] : [],
    ),
    metrics: new Set([
      ...conditions.flatMap(({ metrics }) => metrics),
      ...actions.flatMap(({ condition, value }) => [...(condition?.metrics ?? []), ...(value?.metrics ?? [])]),
      ...rule.triggers.flatMap((trigger) => (trigger.kind === 'metric' ? [trigger.metric] : [])),
    ]),
  };
  for (const [index, trigger] of rule.triggers.entries()) {
    triggers.push({ compiled, index, trigger });
  }
  return compiled;
}

/** What a value means to a trigger: that its state is there or not, or that something happened. */
export type Meaning = { readonly kind: 'state'; readonly holds: boolean } | { readonly kind: 'event' };

/**
 * What a value means to a topic or metric trigger; a state that held before ends only beyond `clear`.
 * @param held whether the state held at the value before; undefined where that is not known
 */
export function meaningOf(
  trigger: Extract<RuleTrigger, { kind: 'topic' | 'metric' }>,
  value: ReadingValue | undefined,
  previous: ReadingValue | undefined,
  held: boolean | undefined,
): Meaning | undefined {
  if (trigger.becomes !== undefined) return { kind: 'state', holds: isValue(value, trigger.becomes) };
  if (trigger.changes === true) {
    const isChange = value !== undefined && previous !== undefined && value !== previous;
    return isChange ? { kind: 'event' } : undefined;
  }
  if (trigger.kind === 'topic') return { kind: 'event' };
  if (typeof value !== 'number') return undefined;
  const { above, below, clear } = trigger;
  if (above !== undefined) return { kind: 'state', holds: value > (held === true ? (clear ?? above) : above) };
  if (below !== undefined) return { kind: 'state', holds: value < (held === true ? (clear ?? below) : below) };
  return undefined;
}

/** The trigger or the action that a timer's part names, `trigger:0`; undefined where there is none. */
export function partIn(compiled: CompiledRule | undefined, part: string): unknown {
  const [kind, index] = part.split(':');
  return kind === 'trigger' ? compiled?.rule.triggers[Number(index)] : compiled?.rule.actions[Number(index)];
}
