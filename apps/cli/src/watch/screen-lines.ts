import { presenceStateSchema, type PresenceState } from '@muster/contract';
import { fitText, padText } from './terminal-text.ts';
import { levelOf, type Level, type Threshold } from './thresholds.ts';
import { countText, valueText, type Clock } from './value-text.ts';
import { ratesOf, type WatchedDevice, type WatchedReading, type WatchState } from './watch-model.ts';

/** How a piece of text stands out. */
export type Tone = 'plain' | 'dim' | 'strong' | 'bar' | 'good' | 'info' | 'warn' | 'critical';

/** A piece of a line in one tone; safe for a terminal. */
export interface Segment {
  readonly text: string;
  readonly tone: Tone;
}

/** A line of the screen, not wider than the window. */
export type Line = readonly Segment[];

/** What is watched; does not change while it is. */
export interface Source {
  /** Where values come from, as a title: `mqtt://127.0.0.1:1883`. */
  readonly title: string;
  readonly filters: readonly string[];
  /** What a total counts: a broker sends messages, the API readings. */
  readonly counts: 'messages' | 'readings';
  readonly thresholds: readonly Threshold[];
  readonly startedAtMs: number;
}

/** The window, and what of the list it shows. */
export interface Viewport {
  readonly columns: number;
  readonly rows: number;
  /** The first line of the list that is shown. */
  readonly top: number;
  readonly help: boolean;
  readonly nowMs: number;
}

/** A whole screen. */
export interface Screen {
  readonly lines: readonly Line[];
  /** The first line of the list that is shown, brought into its bounds. */
  readonly top: number;
  /** Lines of the list that fit. */
  readonly page: number;
}

const METRIC_COLUMNS = 20;
const VALUE_COLUMNS = { least: 12, most: 28 };
/** Time, QoS and a mark behind a value. */
const BEHIND_VALUE_COLUMNS = 32;
const DEVICE_COLUMNS = { least: 12, most: 30 };
const MAX_ALERTS = 4;

const PRESENCE_TONES: Readonly<Record<PresenceState, Tone>> = {
  online: 'good',
  asleep: 'info',
  stale: 'warn',
  offline: 'warn',
  lost: 'critical',
  unknown: 'dim',
};
const LEVEL_TONES: Readonly<Record<Level, Tone>> = { normal: 'plain', warn: 'warn', critical: 'critical' };
/** For whoever sees no colours. */
const LEVEL_MARKS: Readonly<Record<Level, string>> = { normal: '', warn: ' !', critical: ' !!' };
const SEVERITY_TONES = { info: 'info', warning: 'warn', critical: 'critical' } as const;

const HELP: readonly string[] = [
  'q  Ctrl-C        leave',
  '?                this help, and back',
  '↑ ↓  k j         a line',
  'PgUp PgDn Space  a page',
  'Home End  g G    the beginning, the end',
  '',
  'value !          beyond a threshold of level warn (yellow)',
  'value !!         beyond a threshold of level critical (red)',
  '[14:32:15]       when it came; by the device’s clock where it is late or stored',
  'QoS 0 1 2        as it was published; - where that is not known',
  'retained         the broker had kept it: older than its time',
  'stored           the API had it; late: it waited and came after newer ones',
  '',
  'online (birth, telemetry)   lost (will, overslept, expired, not-back)   offline (shutdown, update)   asleep (sleep)',
  'stale (silent): connected, and sends nothing   unknown (never-heard): no status yet, only values',
  'unknown (broker-lost, broker-restarted): nobody can know, its broker is or was away',
];

function segment(text: string, tone: Tone = 'plain'): Segment {
  return { text, tone };
}

/** Pieces side by side, cut where the window ends. */
function line(columns: number, ...segments: readonly Segment[]): Line {
  const kept: Segment[] = [];
  let left = columns;
  for (const { text, tone } of segments) {
    if (left <= 0) break;
    const fitted = fitText(text, left);
    if (fitted.text !== '') kept.push({ text: fitted.text, tone });
    left -= fitted.columns;
  }
  return kept;
}

function within(value: number, { least, most }: { readonly least: number; readonly most: number }): number {
  return Math.min(most, Math.max(least, value));
}

