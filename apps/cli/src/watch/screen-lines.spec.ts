import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FiringAlert } from './firing-alerts.ts';
import { screenLines, type Line, type Source, type Viewport } from './screen-lines.ts';
import { fitText } from './terminal-text.ts';
import { parseThreshold } from './thresholds.ts';
import { Clock } from './value-text.ts';
import { advance, emptyState, type ReceivedEvent, type WatchedReading, type WatchState } from './watch-model.ts';

const NOW = Date.parse('2026-11-22T14:32:16.000Z');
const AT = NOW - 1_000;
const clock = new Clock('UTC');

const source: Source = {
  title: 'mqtt://127.0.0.1:1883',
  filters: ['home/#'],
  counts: 'messages',
  thresholds: ['temp>30', 'temp>40:critical'].map(parseThreshold),
  startedAtMs: NOW - 10_000,
};
const window: Viewport = { columns: 100, rows: 12, top: 0, help: false, nowMs: NOW };

function reading(metric: string, value: WatchedReading['value'], other: Partial<WatchedReading> = {}): WatchedReading {
  return { metric, value, unit: null, atMs: AT, receivedAtMs: AT, qos: 0, replay: null, late: false, ...other };
}

function readings(device: string, ...values: readonly WatchedReading[]): ReceivedEvent {
  return { kind: 'readings', device, readings: values, receivedAtMs: AT };
}

function after(...events: readonly ReceivedEvent[]): WatchState {
  return advance(emptyState, events).state;
}

function textOf(line: Line): string {
  return line
    .map(({ text }) => text)
    .join('')
    .trimEnd();
}

function shown(state: WatchState, viewport: Partial<Viewport> = {}, about: Partial<Source> = {}): readonly string[] {
  return screenLines(state, { ...source, ...about }, { ...window, ...viewport }, clock).lines.map(textOf);
}

const lab: readonly ReceivedEvent[] = [
  { kind: 'feed', feed: { state: 'live', text: 'connected' }, receivedAtMs: AT },
  {
    kind: 'presence',
    device: 'lab1',
    presence: {
      ...{ state: 'lost', reason: 'will', explanation: 'its will was published', session: 7, replay: null },
      sinceMs: AT - 5_000,
    },
    receivedAtMs: AT,
  },
  readings('lab1', reading('temperature', 22.5, { unit: '°C' }), reading('humidity', 45.3, { unit: '%', qos: 1 })),
];

