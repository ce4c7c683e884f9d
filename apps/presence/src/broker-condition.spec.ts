import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  brokerAfter,
  hearingSinceMs,
  unheard,
  type BrokerCondition,
  type BrokerEvent,
  type BrokerVerdict,
  type BrokerView,
} from './broker-condition.ts';

type Step = readonly [atMs: number, event: BrokerEvent | ((atMs: number) => BrokerEvent)];

/** What was said of a broker after these events, and how it stands. */
function after(begin: BrokerView, ...steps: readonly Step[]): { view: BrokerView; verdicts: readonly string[] } {
  const verdicts: BrokerVerdict[] = [];
  let view = begin;
  for (const [atMs, event] of steps) {
    const next = brokerAfter(view, typeof event === 'function' ? event(atMs) : event, atMs);
    view = next.view;
    if (next.verdict !== undefined) verdicts.push(next.verdict);
  }
  return { view, verdicts: verdicts.map(({ kind }) => kind) };
}

const T = 2_000_000;
const BOOT = 1_000_000;
const connected: BrokerEvent = { kind: 'connected', hasSession: true };
const strange: BrokerEvent = { kind: 'connected', hasSession: false };
const disconnected: BrokerEvent = { kind: 'disconnected' };
const tick = (listeningSinceMs: number | null | undefined): BrokerEvent => ({ kind: 'tick', listeningSinceMs });
/** It says how long it has run, `lateMs` after it has found that out. */
const startedAt =
  (startedMs: number, lateMs = 0) =>
  (atMs: number): BrokerEvent => ({
    kind: 'uptime',
    uptime: { uptimeMs: atMs - lateMs - startedMs, toldAtMs: atMs },
  });
const known = unheard(T, { uptimeMs: T - BOOT, toldAtMs: T });
const old = unheard(T, { uptimeMs: 60_000, toldAtMs: T - 3_600_000 });
const fresh = unheard(T, null);

