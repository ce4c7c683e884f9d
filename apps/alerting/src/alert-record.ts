import type { AlertEvent, AlertKind, AlertPhase, AlertSeverity } from '@muster/contract';

/** An alert in memory and on record; times are milliseconds since 1970. */
export interface AlertRecord {
  readonly id: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly kind: AlertKind;
  readonly severity: AlertSeverity;
  readonly state: AlertPhase;
  readonly subject: string;
  readonly device: string | null;
  readonly broker: string | null;
  readonly summary: string;
  readonly value: number | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly runbook: string | null;
  readonly sinceMs: number;
  readonly startedMs: number | null;
  readonly resolvedMs: number | null;
  readonly acknowledgedMs: number | null;
  readonly acknowledgedBy: string | null;
  readonly silencedBy: string | null;
}

/** Something that happened to an alert. */
export interface EventRecord {
  readonly alert: string;
  readonly atMs: number;
  readonly kind: AlertEvent['kind'];
  readonly actor: string | null;
  readonly text: string | null;
}

/** An alert as a receiver is told of it. */
export interface ToldAlert {
  readonly id: string;
  readonly status: 'firing' | 'resolved';
  readonly rule: string;
  readonly severity: AlertSeverity;
  readonly subject: string;
  readonly summary: string;
  readonly value: number | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly runbook: string | null;
  readonly startedAt: string;
  readonly resolvedAt: string | null;
}

/** What a receiver is told: about a group of alerts, what automation asks to tell, or a test. */
export interface NotificationContent {
  readonly status: 'firing' | 'resolved';
  readonly summary: string;
  /** The labels that the alerts have in common. */
  readonly group: Readonly<Record<string, string>>;
  /** Alerts of the group that fire now. */
  readonly firing: number;
  /** News first. */
  readonly alerts: readonly ToldAlert[];
  /** Alerts that are left out because there are too many. */
  readonly omitted: number;
}

/** Something that one receiver is to be told. */
export interface NotificationRecord {
  /** Goes along, so that the receiver can tell repetitions. */
  readonly id: string;
  readonly receiver: string;
  /** Those of one group are told one after the other. */
  readonly group: string;
  readonly kind: 'alerts' | 'notice' | 'test';
  readonly content: NotificationContent;
  readonly createdMs: number;
}

/** The text under which an open alert is found: there is one for each rule and subject. */
export function openKey(rule: string, subject: string): string {
  return `${rule} ${subject}`;
}

function isoOf(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** An alert as receivers are told of it. */
export function toldAlert(record: AlertRecord): ToldAlert {
  const { id, rule, severity, subject, summary, value, labels, runbook } = record;
  return {
    ...{ id, rule, severity, subject, summary, value, labels, runbook },
    status: record.state === 'resolved' ? 'resolved' : 'firing',
    startedAt: isoOf(record.startedMs ?? record.sinceMs),
    resolvedAt: record.resolvedMs === null ? null : isoOf(record.resolvedMs),
  };
}
