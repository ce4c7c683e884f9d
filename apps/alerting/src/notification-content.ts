import type { AlertSeverity } from '@muster/contract';
import { toldAlert, type AlertRecord, type NotificationContent, type ToldAlert } from './alert-record.ts';

/** What there is to tell of a group. */
export interface GroupNews {
  readonly begun: readonly AlertRecord[];
  readonly ended: readonly AlertRecord[];
  /** Alerts that fire and that the receiver knows of already. */
  readonly known: readonly AlertRecord[];
  /** How many fire now, those included that are silenced. */
  readonly firing: number;
}

/** How much goes into one notification. */
export interface ContentLimits {
  readonly maxAlerts: number;
  /** Whether all news are told, in as many notifications as that takes; else what is too much is counted. */
  readonly takesEach: boolean;
}

/** A group in one line: what the alert says where it is one, else how many and the first of them. */
export function groupSummary({ begun, ended, known, firing }: GroupNews): string {
  const [first] = [...begun, ...known];
  const [last] = ended;
  if (first === undefined) {
    if (ended.length === 1) return `Resolved: ${last?.summary ?? ''}`;
    const rest = firing === 0 ? 'none fires any more' : `${firing} still fire`;
    return `${ended.length} alerts have ended, ${rest}: ${last?.summary ?? ''}`;
  }
  const others = begun.length + known.length - 1;
  const over = ended.length === 0 ? '' : `; ${ended.length} have ended`;
  return `${first.summary}${others === 0 ? '' : ` and ${others} more`}${over}`;
}

/** The notifications that tell the news of a group. */
export function contentOf(
  group: Readonly<Record<string, string>>,
  news: GroupNews,
  { maxAlerts, takesEach }: ContentLimits,
): readonly NotificationContent[] {
  const all = [...news.begun, ...news.ended, ...news.known];
  const parts = takesEach
    ? Array.from({ length: Math.ceil(all.length / maxAlerts) }, (_, at) =>
        all.slice(at * maxAlerts, (at + 1) * maxAlerts),
      )
    : [all.slice(0, maxAlerts)];
  const summary = groupSummary(news);
  return parts.map((part) => ({
    status: news.begun.length + news.known.length > 0 ? 'firing' : 'resolved',
    summary,
    group,
    firing: news.firing,
    alerts: part.map(toldAlert),
    omitted: takesEach ? 0 : all.length - part.length,
  }));
}

/** What automation asks to tell people. */
export interface Notice {
  readonly id: bigint;
  readonly at: Date;
  readonly rule: string;
  readonly subject: string;
  readonly severity: string;
  readonly text: string;
}

/** The notifications that tell notices: one for each rule. Whoever wants some of them says which. */
export function noticeContents(
  notices: readonly Notice[],
  isWanted: (labels: Readonly<Record<string, string>>, severity: AlertSeverity) => boolean,
): readonly NotificationContent[] {
  const byRule = new Map<string, ToldAlert[]>();
  for (const { id, at, rule, subject, severity: given, text } of notices) {
    const severity: AlertSeverity = given === 'warning' || given === 'critical' ? given : 'info';
    const labels = { rule, kind: 'notice', severity, subject, notice: String(id) };
    if (!isWanted(labels, severity)) continue;
    const told = byRule.get(rule) ?? [];
    byRule.set(rule, told);
    told.push({
      ...{ rule, severity, subject, labels, summary: text, value: null, runbook: null, resolvedAt: null },
      id: `notice-${id}`,
      status: 'firing',
      startedAt: at.toISOString(),
    });
  }
  return [...byRule].map(([rule, alerts]) => ({
    status: 'firing',
    summary: `${alerts[0]?.summary ?? ''}${alerts.length === 1 ? '' : ` and ${alerts.length - 1} more`}`,
    group: { rule },
    firing: alerts.length,
    alerts,
    omitted: 0,
  }));
}