describe('the screen', () => {
  it('has devices with presence and reason, last values with time and QoS, totals and the last update', () => {
    expect(shown(after(...lab))).toEqual([
      ' muster watch  mqtt://127.0.0.1:1883  home/#                                               14:32:16',
      ' connected',
      'lab1                            lost (will)  since [14:32:10]  its will was published',
      '  temperature       22.5 °C                      [14:32:15]   QoS 0',
      '  humidity          45.3 %                       [14:32:15]   QoS 1',
      ...['', '', '', '', ''],
      ' Messages 2  0.2/s   Last update [14:32:15]   Devices 1: 1 lost',
      ' q quit  ? help  ↑↓ PgUp PgDn scroll',
    ]);
  });

  it.each([
    ['no threshold is reached', 22.5, 'plain', '22.5'],
    ['one of level warn', 30.5, 'warn', '30.5 !'],
    ['one of level critical', 41, 'critical', '41 !!'],
  ])('colours and marks a value where %s', (_, value, tone, text) => {
    const { lines } = screenLines(after(readings('lab1', reading('temp', value))), source, window, clock);
    const [, valueSegment] = lines[3] ?? [];
    expect([valueSegment?.tone, valueSegment?.text.trim()]).toEqual([tone, text]);
  });

  it('says of a value that it was retained, stored or late, and what is not known of it', () => {
    const state = after(
      readings(
        'lab1',
        reading('a', true, { replay: 'retained', qos: 1 }),
        reading('b', 'ON', { replay: 'stored', qos: null, atMs: AT - 60_000 }),
        reading('c', 1e-9, { late: true, atMs: AT - 86_400_000 }),
        reading('d', 1, { late: true, atMs: 1e300 }),
      ),
    );
    const lines = shown(state).map((line) => line.replace(/ +/g, ' ').trim());
    expect(lines.slice(3, 7)).toEqual([
      'a true [14:32:15] QoS 1 retained',
      'b ON [14:31:15] QoS - stored',
      'c 1.00e-9 [2026-11-21] QoS 0 late',
      'd 1 [no date] QoS 0 late',
    ]);
  });

  it('says that the feed is away, in red', () => {
    const text = 'the broker does not answer: connect ECONNREFUSED 127.0.0.1:1883';
    const state = after({ kind: 'feed', feed: { state: 'away', text }, receivedAtMs: AT });
    expect(screenLines(state, source, window, clock).lines[1]).toEqual([{ text: ` ${text}`, tone: 'critical' }]);
  });

  it('lists alerts, the worst first, and says where they are not known', () => {
    const alert = (id: string, severity: FiringAlert['severity'], summary: string): FiringAlert => ({
      ...{ id, rule: 'rule-1', severity, subject: 'lab1', summary, state: 'firing' },
      ...{ startedAt: '2026-11-22T14:00:00.000Z', acknowledgedAt: null },
    });
    const firing = [alert('a', 'info', 'calm'), alert('b', 'critical', 'hot\u001b[2J'), alert('c', 'warning', 'warm')];
    const state = after(...lab, { kind: 'alerts', firing, receivedAtMs: AT });
    expect(shown(state).slice(7, 10)).toEqual([
      'critical  lab1  hot\uFFFD[2J  rule-1  since [14:00:00]',
      'warning   lab1  warm  rule-1  since [14:00:00]',
      'info      lab1  calm  rule-1  since [14:00:00]',
    ]);
    const many = Array.from({ length: 9 }, (_, index) => alert(`n${index}`, 'warning', 'warm'));
    expect(shown(after(...lab, { kind: 'alerts', firing: many, receivedAtMs: AT }))[9]).toBe('and 6 more alerts');
    const away = advance(state, [{ kind: 'no-alerts', fault: 'the API has none', receivedAtMs: AT }]).state;
    expect(shown(away)[11]).toContain('no alerts: the API has none');
    expect(shown(away).join('\n')).not.toContain('critical  lab1');
  });

  it('shows a page of the list from where it was scrolled to, never beyond its ends', () => {
    const state = after(...Array.from({ length: 20 }, (_, index) => readings(`d${index + 1}`, reading('temp', index))));
    const list = (top: number): readonly [number, string, string] => {
      const screen = screenLines(state, source, { ...window, top }, clock);
      const lines = screen.lines.map(textOf);
      return [screen.top, lines[2]?.trim().split(/ +/, 2).join(' ') ?? '', lines.at(-1)?.split('scroll  ')[1] ?? ''];
    };
    expect(list(0)).toEqual([0, 'd1 unknown', '1–8 of 40']);
    expect(list(1)).toEqual([1, 'temp 0', '2–9 of 40']);
    expect(list(2)).toEqual([2, 'd2 unknown', '3–10 of 40']);
    expect(list(1_000)).toEqual([32, 'd17 unknown', '33–40 of 40']);
    expect(list(-5)).toEqual([0, 'd1 unknown', '1–8 of 40']);
  });

  it('has help in place of the list', () => {
    const lines = shown(after(...lab), { help: true, rows: 24 });
    expect(lines.join('\n')).toContain('leave');
    expect(lines.join('\n')).not.toContain('temperature');
  });

  it('says that nothing has come yet', () => {
    expect(shown(emptyState)[2]).toBe('  nothing has come yet');
    expect(shown(emptyState).at(-2)).toBe(' Messages 0  0.0/s   Last update -   Devices 0');
  });

  it('has as many lines as the window, none wider than it and nothing that steers it, whatever comes', () => {
    const text = fc.string({ unit: 'binary', maxLength: 40 });
    const value = fc.oneof(text, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean());
    const event = fc.oneof(
      fc.tuple(text, text, value).map(([id, metric, found]) => readings(id, reading(metric, found))),
      fc.tuple(text, text).map(([device, name]): ReceivedEvent => ({ kind: 'named', device, name, receivedAtMs: AT })),
      text.map((fault): ReceivedEvent => ({ kind: 'no-alerts', fault, receivedAtMs: AT })),
    );
    const size = fc.record({ columns: fc.integer({ min: 1, max: 120 }), rows: fc.integer({ min: 1, max: 30 }) });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), size, fc.boolean(), fc.nat(50), (events, viewport, help, top) => {
        const { lines } = screenLines(after(...events), source, { ...window, ...viewport, help, top }, clock);
        expect(lines).toHaveLength(viewport.rows);
        for (const line of lines) {
          const joined = line.map((piece) => piece.text).join('');
          expect(line.reduce((sum, piece) => sum + fitText(piece.text, 1_000).columns, 0)).toBeLessThanOrEqual(
            viewport.columns,
          );
          expect(joined).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
        }
      }),
    );
  });
});
