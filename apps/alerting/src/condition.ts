import { alertDurationMs, matchesWildcard, type AlertKind, type AlertRule, type PresenceState } from '@muster/contract';
import type { Verdict } from './alert-machine.ts';

const DAY_MS = 86_400_000;
/**
 * Retained messages that are nobody's: Mosquitto's own system topics (53 to 56, mqtt-pitfalls R14), and status and
 * interest of our services.
 */
const OWN_RETAINED = 64;

/** A rule made ready: what it looks at, and what a number means to it. */
export interface Condition {
  readonly rule: AlertRule;
  readonly version: number;
  /** What it is found by when an observation comes; see {@link readingSource}. */
  readonly source: string;
  readonly forMs: number;
  /** The time over which a rate, a growth or occurrences are counted; 0 for others. */
  readonly windowMs: number;
  /** What is shown as the limit. */
  readonly limit: number;
  /** What a broker with so many devices may have: only what is more is counted. */
  readonly expected: (devicesBehind: number) => number;
  /** Patterns of the subjects that it concerns; undefined for all of them. */
  readonly subjects: readonly string[] | undefined;
  readonly verdict: (value: number) => Verdict;
}

/** Where readings of a metric are found. */
export function readingSource(metric: string): string {
  return `reading ${metric}`;
}

/** Where metrics of ingestion are found. */
export function ingestionSource(figure: string): string {
  return `ingestion ${figure}`;
}

interface Bounds {
  readonly above?: number | undefined;
  readonly below?: number | undefined;
  readonly clear?: number | undefined;
}

function boundsVerdict({ above, below, clear }: Bounds): (value: number) => Verdict {
  if (above !== undefined) {
    const end = clear ?? above;
    return (value) => (value > above ? 'breached' : value <= end ? 'clear' : 'between');
  }
  const limit = below ?? Number.NEGATIVE_INFINITY;
  const end = clear ?? limit;
  return (value) => (value < limit ? 'breached' : value >= end ? 'clear' : 'between');
}

function shareVerdict(percent: number, clear: number): (value: number) => Verdict {
  return (value) => (value >= percent ? 'breached' : value < clear ? 'clear' : 'between');
}

/** Whether a rule concerns a subject. */
export function concerns({ subjects }: Pick<Condition, 'subjects'>, subject: string): boolean {
  return subjects === undefined || subjects.some((pattern) => matchesWildcard(pattern, subject));
}

/** Makes a rule ready. */
export function compile(rule: AlertRule, version: number): Condition {
  const subjects = 'devices' in rule ? rule.devices : 'brokers' in rule ? rule.brokers : undefined;
  const base = { rule, version, subjects, windowMs: 0, expected: () => 0 };
  const forMs = 'for' in rule ? alertDurationMs(rule.for) : 0;
  const isSo = (value: number): Verdict => (value > 0 ? 'breached' : 'clear');
  switch (rule.kind) {
    case 'threshold':
    case 'rate':
      return {
        ...base,
        forMs,
        source: readingSource(rule.metric),
        windowMs: rule.kind === 'rate' ? alertDurationMs(rule.per) : 0,
        limit: rule.above ?? rule.below ?? 0,
        verdict: boundsVerdict(rule),
      };
    case 'absence':
      // Its time is what is measured: nobody needs to be told that something has just come.
      return {
        ...base,
        forMs: 0,
        source: rule.metric === undefined ? 'heard' : readingSource(rule.metric),
        windowMs: forMs,
        limit: forMs / 1000,
        verdict: isSo,
      };
    case 'presence':
      return { ...base, forMs, source: 'presence', limit: 0, verdict: isSo };
    case 'flapping':
      return {
        ...base,
        forMs: 0,
        source: 'losses',
        windowMs: alertDurationMs(rule.within),
        limit: rule.times,
        verdict: shareVerdict(rule.times, rule.times),
      };
    case 'broker-lost':
      return { ...base, forMs, source: rule.kind, limit: 0, verdict: isSo };
    case 'broker-connections':
      return {
        ...base,
        forMs,
        source: rule.kind,
        limit: rule.percent,
        verdict: shareVerdict(rule.percent, rule.clear),
      };
    case 'broker-dropped':
    case 'dead-letters':
      return {
        ...base,
        forMs: 0,
        source: rule.kind,
        windowMs: alertDurationMs(rule.within),
        limit: rule.above,
        verdict: boundsVerdict({ above: rule.above }),
      };
    case 'broker-retained':
      return {
        ...base,
        forMs,
        source: rule.kind,
        limit: rule.above,
        expected: (devicesBehind) => OWN_RETAINED + rule.per_device * devicesBehind,
        verdict: boundsVerdict(rule),
      };
    case 'ingestion':
      return {
        ...base,
        forMs,
        source: ingestionSource(rule.figure),
        limit: rule.above ?? rule.below ?? 0,
        verdict: boundsVerdict(rule),
      };
    case 'certificate': {
      const days = alertDurationMs(rule.within) / DAY_MS;
      return {
        ...base,
        forMs: 0,
        source: rule.kind,
        limit: days,
        verdict: boundsVerdict({ below: days }),
      };
    }
  }
}

/** Whether a presence state is one that a rule is about; 1 or 0, as its verdict takes it. */
export function presenceValue(rule: AlertRule, state: PresenceState): number {
  return rule.kind === 'presence' && rule.states.includes(state) ? 1 : 0;
}

/** What an alert of each kind says when its rule does not. */
const SUMMARIES: Readonly<Record<AlertKind, string>> = {
  threshold: '{metric} of {device} is {value}, and the limit is {limit}',
  rate: '{metric} of {device} changes by {value} in {per}, and the limit is {limit}',
  absence: '{device} has sent nothing for {for}',
  presence: '{device} is {state}',
  flapping: '{device} was lost {value} times in {within}',
  'broker-lost': '{broker} is lost; {devices} devices stand behind it',
  'broker-connections': '{broker} has {value} % of the connections that it allows',
  'broker-dropped': '{broker} has dropped {value} messages in {within}',
  'broker-retained': '{broker} holds {value} more retained messages than its devices explain',
  'dead-letters': '{value} messages could not be used in {within}: {subject}',
  ingestion: '{figure} of ingestion is {value}, and the limit is {limit}',
  certificate: 'the certificate of {subject} expires in {value} days',
};

const MAX_SUMMARY = 500;

/** The value as people read it: at most six digits that count. */
export function shownValue(value: number): string {
  return String(Number(value.toPrecision(6)));
}

/**
 * What an alert says: the rule's text, or the one of its kind, with names in braces replaced. A name that is not known
 * stays as it is.
 */
export function summaryOf(
  rule: AlertRule,
  facts: Readonly<Record<string, string | number | null | undefined>>,
): string {
  const known: Readonly<Record<string, unknown>> = { ...rule.labels, ...rule, ...facts };
  return (rule.summary ?? SUMMARIES[rule.kind])
    .replace(/\{([a-zA-Z_]{1,63})\}/g, (whole, name: string) => {
      const value = Object.hasOwn(known, name) ? known[name] : undefined;
      if (typeof value === 'number') return shownValue(value);
      return typeof value === 'string' ? value : whole;
    })
    .slice(0, MAX_SUMMARY);
}
