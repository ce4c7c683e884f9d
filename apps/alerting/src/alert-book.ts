import { randomUUID } from 'node:crypto';
import { matchesLabels, storableText, type AlertEvent, type AlertSeverity, type Matchers } from '@muster/contract';
import TinyQueue from 'tinyqueue';
import { openKey, type AlertRecord, type NotificationContent } from './alert-record.ts';
import type { StoredAlerts } from './alert-store.ts';
import { summaryOf } from './condition.ts';
import type { FleetView } from './fleet-view.ts';
import { dueOf, groupKey, groupLabels, newsOf, type GroupSettings } from './grouping.ts';
import type { Journal } from './journal.ts';
import type { Mutes } from './mutes.ts';
import { contentOf, noticeContents, type Notice } from './notification-content.ts';
import type { OpenState, Step } from './running-rule.ts';

/** Which alerts a receiver is told of, and how they are put together. */
export interface Route {
  readonly receiver: string;
  readonly severities: readonly AlertSeverity[];
  readonly match: Matchers;
  readonly group: GroupSettings;
  /** Alerts in one notification; more of them are left out, or go into another one. */
  readonly maxAlerts: number;
  /** Whether it puts alerts together itself and is told every one of them, each once. */
  readonly takesEach: boolean;
}

interface Group {
  readonly route: Route;
  readonly key: string;
  readonly members: Map<string, AlertRecord>;
  readonly told: Set<string>;
  readonly begun: Set<string>;
  readonly ended: Set<string>;
  dueMs: number | undefined;
  lastSentMs: number | undefined;
}

const MAX_SEEN_NOTICES = 1_000;

/** What somebody has done to an alert cannot be done. */
export class AlertBookError extends Error {
  override readonly name = 'AlertBookError';

  constructor(
    readonly code: 'not-open' | 'acknowledged-already',
    message: string,
  ) {
    super(message);
  }
}

/**
 * The open alerts, what receivers know of them, and what they are still to be told. All in memory; every change goes
 * into the journal, and what is to be told becomes a notification there.
 */
