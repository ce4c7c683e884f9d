import type {
  Alert,
  AlertDetail,
  AlertEvent,
  AlertKind,
  AlertPage,
  AlertPhase,
  AlertQuery,
  AlertSeverity,
  MaintenanceSchedule,
  Matchers,
} from '@muster/contract';
import { isDataError, Prisma, type PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';
import { openKey, type AlertRecord } from './alert-record.ts';
import type { FigureName, FigureRecord } from './broker-figures.ts';
import type { OutageRecord } from './fleet-view.ts';
import type { Batch, BatchStore } from './journal.ts';
import type { MaintenanceEntry, SilenceEntry } from './mutes.ts';
import { cursorOf, partsOf } from './page-cursor.ts';

type AlertRow = Prisma.AlertGetPayload<object>;

/** What is known from before when the service starts. */
export interface StoredAlerts {
  /** Open alerts, and those that are over and whose end somebody may have to be told of. */
  readonly alerts: readonly AlertRecord[];
  readonly told: readonly { readonly receiver: string; readonly alert: string }[];
  readonly silences: readonly SilenceEntry[];
  readonly windows: readonly MaintenanceEntry[];
  /** Up to which row of notice receivers have been told. */
  readonly noticePosition: bigint;
  /** When each group was told the last time. */
  readonly lastSent: readonly { readonly receiver: string; readonly group: string; readonly atMs: number }[];
  readonly figures: readonly FigureRecord[];
  readonly outages: readonly OutageRecord[];
}

/** What of an alert's history is told as an event, and how it is called there. */
const CHANGES: ReadonlyMap<string, string> = new Map([
  ['firing', 'fired'],
  ['resolved', 'resolved'],
  ['acknowledged', 'acknowledged'],
]);
const CHANGE_NAMES = JSON.stringify(Object.fromEntries(CHANGES));

/** Rows of one statement: a parameter of some megabytes is the most that is sensible. */
const MAX_ROWS = 2_000;

function recordOf(row: AlertRow): AlertRecord {
  return {
    id: row.id,
    rule: row.rule,
    ruleVersion: row.ruleVersion,
    kind: row.kind as AlertKind,
    severity: row.severity as AlertSeverity,
    state: row.state as AlertPhase,
    subject: row.subject,
    device: row.device,
    broker: row.broker,
    summary: row.summary,
    value: row.value,
    labels: row.labels as Record<string, string>,
    runbook: row.runbook,
    sinceMs: row.since.getTime(),
    startedMs: row.startedAt?.getTime() ?? null,
    resolvedMs: row.resolvedAt?.getTime() ?? null,
    acknowledgedMs: row.acknowledgedAt?.getTime() ?? null,
    acknowledgedBy: row.acknowledgedBy,
    silencedBy: row.silencedBy,
  };
}

function alertOf(row: AlertRow, events: readonly AlertEvent[]): Alert {
  const { since, startedAt, resolvedAt, acknowledgedAt, openKey: _, ...rest } = row;
  return {
    ...rest,
    severity: row.severity as AlertSeverity,
    state: row.state as AlertPhase,
    labels: row.labels as Record<string, string>,
    since: since.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    resolvedAt: resolvedAt?.toISOString() ?? null,
    acknowledgedAt: acknowledgedAt?.toISOString() ?? null,
    comments: events.flatMap(({ kind, at, actor, text }) =>
      kind === 'comment' && text !== null ? [{ at, actor, text }] : [],
    ),
  };
}

function chunksOf<Row>(rows: readonly Row[]): readonly (readonly Row[])[] {
  return Array.from({ length: Math.ceil(rows.length / MAX_ROWS) }, (_, index) =>
    rows.slice(index * MAX_ROWS, (index + 1) * MAX_ROWS),
  );
}

/** Alerts, silences and maintenance windows in PostgreSQL. */
export class AlertStore implements BatchStore {
  constructor(private readonly database: PrismaClient) {}

  isHopeless(error: unknown): boolean {
    return isDataError(error) || error instanceof Prisma.PrismaClientValidationError;
  }

  /** What the service goes on with. */
  async load(now: Date): Promise<StoredAlerts> {
    const told = await this.database.alertTold.findMany();
    const [alerts, silences, windows, lastSent, position, figures, outages] = await Promise.all([
      this.database.$queryRaw<{ id: string }[]>`
        SELECT id FROM alert WHERE state <> 'resolved' OR id IN (SELECT alert FROM alert_told)`.then((ids) =>
        Promise.all(
          chunksOf(ids).map((chunk) =>
            this.database.alert.findMany({ where: { id: { in: chunk.map(({ id }) => id) } } }),
          ),
        ),
      ),
      this.database.silence.findMany({ where: { until: { gt: now } } }),
      this.database.maintenanceWindow.findMany(),
      this.database.notification.groupBy({ by: ['receiver', 'group'], _max: { createdAt: true } }),
      this.database.noticePosition.findUnique({ where: { id: 1 } }),
      this.database.brokerFigure.findMany(),
      this.database.brokerOutage.findMany({ orderBy: { from: 'asc' } }),
    ]);
    return {
      alerts: alerts.flat().map(recordOf),
      told,
      silences: silences.map(({ from, until, createdAt, matchers, ...rest }) => ({
        ...rest,
        matchers: matchers as Matchers,
        fromMs: from.getTime(),
        untilMs: until.getTime(),
        createdMs: createdAt.getTime(),
      })),
      windows: windows.map(({ createdAt, matchers, schedule, ...rest }) => ({
        ...rest,
        matchers: matchers as Matchers,
        schedule: schedule as MaintenanceSchedule,
        createdMs: createdAt.getTime(),
      })),
      noticePosition: position?.notice ?? 0n,
      lastSent: lastSent.map(({ receiver, group, _max }) => ({
        receiver,
        group,
        atMs: _max.createdAt?.getTime() ?? 0,
      })),
      figures: figures.map(({ broker, name, value, seenAt }) => ({
        ...{ broker, name: name as FigureName, value, seenMs: seenAt.getTime() },
      })),
      outages: outages.map(({ broker, from, until }) => ({ broker, fromMs: from.getTime(), untilMs: until.getTime() })),
    };
  }

  /** Writes a batch in one transaction. */
  async write(batch: Batch): Promise<void> {
    const statements = this.#statements(batch);
    if (statements.length > 0) await this.database.$transaction(statements);
  }

  /** One page of alerts, the newest first. */
  async page(query: AlertQuery): Promise<AlertPage> {
    const [sinceText, id] = query.cursor === undefined ? [] : partsOf(query.cursor, 2);
    const before = sinceText === undefined || id === undefined ? undefined : { since: new Date(Number(sinceText)), id };
    if (before !== undefined && Number.isNaN(before.since.getTime()))
      throw new ProblemError(422, 'cursor: expected `next` of an earlier page');
    const rows = await this.database.alert.findMany({
      where: {
        state: query.state ?? { in: ['pending', 'firing'] },
        ...(query.severity === undefined ? {} : { severity: query.severity }),
        ...(query.rule === undefined ? {} : { rule: query.rule }),
        ...(query.subject === undefined ? {} : { subject: query.subject }),
        ...(before === undefined
          ? {}
          : { OR: [{ since: { lt: before.since } }, { since: before.since, id: { lt: before.id } }] }),
      },
      orderBy: [{ since: 'desc' }, { id: 'desc' }],
      take: query.limit + 1,
    });
    const items = rows.slice(0, query.limit);
    const last = items.at(-1);
    const events = await this.#events(items.map((row) => row.id));
    return {
      items: items.map((row) => alertOf(row, events.get(row.id) ?? [])),
      next: rows.length > query.limit && last !== undefined ? cursorOf([String(last.since.getTime()), last.id]) : null,
    };
  }

  /**
   * One alert with its history.
   * @throws ProblemError 404
   */
  async find(id: string): Promise<AlertDetail> {
    const row = await this.database.alert.findUnique({ where: { id } });
    if (row === null) throw new ProblemError(404, `there is no alert ${id}`);
    const events = (await this.#events([id])).get(id) ?? [];
    const waited = row.startedAt === null || row.since < row.startedAt;
    const began: readonly AlertEvent[] = waited
      ? [{ at: row.since.toISOString(), kind: 'pending', actor: null, text: null }]
      : [];
    return { ...alertOf(row, events), history: [...began, ...events] };
  }

  /** How many alerts of each rule are open. */
  async openCounts(): Promise<ReadonlyMap<string, { readonly firing: number; readonly pending: number }>> {
    const rows = await this.database.alert.groupBy({
      by: ['rule', 'state'],
      where: { state: { in: ['pending', 'firing'] } },
      _count: true,
    });
    const counts = new Map<string, { firing: number; pending: number }>();
    for (const { rule, state, _count } of rows) {
      const count = counts.get(rule) ?? { firing: 0, pending: 0 };
      counts.set(rule, { ...count, [state]: _count });
    }
    return counts;
  }

  async #events(alerts: readonly string[]): Promise<ReadonlyMap<string, readonly AlertEvent[]>> {
    const rows = await this.database.alertEvent.findMany({
      where: { alert: { in: [...alerts] } },
      orderBy: { id: 'asc' },
    });
    return groupEvents(rows);
  }

  #statements(batch: Batch): Prisma.PrismaPromise<unknown>[] {
    const { database } = this;
    return [
      ...(batch.cancelled.length === 0
        ? []
        : [database.$executeRaw`DELETE FROM alert WHERE id = ANY(${[...batch.cancelled]}::text[])`]),
      ...chunksOf(batch.alerts.filter(({ state }) => state === 'resolved')).map((rows) => this.#putAlerts(rows)),
      ...chunksOf(batch.alerts.filter(({ state }) => state !== 'resolved')).map((rows) => this.#putAlerts(rows)),
      // One parameter for all rows: createMany would compile a statement with thousands (mqtt-pitfalls B11).
      ...chunksOf(batch.events).map(
        (rows) => database.$executeRaw`
          INSERT INTO alert_event (alert, at, kind, actor, text)
          SELECT alert, to_timestamp("atMs" / 1000.0), kind, actor, text
          FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
            AS row(alert text, "atMs" float8, kind text, actor text, text text)`,
      ),
      ...chunksOf(batch.events.filter(({ kind }) => CHANGES.has(kind))).map(
        (rows) => database.$executeRaw`
          INSERT INTO event (kind, device, data)
          SELECT 'alert', alert.device, jsonb_build_object('alert', alert.id, 'change', ${CHANGE_NAMES}::jsonb -> row.kind,
                 'rule', alert.rule, 'severity', alert.severity, 'subject', alert.subject, 'broker', alert.broker,
                 'summary', alert.summary, 'actor', row.actor)
          FROM ROWS FROM (jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS (alert text, kind text, actor text))
            WITH ORDINALITY AS row(alert, kind, actor, place)
          JOIN alert ON alert.id = row.alert ORDER BY row.place`,
      ),
      ...chunksOf(batch.told).map(
        (rows) => database.$executeRaw`
          INSERT INTO alert_told (receiver, alert)
          SELECT receiver, alert FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS row(receiver text, alert text)
          ON CONFLICT DO NOTHING`,
      ),
      ...chunksOf(batch.untold).map(
        (rows) => database.$executeRaw`
          DELETE FROM alert_told USING jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS gone(receiver text, alert text)
          WHERE alert_told.receiver = gone.receiver AND alert_told.alert = gone.alert`,
      ),
      ...chunksOf(batch.notifications).map(
        (rows) => database.$executeRaw`
          INSERT INTO notification (id, receiver, "group", kind, content, created_at, due_at)
          SELECT id, receiver, "group", kind, content, to_timestamp("createdMs" / 1000.0), to_timestamp("createdMs" / 1000.0)
          FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
            AS row(id text, receiver text, "group" text, kind text, content jsonb, "createdMs" float8)
          ON CONFLICT DO NOTHING`,
      ),
      ...batch.silences.map(({ fromMs, untilMs, createdMs, ...rest }) => {
        const data = { ...rest, from: new Date(fromMs), until: new Date(untilMs), createdAt: new Date(createdMs) };
        return database.silence.upsert({ where: { id: rest.id }, create: data, update: data });
      }),
      ...batch.windows.map(({ createdMs, ...rest }) => {
        const data = { ...rest, createdAt: new Date(createdMs) };
        return database.maintenanceWindow.upsert({ where: { name: rest.name }, create: data, update: data });
      }),
      ...(batch.noticePosition === undefined
        ? []
        : [
            database.noticePosition.upsert({
              where: { id: 1 },
              create: { notice: batch.noticePosition },
              update: { notice: batch.noticePosition },
            }),
          ]),
      ...batch.figures.map(({ broker, name, value, seenMs }) => {
        const data = { value, seenAt: new Date(seenMs) };
        return database.brokerFigure.upsert({
          where: { broker_name: { broker, name } },
          create: { broker, name, ...data },
          update: data,
        });
      }),
      ...(batch.outages.length === 0
        ? []
        : [
            database.brokerOutage.createMany({
              data: batch.outages.map(({ broker, fromMs, untilMs }) => ({
                ...{ broker, from: new Date(fromMs), until: new Date(untilMs) },
              })),
              skipDuplicates: true,
            }),
          ]),
      ...(batch.removedWindows.length === 0
        ? []
        : [database.maintenanceWindow.deleteMany({ where: { name: { in: [...batch.removedWindows] } } })]),
    ];
  }

  #putAlerts(records: readonly AlertRecord[]): Prisma.PrismaPromise<number> {
    const rows = JSON.stringify(
      records.map((record) => ({
        ...record,
        openKey: record.state === 'resolved' ? null : openKey(record.rule, record.subject),
      })),
    );
    return this.database.$executeRaw`
      INSERT INTO alert (id, open_key, rule, rule_version, kind, severity, state, subject, device, broker, summary, value,
                         labels, runbook, since, started_at, resolved_at, acknowledged_at, acknowledged_by, silenced_by)
      SELECT id, "openKey", rule, "ruleVersion", kind, severity, state, subject, device, broker, summary, value, labels,
             runbook, to_timestamp("sinceMs" / 1000.0), to_timestamp("startedMs" / 1000.0),
             to_timestamp("resolvedMs" / 1000.0), to_timestamp("acknowledgedMs" / 1000.0), "acknowledgedBy", "silencedBy"
      FROM jsonb_to_recordset(${rows}::jsonb) AS row(id text, "openKey" text, rule text, "ruleVersion" int, kind text,
           severity text, state text, subject text, device text, broker text, summary text, value float8, labels jsonb,
           runbook text, "sinceMs" float8, "startedMs" float8, "resolvedMs" float8, "acknowledgedMs" float8,
           "acknowledgedBy" text, "silencedBy" text)
      ON CONFLICT (id) DO UPDATE
      SET open_key = excluded.open_key, rule_version = excluded.rule_version, severity = excluded.severity,
          state = excluded.state, broker = excluded.broker, summary = excluded.summary, value = excluded.value,
          labels = excluded.labels, runbook = excluded.runbook, started_at = excluded.started_at,
          resolved_at = excluded.resolved_at, acknowledged_at = excluded.acknowledged_at,
          acknowledged_by = excluded.acknowledged_by, silenced_by = excluded.silenced_by`;
  }
}

function groupEvents(rows: readonly Prisma.AlertEventGetPayload<object>[]): ReadonlyMap<string, readonly AlertEvent[]> {
  const events = new Map<string, AlertEvent[]>();
  for (const { alert, at, kind, actor, text } of rows) {
    const event = { at: at.toISOString(), kind: kind as AlertEvent['kind'], actor, text };
    const known = events.get(alert);
    if (known === undefined) events.set(alert, [event]);
    else known.push(event);
  }
  return events;
}