function deviceLine({ id, name, presence }: WatchedDevice, columns: number, clock: Clock, nowMs: number): Line {
  const label = name === null ? id : `${id} · ${name}`;
  const head = segment(`${padText(label, within(columns - 40, DEVICE_COLUMNS))}  `, 'strong');
  if (presence === null) return line(columns, head, segment('unknown (never-heard)', 'dim'));
  const { state, reason, sinceMs, explanation, replay } = presence;
  const since =
    sinceMs === null ? (replay === null ? '' : `  ${replay}`) : `  since ${clock.bracketed(sinceMs, nowMs)}`;
  return line(
    columns,
    head,
    segment(`${state} (${reason})`, PRESENCE_TONES[state]),
    segment(since),
    segment(`  ${explanation}`, 'dim'),
  );
}

function readingLine(reading: WatchedReading, source: Source, columns: number, clock: Clock, nowMs: number): Line {
  const { metric, value, unit, atMs, receivedAtMs, qos, replay, late } = reading;
  const level = levelOf(source.thresholds, metric, value);
  const valueColumns = within(columns - METRIC_COLUMNS - BEHIND_VALUE_COLUMNS, VALUE_COLUMNS);
  const mark = LEVEL_MARKS[level];
  const text = fitText(valueText(value, unit), valueColumns - mark.length).text + mark;
  const shownMs = late || replay === 'stored' ? atMs : receivedAtMs;
  return line(
    columns,
    segment(`  ${padText(metric, METRIC_COLUMNS - 3)} `),
    segment(padText(text, valueColumns), LEVEL_TONES[level]),
    segment(` ${clock.bracketed(shownMs, nowMs).padEnd(12)} QoS ${qos ?? '-'}`),
    segment(`${replay === null ? '' : `  ${replay}`}${late ? '  late' : ''}`, 'dim'),
  );
}

/** The lines of the list from `top` on, and how many there are in all. */
function listLines(
  state: WatchState,
  source: Source,
  { columns, nowMs }: Viewport,
  clock: Clock,
  top: number,
  page: number,
): readonly Line[] {
  const lines: Line[] = [];
  let at = 0;
  for (const id of state.order) {
    if (at >= top + page) break;
    const device = state.devices.get(id);
    if (device === undefined) continue;
    const height = 1 + device.readings.size;
    if (at + height > top) {
      if (at >= top) lines.push(deviceLine(device, columns, clock, nowMs));
      let readingAt = at + 1;
      for (const reading of device.readings.values()) {
        if (readingAt >= top && readingAt < top + page) lines.push(readingLine(reading, source, columns, clock, nowMs));
        readingAt += 1;
      }
    }
    at += height;
  }
  return lines.slice(0, page);
}

function listHeight({ devices }: WatchState): number {
  let height = 0;
  for (const { readings } of devices.values()) height += 1 + readings.size;
  return height;
}

function alertLines({ alerts }: WatchState, columns: number, clock: Clock, nowMs: number): readonly Line[] {
  if (alerts.fault !== null || alerts.firing === null || alerts.firing.length === 0) return [];
  const worstFirst = [...alerts.firing].sort(
    (left, right) =>
      SEVERITIES.indexOf(left.severity) - SEVERITIES.indexOf(right.severity) ||
      (left.startedAt < right.startedAt ? -1 : left.startedAt > right.startedAt ? 1 : 0),
  );
  const shown = worstFirst.slice(0, worstFirst.length > MAX_ALERTS ? MAX_ALERTS - 1 : MAX_ALERTS);
  const lines = shown.map(({ severity, summary, subject, rule, startedAt, acknowledgedAt }) =>
    line(
      columns,
      segment(severity.padEnd(10), SEVERITY_TONES[severity]),
      segment(`${subject}  `, 'strong'),
      segment(`${summary}  `),
      segment(
        `${rule}  since ${clock.bracketed(Date.parse(startedAt), nowMs)}${acknowledgedAt === null ? '' : '  acknowledged'}`,
        'dim',
      ),
    ),
  );
  const rest = worstFirst.length - shown.length;
  return rest === 0 ? lines : [...lines, line(columns, segment(`and ${rest} more alerts`, 'warn'))];
}

const SEVERITIES = ['critical', 'warning', 'info'];