export class AlertBook {
  readonly #open = new Map<string, AlertRecord>();
  readonly #ids = new Map<string, string>();
  readonly #groups = new Map<string, Group>();
  readonly #due = new TinyQueue<{ readonly dueMs: number; readonly group: Group }>(
    [],
    (one, other) => one.dueMs - other.dueMs,
  );
  readonly #seenNotices = new Set<bigint>();
  /** What another process has told. */
  #noticesBefore = 0n;
  #noticePosition = 0n;
  #mutesChangeMs: number | undefined;

  constructor(
    private readonly journal: Pick<
      Journal,
      'alert' | 'cancelled' | 'event' | 'told' | 'notification' | 'noticePosition'
    >,
    private readonly fleet: FleetView,
    private readonly mutes: Mutes,
    private readonly routes: readonly Route[],
  ) {}

  /** Alerts that are pending or fire. */
  get open(): Iterable<AlertRecord> {
    return this.#open.values();
  }

  /** When something is due next; undefined where nothing is. */
  get nextDueMs(): number | undefined {
    const times = [this.#due.peek()?.dueMs, this.#mutesChangeMs].filter((atMs) => atMs !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Alerts that fire and that a receiver knows of. */
  toldOf(receiver: string): readonly AlertRecord[] {
    return [...this.#groups.values()]
      .filter(({ route }) => route.receiver === receiver)
      .flatMap(({ told, members }) =>
        [...members.values()].filter(({ id, state }) => state === 'firing' && told.has(id)),
      );
  }

  /** Goes on with what was on record; answers the open alerts, for those who know the rules. */
  restore(stored: StoredAlerts, nowMs: number): readonly OpenState[] {
    const told = new Set(stored.told.map(({ receiver, alert }) => openKey(receiver, alert)));
    for (const record of stored.alerts) {
      if (record.state !== 'resolved') {
        this.#open.set(record.id, record);
        this.#ids.set(openKey(record.rule, record.subject), record.id);
      }
      for (const route of this.#routesOf(record)) {
        const key = openKey(route.receiver, record.id);
        if (told.delete(key)) this.#groupOf(route, record).told.add(record.id);
      }
      this.#changed(record, nowMs);
    }
    // Of receivers that are gone, or that are not told of such alerts any more.
    for (const { receiver, alert } of stored.told)
      if (told.has(openKey(receiver, alert))) this.journal.told(receiver, alert, false);
    for (const { receiver, group, atMs } of stored.lastSent) {
      const known = this.#groups.get(openKey(receiver, group));
      if (known !== undefined && known.told.size > 0) known.lastSentMs = atMs;
    }
    this.#noticesBefore = stored.noticePosition;
    this.#noticePosition = stored.noticePosition;
    this.mutesChanged(nowMs);
    return [...this.#open.values()].map(({ rule, subject, sinceMs, startedMs, value }) => ({
      ...{ rule, subject, sinceMs, startedMs, value },
    }));
  }

  /** Takes a step of the evaluation. */
  take(step: Step): void {
    const { condition, subject, nowMs } = step;
    const known = this.#known(condition.rule.name, subject);
    switch (step.step) {
      case 'pending':
        this.#put(this.#record(step, 'pending'));
        return;
      case 'firing': {
        const record = this.#record(step, 'firing', known);
        const muted = { ...record, silencedBy: this.mutes.muteOf(record.labels, nowMs) };
        this.#event(muted, 'firing', nowMs, null, muted.summary);
        this.#put(muted);
        this.#changed(muted, nowMs);
        return;
      }
      case 'cancelled':
        if (known !== undefined) this.#remove(known);
        if (known !== undefined) this.journal.cancelled(known.id);
        return;
      case 'resolved':
        if (known !== undefined) this.#resolve(known, step.value, nowMs);
    }
  }

  /** Ends alerts of rules that are no longer there. */
  drop(open: readonly OpenState[], nowMs: number): void {
    for (const { rule, subject } of open) {
      const known = this.#known(rule, subject);
      if (known?.state === 'firing') this.#resolve(known, null, nowMs);
      else if (known !== undefined) {
        this.#remove(known);
        this.journal.cancelled(known.id);
      }
    }
  }

  /**
   * Somebody looks after an alert: whoever has not been told of it yet will not be.
   * @throws AlertBookError
   */
  acknowledge(id: string, who: string, comment: string | undefined, nowMs: number): void {
    const record = this.#open.get(id);
    if (record === undefined) throw new AlertBookError('not-open', `the alert ${id} is not open`);
    if (record.acknowledgedBy !== null)
      throw new AlertBookError('acknowledged-already', `${record.acknowledgedBy} has acknowledged the alert ${id}`);
    const acknowledged = { ...record, acknowledgedMs: nowMs, acknowledgedBy: who };
    this.#event(record, 'acknowledged', nowMs, who, null);
    if (comment !== undefined) this.#event(record, 'comment', nowMs, who, comment);
    this.#put(acknowledged);
    this.#changed(acknowledged, nowMs);
  }

  /** Silences or maintenance windows are others now: judges every alert by them. */
  mutesChanged(nowMs: number): void {
    this.#mutesChangeMs = this.mutes.nextChangeMs(nowMs);
    for (const record of this.#open.values()) {
      if (record.state !== 'firing') continue;
      const silencedBy = this.mutes.muteOf(record.labels, nowMs);
      if (silencedBy === record.silencedBy) continue;
      const changed = { ...record, silencedBy };
      const by = silencedBy ?? record.silencedBy;
      this.#event(changed, silencedBy === null ? 'unsilenced' : 'silenced', nowMs, null, by);
      this.#put(changed);
      this.#changed(changed, nowMs);
    }
  }

  /** Takes what automation asks to tell, in the order in which it was written; each is told once. */
  notices(notices: readonly Notice[], nowMs: number): void {
    const fresh = notices.filter(({ id }) => id > this.#noticesBefore && !this.#seenNotices.has(id));
    if (fresh.length === 0) return;
    for (const route of this.routes)
      for (const told of noticeContents(fresh, (labels, severity) => {
        const isWanted = route.severities.includes(severity) && matchesLabels(route.match, labels);
        return isWanted && this.mutes.muteOf(labels, nowMs) === null;
      }))
        this.#notify(route.receiver, `notice ${told.group['rule'] ?? ''}`, told, nowMs, 'notice');
    for (const { id } of fresh) this.#seenNotices.add(id);
    // Rows may be committed later than those with higher numbers; beyond these few nobody looks back.
    for (const id of [...this.#seenNotices].slice(0, -MAX_SEEN_NOTICES)) this.#seenNotices.delete(id);
    const newest = fresh.reduce((id, notice) => (notice.id > id ? notice.id : id), this.#noticePosition);
    if (newest > this.#noticePosition) this.journal.noticePosition(newest);
    this.#noticePosition = newest;
  }

  /** Does what is due: groups are told, silences begin and end. */
  tick(nowMs: number): void {
    if (this.#mutesChangeMs !== undefined && this.#mutesChangeMs <= nowMs) this.mutesChanged(nowMs);
    for (let next = this.#due.peek(); next !== undefined && next.dueMs <= nowMs; next = this.#due.peek()) {
      this.#due.pop();
      const { group } = next;
      if (group.dueMs !== undefined && group.dueMs <= nowMs) this.#tell(group, nowMs);
    }
  }

  #known(rule: string, subject: string): AlertRecord | undefined {
    return this.#open.get(this.#ids.get(openKey(rule, subject)) ?? '');
  }

  #record(step: Step, state: 'pending' | 'firing', known?: AlertRecord): AlertRecord {
    const { condition, subject, value, nowMs } = step;
    const { rule, version, limit } = condition;
    const isBroker = rule.kind.startsWith('broker-');
    const isDevice = 'devices' in rule || ['threshold', 'rate', 'absence', 'presence', 'flapping'].includes(rule.kind);
    const device = isDevice ? subject : null;
    const facts = device === null ? undefined : this.fleet.devices.get(device);
    const broker = isBroker ? subject : (facts?.broker ?? null);
    const summary = summaryOf(rule, {
      ...{ subject, device: device ?? subject, broker: broker ?? subject, value, limit, state: facts?.state },
      devices: broker === null ? 0 : this.fleet.devicesBehind(broker),
    });
    return {
      id: known?.id ?? randomUUID(),
      rule: rule.name,
      ruleVersion: version,
      kind: rule.kind,
      severity: rule.severity,
      state,
      subject,
      device,
      broker,
      summary: storableText(summary, 500),
      value,
      labels: {
        ...rule.labels,
        ...{ rule: rule.name, kind: rule.kind, severity: rule.severity, subject },
        ...(device === null ? {} : { device }),
        ...(broker === null ? {} : { broker }),
      },
      runbook: rule.runbook ?? null,
      sinceMs: step.state.sinceMs,
      startedMs: state === 'firing' ? nowMs : null,
      resolvedMs: null,
      acknowledgedMs: known?.acknowledgedMs ?? null,
      acknowledgedBy: known?.acknowledgedBy ?? null,
      silencedBy: null,
    };
  }

  #put(record: AlertRecord): void {
    this.#open.set(record.id, record);
    this.#ids.set(openKey(record.rule, record.subject), record.id);
    this.journal.alert(record);
  }

  #remove(record: AlertRecord): void {
    this.#open.delete(record.id);
    this.#ids.delete(openKey(record.rule, record.subject));
  }

  #resolve(known: AlertRecord, value: number | null, nowMs: number): void {
    const resolved: AlertRecord = { ...known, state: 'resolved', resolvedMs: nowMs };
    this.#event(resolved, 'resolved', nowMs, null, value === null ? null : `at ${value}`);
    this.#remove(known);
    this.journal.alert(resolved);
    this.#changed(resolved, nowMs);
  }

  #event(record: AlertRecord, kind: AlertEvent['kind'], atMs: number, actor: string | null, text: string | null): void {
    this.journal.event({ alert: record.id, atMs, kind, actor, text });
  }

  #routesOf({ severity, labels }: AlertRecord): readonly Route[] {
    return this.routes.filter(({ severities, match }) => severities.includes(severity) && matchesLabels(match, labels));
  }

  #groupOf(route: Route, record: AlertRecord): Group {
    const key = groupKey(route.group.groupBy, record.labels);
    const name = openKey(route.receiver, key);
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const made: Group = {
      ...{ route, key, members: new Map(), told: new Set(), begun: new Set(), ended: new Set() },
      ...{ dueMs: undefined, lastSentMs: undefined },
    };
    this.#groups.set(name, made);
    return made;
  }

  /** Sees what there is to tell of an alert to whom, and when. */
  #changed(record: AlertRecord, nowMs: number): void {
    if (record.state === 'pending') return;
    for (const route of this.#routesOf(record)) {
      const group = this.#groupOf(route, record);
      const { id } = record;
      group.members.set(id, record);
      group.begun.delete(id);
      group.ended.delete(id);
      const isQuiet = record.silencedBy !== null || record.acknowledgedBy !== null;
      const news = newsOf(
        { phase: record.state === 'firing' ? 'firing' : 'resolved', isQuiet, isTold: group.told.has(id) },
        route.group,
      );
      if (news === 'begun') group.begun.add(id);
      if (news === 'ended') group.ended.add(id);
      if (news === 'over') this.#leave(group, id);
      this.#arrange(group, nowMs);
    }
  }

  #arrange(group: Group, nowMs: number): void {
    const before = group.dueMs;
    group.dueMs = dueOf(group, group.begun.size + group.ended.size > 0, group.route.group, nowMs);
    if (group.dueMs !== undefined && group.dueMs !== before) this.#due.push({ dueMs: group.dueMs, group });
    if (group.members.size === 0) this.#groups.delete(openKey(group.route.receiver, group.key));
  }

  #leave(group: Group, id: string): void {
    group.members.delete(id);
    if (group.told.delete(id)) this.journal.told(group.route.receiver, id, false);
  }

  #tell(group: Group, nowMs: number): void {
    const { route, members, begun, ended, told } = group;
    const find = (ids: Iterable<string>): readonly AlertRecord[] => [...ids].flatMap((id) => members.get(id) ?? []);
    const firing = members.size - ended.size;
    const news = { begun: find(begun), ended: find(ended) };
    const known = route.takesEach ? [] : find(told).filter(({ state }) => state === 'firing');
    for (const content of contentOf(groupLabels(group.key), { ...news, known, firing }, route))
      this.#notify(route.receiver, group.key, content, nowMs);
    for (const id of begun) {
      told.add(id);
      this.journal.told(route.receiver, id, true);
    }
    for (const id of ended) this.#leave(group, id);
    begun.clear();
    ended.clear();
    group.dueMs = undefined;
    group.lastSentMs = nowMs;
    this.#arrange(group, nowMs);
  }

  #notify(
    receiver: string,
    group: string,
    content: NotificationContent,
    nowMs: number,
    kind: 'alerts' | 'notice' = 'alerts',
  ): void {
    this.journal.notification({ id: randomUUID(), receiver, group, kind, content, createdMs: nowMs });
  }
}
