import { alertRuleSchema } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AlertBook, type Route } from './alert-book.ts';
import type { AlertRecord, EventRecord, NotificationRecord } from './alert-record.ts';
import { compile } from './condition.ts';
import { FleetView } from './fleet-view.ts';
import { Mutes } from './mutes.ts';
import type { Step } from './running-rule.ts';

const T0 = 1_800_000_000_000;
const WAIT_MS = 10_000;
const INTERVAL_MS = 300_000;

function route(more: Partial<Route> = {}): Route {
  return {
    receiver: 'hook',
    severities: ['info', 'warning', 'critical'],
    match: {},
    group: { groupBy: ['rule'], waitMs: WAIT_MS, intervalMs: INTERVAL_MS, sendResolved: true },
    maxAlerts: 100,
    takesEach: false,
    ...more,
  };
}

/** Takes what the book writes, as the database would have it. */
class Record {
  readonly alerts = new Map<string, AlertRecord>();
  readonly events: EventRecord[] = [];
  readonly told = new Map<string, { receiver: string; alert: string }>();
  readonly notifications: NotificationRecord[] = [];
  noticePosition = 0n;

  readonly journal = {
    alert: (record: AlertRecord): void => void this.alerts.set(record.id, record),
    cancelled: (id: string): void => void this.alerts.delete(id),
    event: (event: EventRecord): void => void this.events.push(event),
    told: (receiver: string, alert: string, isTold: boolean): void => {
      if (isTold) this.told.set(`${receiver} ${alert}`, { receiver, alert });
      else this.told.delete(`${receiver} ${alert}`);
    },
    notification: (notification: NotificationRecord): void => void this.notifications.push(notification),
    noticePosition: (position: bigint): void => void (this.noticePosition = position),
  };
}

class Scene {
  readonly record: Record;
  readonly mutes = new Mutes();
  readonly fleet = new FleetView(60_000);
  readonly book: AlertBook;
  nowMs: number;

  constructor(
    readonly routes: readonly Route[] = [route()],
    before?: Scene,
  ) {
    this.record = before?.record ?? new Record();
    this.nowMs = before?.nowMs ?? T0;
    this.book = new AlertBook(this.record.journal, this.fleet, this.mutes, routes);
    if (before === undefined) return;
    const told = [...this.record.told.values()];
    const alerts = [...this.record.alerts.values()].filter(
      ({ id, state }) => state !== 'resolved' || told.some(({ alert }) => alert === id),
    );
    const lastSent = this.record.notifications.map(({ receiver, group, createdMs }) => ({
      receiver,
      group,
      atMs: createdMs,
    }));
    this.book.restore(
      {
        ...{ alerts, told, silences: [], windows: [], lastSent, figures: [], outages: [] },
        noticePosition: this.record.noticePosition,
      },
      this.nowMs,
    );
  }

  /** The same record, and another process. */
  restarted(routes = this.routes): Scene {
    return new Scene(routes, this);
  }

  step(step: Step['step'], subject: string, rule: object = {}): this {
    const definition = alertRuleSchema.parse({ name: 'lost', kind: 'presence', ...rule });
    const state: Step['state'] = { phase: 'firing', sinceMs: this.nowMs, startedMs: this.nowMs };
    this.book.take({ condition: compile(definition, 1), subject, step, state, value: 1, nowMs: this.nowMs });
    return this;
  }

  fires(...subjects: readonly string[]): this {
    for (const subject of subjects) this.step('firing', subject);
    return this;
  }

  ends(...subjects: readonly string[]): this {
    for (const subject of subjects) this.step('resolved', subject);
    return this;
  }

