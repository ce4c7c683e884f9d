import { buildTopic, ContractError, type Captures, type ReadingValue } from '@muster/contract';
import type { CompiledAction, CompiledRule, CompiledTrigger } from './compiled-rule.ts';
import { ConditionError, type ConditionScope } from './conditions.ts';
import type { Effect, Reaction, TriggerEvent } from './reaction.ts';
import { filled, subjectOf } from './values.ts';

/**
 * What an action does because of an event.
 * @throws ConditionError where its value cannot be had; ContractError where a capture would not stay one level
 */
export function effectOf(
  { action, value }: Pick<CompiledAction, 'action' | 'value'>,
  event: TriggerEvent,
  chain: readonly string[],
  rule: string,
  scope: () => ConditionScope,
): Effect {
  const { captures } = event;
  switch (action.kind) {
    case 'notify':
      return {
        ...{ kind: 'notify', rule, subject: subjectOf(captures), severity: action.severity },
        text: filled(action.notify, captures),
      };
    case 'mode':
      return { kind: 'mode', mode: action.mode, setBy: `rule ${rule}` };
    case 'publish': {
      const payload = value === undefined ? action.payload : value.evaluate(scope());
      return {
        kind: 'publish',
        topic: buildTopic(action.publish, captures),
        payload: typeof payload === 'string' ? filled(payload, captures) : JSON.stringify(payload),
        qos: action.qos,
        retain: action.retain,
        expirySeconds: Math.max(1, Math.ceil(action.expires / 1000)),
        chain: [...chain, rule],
      };
    }
  }
}

/** The event that a trigger makes of what happened. */
export function eventOf(
  { trigger, index }: CompiledTrigger,
  captures: Captures,
  value: ReadingValue | undefined,
  previous: ReadingValue | undefined,
  origin: { readonly topic?: string; readonly device?: string; readonly metric?: string },
  nowMs: number,
): TriggerEvent {
  return {
    id: trigger.id ?? `${trigger.kind}_${index}`,
    kind: trigger.kind,
    captures,
    ...(value === undefined ? {} : { value }),
    ...(previous === undefined ? {} : { previous }),
    ...origin,
    atMs: nowMs,
  };
}

/** The record of a run that could not be; an error that is not about the rule is thrown on. */
export function failedRun(
  compiled: CompiledRule,
  event: TriggerEvent,
  nowMs: number,
  error: unknown,
): Reaction['runs'][number] {
  if (!(error instanceof ConditionError) && !(error instanceof ContractError)) throw error;
  return {
    rule: compiled.rule.id,
    version: compiled.version,
    atMs: nowMs,
    event,
    outcome: 'failed',
    detail: error.message,
  };
}

/** An effect as people read it. */
export function describeEffect(effect: Effect): string {
  switch (effect.kind) {
    case 'publish':
      return `${effect.topic} ${effect.payload.slice(0, 100)}`;
    case 'notify':
      return `notice: ${effect.text.slice(0, 100)}`;
    case 'mode':
      return `mode ${effect.mode}`;
  }
}
