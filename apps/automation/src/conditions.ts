import { Environment, type ASTNode, type ParseResult } from '@marcbachmann/cel-js';
import type { ReadingValue } from '@muster/contract';

/** What a condition may speak of. */
export interface ConditionScope {
  /** The event: its captures under their own names, and `id`, `value`, `previous`, `topic`, `device`, `metric`. */
  readonly trigger: Readonly<Record<string, unknown>>;
  readonly mode: string;
  /** `hour` `minute` `second` `weekday` (1 is Monday) `day` `month` `year`, in the time zone of the rule. */
  readonly time: Readonly<Record<string, number>>;
}

/** A condition that cannot be used; `offset` counts characters from its beginning. */
export class ConditionError extends Error {
  override readonly name = 'ConditionError';
  readonly code = 'invalid-condition';

  constructor(
    message: string,
    readonly offset: number,
  ) {
    super(message);
  }
}

/** An expression that has been checked. */
export interface Condition {
  readonly source: string;
  /** Metrics whose last values it asks for. */
  readonly metrics: readonly string[];
  /** @throws ConditionError when it cannot be evaluated for this event */
  readonly evaluate: (scope: ConditionScope) => unknown;
}

/** Gives the last value of a metric of a device. */
export type LastValueLookup = (device: string, metric: string) => ReadingValue | undefined;

const LIMITS = { maxAstNodes: 500, maxDepth: 32, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 8 };

function environment(lookup: LastValueLookup): Environment {
  return new Environment({ unlistedVariablesAreDyn: false, limits: LIMITS })
    .registerVariable('trigger', 'dyn')
    .registerVariable('mode', 'string')
    .registerVariable('time', 'dyn')
    .registerFunction('last(string, string): dyn', (device: string, metric: string) => {
      const value = lookup(device, metric);
      if (value === undefined) throw new Error(`${device} has no ${metric} yet`);
      return value;
    })
    .registerFunction(
      'last(string, string, dyn): dyn',
      (device: string, metric: string, fallback: unknown) => lookup(device, metric) ?? fallback,
    );
}

const nothingKnown = environment(() => undefined);

/**
 * Checks an expression of the Common Expression Language (github.com/google/cel-spec).
 * @throws ConditionError with the place of the fault
 */
export function parseCondition(source: string, wanted: 'bool' | 'value', lookup?: LastValueLookup): Condition {
  const engine = lookup === undefined ? nothingKnown : environment(lookup);
  let parsed: ParseResult;
  try {
    parsed = engine.parse(source);
  } catch (error) {
    throw conditionError(error);
  }
  const { valid, type, error } = parsed.check();
  if (!valid) throw conditionError(error);
  if (wanted === 'bool' && type !== 'bool' && type !== 'dyn')
    throw new ConditionError(`expected true or false; this gives ${type}`, 0);
  const metrics = new Set<string>();
  visit(parsed.ast, (node) => {
    if (node.op !== 'call' || node.args[0] !== 'last') return;
    const metric = node.args[1][1];
    if (metric?.op !== 'value' || typeof metric.args !== 'string')
      throw new ConditionError(
        'the metric of last(device, "metric") is written out, so that it can be asked for',
        node.start,
      );
    metrics.add(metric.args);
  });
  return {
    source,
    metrics: [...metrics],
    evaluate: (scope) => {
      try {
        return plain(parsed(scope));
      } catch (thrown) {
        throw conditionError(thrown);
      }
    },
  };
}

/** Numbers of CEL are 64 bits wide; what leaves it is JSON. */
function plain(value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

function conditionError(error: unknown): ConditionError {
  const { summary, range, message } = error as { summary?: string; range?: { start: number }; message?: string };
  return new ConditionError(summary ?? message?.split('\n')[0] ?? String(error), range?.start ?? 0);
}

/** Calls back for every node of an expression. */
function visit(node: ASTNode, callback: (node: ASTNode) => void): void {
  callback(node);
  const below = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(below);
    else if (typeof value === 'object' && value !== null && 'op' in value && 'args' in value)
      visit(value as ASTNode, callback);
  };
  below(node.args);
}