  wait(milliseconds: number): this {
    const untilMs = this.nowMs + milliseconds;
    for (let dueMs = this.book.nextDueMs; dueMs !== undefined && dueMs <= untilMs; dueMs = this.book.nextDueMs) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.book.tick(this.nowMs);
    }
    this.nowMs = untilMs;
    return this;
  }

  silence(matchers: { readonly [label: string]: string }, untilMs: number): this {
    const entry = { id: 's', matchers, fromMs: this.nowMs, untilMs, why: '', who: '', createdMs: this.nowMs };
    this.mutes.silences.set('s', entry);
    this.book.mutesChanged(this.nowMs);
    return this;
  }

  /** What was told: receiver, status, and the alerts of each notification. */
  get told(): readonly string[] {
    return this.record.notifications.map(
      ({ receiver, content }) =>
        `${receiver} ${content.status}: ${content.alerts.map(({ subject, status }) => `${subject} ${status}`).join(', ')}`,
    );
  }

  id(subject: string): string {
    return [...this.record.alerts.values()].find((alert) => alert.subject === subject)?.id ?? '';
  }
}

describe('a receiver', () => {
  it('is told once of what comes within the wait of a group, and after its interval of the rest', () => {
    const scene = new Scene().fires('a').wait(5_000).fires('b').wait(5_000);
    expect(scene.told).toEqual(['hook firing: a firing, b firing']);
    scene
      .fires('c')
      .ends('a')
      .wait(INTERVAL_MS - 1);
    expect(scene.told).toHaveLength(1);
    expect(scene.wait(1).told.slice(1)).toEqual(['hook firing: c firing, a resolved, b firing']);
    expect(scene.ends('b', 'c').wait(INTERVAL_MS).told.slice(2)).toEqual(['hook resolved: b resolved, c resolved']);
    expect(scene.record.told.size).toBe(0);
  });

  it('is not told of what was over before its group was due', () => {
    expect(new Scene().fires('a').wait(5_000).ends('a').wait(INTERVAL_MS).told).toEqual([]);
  });

  it('gets one notification for 10,000 alerts at once, with how many and the first hundred', () => {
    const subjects = Array.from({ length: 10_000 }, (_, index) => `device-${index}`);
    const scene = new Scene().fires(...subjects).wait(INTERVAL_MS);
    expect(scene.record.notifications).toHaveLength(1);
    const content = scene.record.notifications[0]?.content;
    expect([content?.firing, content?.alerts.length, content?.omitted]).toEqual([10_000, 100, 9_900]);
    expect(content?.summary).toBe('device-0 is {state} and 9999 more');
  });

  it('that puts alerts together itself is told each of them once, in parts', () => {
    const group = { groupBy: [], waitMs: 0, intervalMs: 0, sendResolved: true };
    const scene = new Scene([route({ takesEach: true, maxAlerts: 2, group })]).fires('a', 'b', 'c').wait(0);
    scene.fires('d').ends('a').wait(0);
    expect(scene.told).toEqual([
      'hook firing: a firing, b firing',
      'hook firing: c firing',
      'hook firing: d firing, a resolved',
    ]);
    expect(scene.book.toldOf('hook').map(({ subject }) => subject)).toEqual(['b', 'c', 'd']);
  });

  it('is told of the severities and labels that it wants', () => {
    const scene = new Scene([
      route({ receiver: 'pager', severities: ['critical'] }),
      route({ receiver: 'cellar', match: { device: 'cellar-*' } }),
    ]);
    scene.step('firing', 'cellar-1').step('firing', 'attic-1', { name: 'fire', severity: 'critical' }).wait(WAIT_MS);
    expect(scene.told).toEqual(['cellar firing: cellar-1 firing', 'pager firing: attic-1 firing']);
  });

  it('groups by labels', () => {
    const group = { groupBy: ['device'], waitMs: 0, intervalMs: 0, sendResolved: false };
    const scene = new Scene([route({ group })]).fires('a', 'b').wait(0).ends('a').wait(0);
    expect(scene.told).toEqual(['hook firing: a firing', 'hook firing: b firing']);
    expect(scene.record.told.size).toBe(1);
  });
});

