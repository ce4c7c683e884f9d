import { alertDurationMs, matchesLabels, type MaintenanceSchedule, type Matchers } from '@muster/contract';
import { Cron } from 'croner';

/** A silence; times are milliseconds since 1970. */
export interface SilenceEntry {
  readonly id: string;
  readonly matchers: Matchers;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly why: string;
  readonly who: string;
  readonly createdMs: number;
}

/** A maintenance window. */
export interface MaintenanceEntry {
  readonly name: string;
  readonly matchers: Matchers;
  readonly schedule: MaintenanceSchedule;
  readonly why: string;
  readonly who: string;
  readonly createdMs: number;
}

/** Where a maintenance window stands at a time. */
export interface WindowPosition {
  readonly isOpen: boolean;
  /** When it opens next; undefined where it never will. */
  readonly opensMs: number | undefined;
  /** When its position is to be looked at again. */
  readonly changesMs: number | undefined;
}

/** A cron expression is none, or never happens. */
export class ScheduleError extends Error {
  override readonly name = 'ScheduleError';
  readonly code = 'schedule';
}

function cronOf(pattern: string, timeZone: string): Cron {
  return new Cron(pattern, { timezone: timeZone, mode: '5-part', paused: true });
}

/**
 * Refuses a schedule that cannot be followed.
 * @throws ScheduleError
 */
export function checkSchedule(schedule: MaintenanceSchedule, nowMs: number): void {
  if (!('cron' in schedule)) {
    if (Date.parse(schedule.until) <= nowMs) throw new ScheduleError('until: expected a time to come');
    return;
  }
  if (alertDurationMs(schedule.duration) < 60_000) throw new ScheduleError('duration: expected at least 1m');
  let next: Date | null;
  try {
    next = cronOf(schedule.cron, schedule.timeZone).nextRun(new Date(nowMs));
  } catch (error) {
    throw new ScheduleError(
      `cron: expected minute, hour, day of month, month, day of week, such as "0 22 * * 6": ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
  if (next === null) throw new ScheduleError('cron: there is no such time');
}

/** Where a window stands. Windows of one schedule may overlap: it is open while any of them is. */
export function positionOf(schedule: MaintenanceSchedule, nowMs: number): WindowPosition {
  if (!('cron' in schedule)) {
    const fromMs = Date.parse(schedule.from);
    const untilMs = Date.parse(schedule.until);
    if (nowMs < fromMs) return { isOpen: false, opensMs: fromMs, changesMs: fromMs };
    const isOpen = nowMs < untilMs;
    return { isOpen, opensMs: undefined, changesMs: isOpen ? untilMs : undefined };
  }
  const cron = cronOf(schedule.cron, schedule.timeZone);
  const durationMs = alertDurationMs(schedule.duration);
  const opensMs = cron.nextRun(new Date(nowMs))?.getTime();
  const begunMs = cron.nextRun(new Date(nowMs - durationMs))?.getTime();
  const isOpen = begunMs !== undefined && begunMs <= nowMs;
  return { isOpen, opensMs, changesMs: isOpen ? begunMs + durationMs : opensMs };
}

/** Whether a silence holds. */
export function isActive({ fromMs, untilMs }: SilenceEntry, nowMs: number): boolean {
  return fromMs <= nowMs && nowMs < untilMs;
}

/** For what nobody is told of alerts: silences, and maintenance windows that are open. */
export class Mutes {
  readonly silences = new Map<string, SilenceEntry>();
  readonly windows = new Map<string, MaintenanceEntry>();
  readonly #positions = new Map<string, WindowPosition>();

  /** What an alert with these labels is muted by now: the id of a silence, `maintenance NAME`, or null. */
  muteOf(labels: Readonly<Record<string, string>>, nowMs: number): string | null {
    for (const silence of this.silences.values())
      if (isActive(silence, nowMs) && matchesLabels(silence.matchers, labels)) return silence.id;
    for (const { name, matchers, schedule } of this.windows.values())
      if (this.#position(name, schedule, nowMs).isOpen && matchesLabels(matchers, labels)) return `maintenance ${name}`;
    return null;
  }

  /** When any of them begins or ends next. */
  nextChangeMs(nowMs: number): number | undefined {
    const times = [
      ...[...this.silences.values()].flatMap(({ fromMs, untilMs }) => [fromMs, untilMs]),
      ...[...this.windows.values()].map(({ name, schedule }) => this.#position(name, schedule, nowMs).changesMs),
    ].filter((atMs) => atMs !== undefined && atMs > nowMs);
    return times.length === 0 ? undefined : Math.min(...(times as number[]));
  }

  /** Puts a window in force, instead of one of the same name. */
  setWindow(window: MaintenanceEntry): void {
    this.#positions.delete(window.name);
    this.windows.set(window.name, window);
  }

  /** Takes a window away; answers whether there was one. */
  removeWindow(name: string): boolean {
    this.#positions.delete(name);
    return this.windows.delete(name);
  }

  /** Where cron expressions stand is computed once for each change, not for each alert. */
  #position(name: string, schedule: MaintenanceSchedule, nowMs: number): WindowPosition {
    const known = this.#positions.get(name);
    if (known !== undefined && (known.changesMs === undefined || nowMs < known.changesMs)) return known;
    const position = positionOf(schedule, nowMs);
    this.#positions.set(name, position);
    return position;
  }
}