describe('a broker', () => {
  it.each<[string, BrokerView, readonly Step[], readonly string[], string]>([
    [
      'that is met for the first time',
      fresh,
      [
        [T + 100, strange],
        [T + 110, startedAt(BOOT)],
      ],
      ['back'],
      'heard',
    ],
    [
      'that tells what it has retained',
      known,
      [
        [T + 9_000, connected],
        [T + 9_010, startedAt(BOOT, 9_000)],
      ],
      ['back'],
      'heard',
    ],
    [
      'that was started while presence was away',
      known,
      [
        [T + 100, connected],
        [T + 110, startedAt(T - 5_000)],
      ],
      ['restarted'],
      'heard',
    ],
    [
      'that was started while presence was away, and has run longer since',
      old,
      [
        [T + 100, connected],
        [T + 110, startedAt(T - 1_800_000)],
      ],
      ['restarted'],
      'heard',
    ],
    [
      'that has run all the time presence was away',
      old,
      [
        [T + 100, connected],
        [T + 110, startedAt(T - 3_660_000)],
      ],
      ['back'],
      'heard',
    ],
    [
      'that does not answer',
      known,
      [
        [T + 1_999, tick(undefined)],
        [T + 2_000, tick(undefined)],
        [T + 3_000, tick(undefined)],
      ],
      ['lost'],
      'away',
    ],
    [
      'that tells no uptime and has the session',
      fresh,
      [
        [T + 100, connected],
        [T + 1_600, tick(null)],
      ],
      ['back'],
      'heard',
    ],
    [
      'that tells no uptime and has lost the session',
      fresh,
      [
        [T + 100, strange],
        [T + 1_600, tick(null)],
      ],
      ['restarted'],
      'heard',
    ],
    [
      'whose uptime cannot be listened to yet',
      known,
      [
        [T + 100, connected],
        [T + 20_000, tick(undefined)],
        [T + 20_010, startedAt(T + 5_000)],
      ],
      ['restarted'],
      'heard',
    ],
    [
      'whose uptime comes before its devices',
      known,
      [
        [T + 50, startedAt(T + 10)],
        [T + 60, startedAt(T + 10)],
        [T + 100, connected],
      ],
      ['restarted'],
      'heard',
    ],
    [
      'whose uptime is read late',
      fresh,
      [
        [T + 50, startedAt(BOOT)],
        [T + 100, connected],
        [T + 9_000, startedAt(T + 5_000)],
      ],
      ['back', 'restarted'],
      'heard',
    ],
  ])('%s', (_, begin, steps, verdicts, kind) => {
    const { view, verdicts: said } = after(begin, ...steps);
    expect([said, view.condition.kind]).toEqual([verdicts, kind]);
  });

  const heard = after(known, [T + 100, connected], [T + 110, startedAt(BOOT)]).view;
  const U = 3_000_000;

  it.each<[string, readonly Step[], readonly string[]]>([
    [
      'a moment without it is no loss',
      [
        [U, disconnected],
        [U + 1_000, tick(undefined)],
        [U + 1_500, connected],
        [U + 1_510, startedAt(BOOT)],
      ],
      ['back'],
    ],
    [
      'two seconds without it are one',
      [
        [U, disconnected],
        [U + 2_000, tick(undefined)],
        [U + 4_000, connected],
        [U + 4_010, startedAt(BOOT)],
      ],
      ['lost', 'back'],
    ],
    [
      'P6 a quick restart is one',
      [
        [U, disconnected],
        [U + 300, connected],
        [U + 310, startedAt(U + 200)],
      ],
      ['restarted'],
    ],
    [
      'a connection beside it that stood all the time has seen no end',
      [
        [U, disconnected],
        [U + 300, connected],
        [U + 310, tick(T)],
      ],
      ['back'],
    ],
    [
      'what is read late, because this process was stopped, is no restart',
      [
        [U, startedAt(BOOT)],
        [U + 30_000, startedAt(BOOT, 25_000)],
      ],
      [],
    ],
    [
      'a connection that fails again and again is lost once',
      [
        [U, disconnected],
        [U + 300, connected],
        [U + 310, disconnected],
        [U + 2_100, tick(undefined)],
        [U + 2_200, tick(undefined)],
      ],
      ['lost'],
    ],
  ])('when it is heard: %s', (_, steps, verdicts) => {
    expect(after(heard, ...steps).verdicts).toEqual(verdicts);
  });

  const event = fc.oneof(
    fc.constantFrom<BrokerEvent>(connected, strange, disconnected, tick(null), tick(undefined), tick(T)),
    fc.nat({ max: 4_000_000 }).map((startedMs) => startedAt(startedMs)),
  );

  it('is judged whenever it is connected for so long, whatever came before', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: 5_000 }), event)), (steps) => {
        let atMs = T;
        const timed = steps.map(([laterMs, one]): Step => [(atMs += laterMs), one]);
        const { view } = after(fresh, ...timed, [atMs + 1, connected], [atMs + 40_000, tick(undefined)]);
        expect(view.condition.kind).toBe('heard');
      }),
    );
  });
});

describe('a device that is silent would have been heard', () => {
  const heard: BrokerCondition = { kind: 'heard', sinceMs: T };
  const heardLater: BrokerCondition = { kind: 'heard', sinceMs: T + 5_000 };
  const judged: BrokerCondition = { kind: 'judged', connectedMs: T, awaySinceMs: T, hasSession: true };
  const away = (minutes: number): BrokerCondition => ({
    ...{ kind: 'away', sinceMs: T + 60_000 - minutes * 60_000, isTold: true },
  });

  it.each<[string, BrokerCondition, BrokerCondition, number | undefined]>([
    ['since the last of its broker and the others is heard', heard, heardLater, T + 5_000],
    ['not while its own broker is away, however long', away(60), heard, undefined],
    ['not while its own broker is judged', judged, heard, undefined],
    ['not while another one is judged', heard, judged, undefined],
    ['not while another one, where it may have gone, is away for a moment', heard, away(1), undefined],
    ['not while another one is away for 15 minutes', heard, away(15), undefined],
    ['when another one is away for longer: nobody waits for it for ever', heard, away(16), T],
  ])('%s', (_, own, other, expected) => {
    const conditions = new Map([
      ['own', own],
      ['other', other],
    ]);
    expect(hearingSinceMs(conditions, 'own', T + 60_000)).toBe(expected);
  });
});