function headLines({ feed }: WatchState, source: Source, { columns, nowMs }: Viewport, clock: Clock): readonly Line[] {
  const time = ` ${clock.time(nowMs)} `;
  const title = ` muster watch  ${source.title}  ${source.filters.join(' ')}`;
  const isWell = feed.state === 'live' || feed.state === 'polling';
  return [
    line(columns, segment(padText(title, Math.max(0, columns - time.length)) + time, 'bar')),
    line(columns, segment(` ${feed.text}`, isWell ? 'dim' : 'critical')),
  ];
}

function footLines(state: WatchState, source: Source, viewport: Viewport, clock: Clock, list: string): readonly Line[] {
  const { columns, nowMs } = viewport;
  const { totals, lastUpdateMs, alerts } = state;
  const { counts } = source;
  const rate = ratesOf(state, source.startedAtMs, nowMs)[counts];
  const name = counts === 'messages' ? 'Messages' : 'Readings';
  const { states, levels } = census(state, source.thresholds);
  const present = presenceStateSchema.options
    .filter((presence) => states[presence] > 0)
    .map((presence) => `${countText(states[presence])} ${presence}`);
  const odd = [
    ...(totals.unreadable > 0 ? [`${countText(totals.unreadable)} unreadable`] : []),
    ...(totals.notKept > 0 ? [`${countText(totals.notKept)} not kept`] : []),
  ].join(', ');
  return [
    line(
      columns,
      // The most important first: a narrow window cuts the rest.
      segment(` ${name} ${countText(totals[counts])}  ${rate.toFixed(1)}/s`, 'strong'),
      segment(`   Last update ${lastUpdateMs === null ? '-' : clock.bracketed(lastUpdateMs, nowMs)}`),
      segment(levels.critical > 0 ? `   ${levels.critical} critical` : '', 'critical'),
      segment(levels.warn > 0 ? `   ${levels.warn} warn` : '', 'warn'),
      segment(odd === '' ? '' : `   ${odd}`, 'warn'),
      segment(`   Devices ${countText(state.devices.size)}${present.length === 0 ? '' : `: ${present.join(', ')}`}`),
    ),
    line(
      columns,
      segment(` q quit  ? help  ↑↓ PgUp PgDn scroll  ${list}`, 'dim'),
      segment(alerts.fault === null ? '' : `  no alerts: ${alerts.fault}`, 'dim'),
    ),
  ];
}

interface Census {
  readonly states: Record<PresenceState, number>;
  readonly levels: Record<Level, number>;
}

function census({ devices }: WatchState, thresholds: readonly Threshold[]): Census {
  const states = { online: 0, asleep: 0, stale: 0, offline: 0, lost: 0, unknown: 0 };
  const levels = { normal: 0, warn: 0, critical: 0 };
  for (const { presence, readings } of devices.values()) {
    states[presence?.state ?? 'unknown'] += 1;
    for (const { metric, value } of readings.values()) levels[levelOf(thresholds, metric, value)] += 1;
  }
  return { states, levels };
}

/** The screen for a state: as many lines as the window has, none wider than it, nothing in them that steers it. */
export function screenLines(state: WatchState, source: Source, viewport: Viewport, clock: Clock): Screen {
  const { columns, rows, nowMs } = viewport;
  const head = headLines(state, source, viewport, clock);
  const alerts = viewport.help ? [] : alertLines(state, columns, clock, nowMs);
  const page = Math.max(1, rows - head.length - alerts.length - 2);
  const height = listHeight(state);
  const top = Math.max(0, Math.min(viewport.top, height - page));
  const body = viewport.help
    ? HELP.slice(0, page).map((text) => line(columns, segment(`  ${text}`)))
    : listLines(state, source, viewport, clock, top, page);
  const waiting = height === 0 && !viewport.help ? [line(columns, segment('  nothing has come yet', 'dim'))] : [];
  const blank = Array.from({ length: Math.max(0, page - body.length - waiting.length) }, (): Line => []);
  const list = height > page ? `${top + 1}–${Math.min(height, top + page)} of ${height}` : '';
  const lines = [...head, ...body, ...waiting, ...blank, ...alerts, ...footLines(state, source, viewport, clock, list)];
  // In a window that is too low the list matters least: its totals stand at the end.
  return { lines: rows < lines.length ? lines.slice(lines.length - rows) : lines, top, page };
}