describe('an alert', () => {
  it('that never fired leaves nothing behind', () => {
    const scene = new Scene().step('pending', 'a');
    expect(scene.record.alerts.size).toBe(1);
    scene.step('cancelled', 'a').wait(INTERVAL_MS);
    expect([scene.record.alerts.size, scene.record.events, scene.told]).toEqual([0, [], []]);
  });

  it('keeps its id from pending to its end, and gets another one the next time', () => {
    const scene = new Scene().step('pending', 'a').fires('a').ends('a').fires('a');
    const alerts = [...scene.record.alerts.values()];
    expect(alerts.map(({ state }) => state)).toEqual(['resolved', 'firing']);
    expect(scene.record.events.map(({ kind }) => kind)).toEqual(['firing', 'resolved', 'firing']);
  });

  it('of a broker says how many devices stand behind it', () => {
    const scene = new Scene();
    for (const device of ['a', 'b', 'c'])
      scene.fleet.setDevice(device, { state: 'online', sinceMs: T0, broker: 'mosquitto-0', wakeExpectedMs: null });
    scene.step('firing', 'mosquitto-0', { name: 'broker-lost', kind: 'broker-lost', severity: 'critical' });
    expect([...scene.record.alerts.values()][0]).toMatchObject({
      summary: 'mosquitto-0 is lost; 3 devices stand behind it',
      device: null,
      broker: 'mosquitto-0',
      labels: {
        rule: 'broker-lost',
        kind: 'broker-lost',
        severity: 'critical',
        subject: 'mosquitto-0',
        broker: 'mosquitto-0',
      },
    });
  });

  it('that is acknowledged before anybody was told is told to nobody, and its end neither', () => {
    const scene = new Scene().fires('a');
    scene.book.acknowledge(scene.id('a'), 'anna', 'on my way', scene.nowMs);
    expect(scene.wait(INTERVAL_MS).ends('a').wait(INTERVAL_MS).told).toEqual([]);
    expect(scene.record.events.map(({ kind, actor, text }) => [kind, actor, text])).toEqual([
      ['firing', null, 'a is {state}'],
      ['acknowledged', 'anna', null],
      ['comment', 'anna', 'on my way'],
      ['resolved', null, 'at 1'],
    ]);
  });

  it('is acknowledged once, and not when it is over', () => {
    const scene = new Scene().fires('a');
    const id = scene.id('a');
    scene.book.acknowledge(id, 'anna', undefined, scene.nowMs);
    expect(() => scene.book.acknowledge(id, 'ben', undefined, scene.nowMs)).toThrow(/anna has acknowledged/);
    scene.ends('a');
    expect(() => scene.book.acknowledge(id, 'ben', undefined, scene.nowMs)).toThrow(/is not open/);
  });
});

describe('a silence', () => {
  it('keeps alerts from being told while it lasts; those that still fire then are told', () => {
    const scene = new Scene()
      .silence({ device: '*' }, T0 + 60_000)
      .fires('a', 'b')
      .wait(30_000)
      .ends('b');
    expect([scene.told, scene.record.alerts.get(scene.id('a'))?.silencedBy]).toEqual([[], 's']);
    scene.wait(30_000 + WAIT_MS);
    expect(scene.told).toEqual(['hook firing: a firing']);
    expect(scene.record.events.map(({ kind }) => kind)).toEqual(['firing', 'firing', 'resolved', 'unsilenced']);
  });

  it('that begins when an alert was told keeps nobody from hearing of its end', () => {
    const scene = new Scene()
      .fires('a')
      .wait(WAIT_MS)
      .silence({ rule: 'lost' }, T0 + 3_600_000)
      .ends('a')
      .wait(INTERVAL_MS);
    expect(scene.told).toEqual(['hook firing: a firing', 'hook resolved: a resolved']);
  });
});

