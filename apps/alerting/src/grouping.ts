/** How a receiver wants alerts put together. */
export interface GroupSettings {
  /** Labels that alerts of one group have in common; none is one group for all. */
  readonly groupBy: readonly string[];
  /** How long a new group waits for more. */
  readonly waitMs: number;
  /** How long a group that has been told waits with its next news. */
  readonly intervalMs: number;
  /** Whether ends are told too. */
  readonly sendResolved: boolean;
}

/** An alert as its group sees it. */
export interface Member {
  readonly phase: 'firing' | 'resolved';
  /** Silenced or acknowledged: its beginning is not told. */
  readonly isQuiet: boolean;
  /** Whether the receiver has been told that it fires. */
  readonly isTold: boolean;
}

/** When a group is told, and when it was. */
export interface GroupTimes {
  readonly dueMs: number | undefined;
  readonly lastSentMs: number | undefined;
}

/** The group of an alert at one receiver: its labels by name, as text. */
export function groupKey(groupBy: readonly string[], labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(groupBy.map((name) => [name, Object.hasOwn(labels, name) ? labels[name] : '']));
}

/** The labels of a group, from its key. */
export function groupLabels(key: string): Readonly<Record<string, string>> {
  return Object.fromEntries(JSON.parse(key) as [string, string][]);
}

/** What there is to tell of an alert: that it begins, that it has ended, nothing now, or nothing any more. */
export function newsOf(
  { phase, isQuiet, isTold }: Member,
  { sendResolved }: GroupSettings,
): 'begun' | 'ended' | 'none' | 'over' {
  if (phase === 'firing') return isTold || isQuiet ? 'none' : 'begun';
  return isTold && sendResolved ? 'ended' : 'over';
}

/**
 * When a group is to be told: not without news, after its wait if it is new, and not sooner than its interval after the
 * last time. What stands already stays, so that a stream of alerts cannot put it off.
 */
export function dueOf(
  { dueMs, lastSentMs }: GroupTimes,
  hasNews: boolean,
  { waitMs, intervalMs }: GroupSettings,
  nowMs: number,
): number | undefined {
  if (!hasNews) return undefined;
  if (dueMs !== undefined) return dueMs;
  return lastSentMs === undefined ? nowMs + waitMs : Math.max(nowMs + waitMs, lastSentMs + intervalMs);
}
