import { isMetricName, type ReadingValue } from '@muster/contract';
import { UsageError } from '../up/settings.ts';

/** How far a value is from what it should be; later ones are worse. */
export const LEVELS = ['normal', 'warn', 'critical'] as const;
/** See {@link LEVELS}. */
export type Level = (typeof LEVELS)[number];

/** A limit for the values of one metric. */
export interface Threshold {
  readonly metric: string;
  readonly comparison: '>' | '>=' | '<' | '<=';
  readonly limit: number;
  readonly level: 'warn' | 'critical';
}

/**
 * Limits that apply to metrics for which none is given. A lithium cell that supplies an ESP32 has little left below
 * 3.4 V, and at 3.2 V the usual 3.3 V regulator has lost its drop-out: the next radio burst may reset the board.
 */
export const DEFAULT_THRESHOLDS: readonly Threshold[] = [
  { metric: 'vbat', comparison: '<', limit: 3.4, level: 'warn' },
  { metric: 'vbat', comparison: '<', limit: 3.2, level: 'critical' },
];

const SYNTAX = /^([^<>=:]+)(>=|<=|>|<)([^<>=:]+)(?::(warn|critical))?$/;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

/**
 * `temp>30`, `temp>=35:critical` or `hum<20:warn`; `warn` where no level is given.
 * @throws UsageError
 */
export function parseThreshold(text: string): Threshold {
  const [, metric = '', comparison, number = '', level = 'warn'] = SYNTAX.exec(text.replaceAll(' ', '')) ?? [];
  const limit = Number(number);
  const isOne = comparison !== undefined && isMetricName(metric) && NUMBER.test(number) && Number.isFinite(limit);
  if (!isOne)
    throw new UsageError(
      `--threshold expects METRIC>NUMBER or METRIC<NUMBER, then :warn or :critical, in quotes because a shell takes > and < for itself, such as 'temp>30:critical'; found ${JSON.stringify(text.slice(0, 100))}`,
    );
  return {
    metric,
    comparison: comparison as Threshold['comparison'],
    limit,
    level: level === 'critical' ? 'critical' : 'warn',
  };
}

/** Those that were given, and the defaults of metrics for which none was. */
export function withDefaults(given: readonly Threshold[]): readonly Threshold[] {
  const named = new Set(given.map(({ metric }) => metric));
  return [...given, ...DEFAULT_THRESHOLDS.filter(({ metric }) => !named.has(metric))];
}

function isReached({ comparison, limit }: Threshold, value: number): boolean {
  switch (comparison) {
    case '>':
      return value > limit;
    case '>=':
      return value >= limit;
    case '<':
      return value < limit;
    case '<=':
      return value <= limit;
  }
}

/** The worst level that a value reaches; texts and booleans have none. */
export function levelOf(thresholds: readonly Threshold[], metric: string, value: ReadingValue): Level {
  if (typeof value !== 'number') return 'normal';
  const reached = thresholds.filter((threshold) => threshold.metric === metric && isReached(threshold, value));
  if (reached.length === 0) return 'normal';
  return reached.some(({ level }) => level === 'critical') ? 'critical' : 'warn';
}