describe('what automation asks to tell', () => {
  const notice = (id: bigint, more: object = {}) => ({
    ...{ id, at: new Date(T0), rule: 'evening', subject: 'hall', severity: 'info', text: `lights are on (${id})` },
    ...more,
  });

  it('is told once, together with what else a rule asks for at the same time', () => {
    const scene = new Scene();
    scene.book.notices([notice(3n), notice(4n), notice(5n, { rule: 'other' })], T0);
    scene.book.notices([notice(2n), notice(3n), notice(4n), notice(5n, { rule: 'other' })], T0);
    expect(scene.record.notifications.map(({ kind, content }) => [kind, content.summary])).toEqual([
      ['notice', 'lights are on (3) and 1 more'],
      ['notice', 'lights are on (5)'],
      ['notice', 'lights are on (2)'],
    ]);
    expect(scene.record.noticePosition).toBe(5n);
    const next = scene.restarted();
    next.book.notices([notice(2n), notice(4n), notice(6n)], T0);
    expect(scene.record.notifications.slice(3).map(({ content }) => content.summary)).toEqual(['lights are on (6)']);
  });

  it('goes to whoever wants its severity, and to nobody while it is silenced', () => {
    const scene = new Scene([route({ severities: ['critical'] })]).silence({ rule: 'quiet' }, T0 + 60_000);
    const critical = { severity: 'critical' };
    scene.book.notices([notice(1n), notice(2n, critical), notice(3n, { ...critical, rule: 'quiet' })], T0);
    expect(scene.record.notifications.map(({ content }) => content.summary)).toEqual(['lights are on (2)']);
    expect(scene.record.noticePosition).toBe(3n);
  });
});

describe('a restart', () => {
  it('repeats nothing, and tells the end of what was told', () => {
    const scene = new Scene().fires('a').wait(WAIT_MS).restarted().wait(INTERVAL_MS);
    expect(scene.told).toEqual(['hook firing: a firing']);
    expect(scene.ends('a').wait(INTERVAL_MS).told.slice(1)).toEqual(['hook resolved: a resolved']);
  });

  it('loses nothing that was not told yet', () => {
    const begun = new Scene().fires('a').wait(5_000).restarted();
    expect(begun.wait(WAIT_MS).told).toEqual(['hook firing: a firing']);
    const ended = begun.ends('a').restarted().wait(INTERVAL_MS);
    expect(ended.told.slice(1)).toEqual(['hook resolved: a resolved']);
  });

  it('with another receiver tells that one, and forgets the one that is gone', () => {
    const scene = new Scene()
      .fires('a')
      .wait(WAIT_MS)
      .restarted([route({ receiver: 'mail' })])
      .wait(WAIT_MS);
    expect(scene.told).toEqual(['hook firing: a firing', 'mail firing: a firing']);
    expect([...scene.record.told.keys()]).toEqual([`mail ${scene.id('a')}`]);
  });

  it('at any moment changes nothing of what is told in the end: each beginning once, each end once', () => {
    const happening = fc.oneof(
      fc.constantFrom('a', 'b', 'c').map((subject) => ['toggle', subject] as const),
      fc.integer({ min: 1, max: 400 }).map((seconds) => ['wait', seconds * 1_000] as const),
      fc.constant(['restart', 0] as const),
    );
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), (happenings) => {
        let scene = new Scene();
        const firing = new Set<string>();
        for (const [what, given] of happenings) {
          if (what === 'restart') scene = scene.restarted();
          else if (what === 'wait') scene.wait(given);
          else if (firing.delete(given)) scene.ends(given);
          else {
            firing.add(given);
            scene.fires(given);
          }
        }
        scene.wait(3 * INTERVAL_MS);
        const known = new Set<string>();
        for (const { content } of scene.record.notifications)
          for (const { id, status } of content.alerts)
            if (status === 'resolved') expect(known.delete(id)).toBe(true);
            else known.add(id);
        const firingNow = [...scene.record.alerts.values()]
          .filter(({ state }) => state === 'firing')
          .map(({ id }) => id);
        expect([...known].sort()).toEqual(firingNow.sort());
      }),
    );
  });
});
