import { Cron } from 'croner';
import { getTimes } from 'suncalc';
import type { Rule } from '@muster/contract';
import type { CompiledRule } from './compiled-rule.ts';

/** Where sunrise and sunset are, in degrees. */
export interface Position {
  readonly latitude: number;
  readonly longitude: number;
}

type SunTrigger = Extract<Rule['triggers'][number], { kind: 'sun' }>;

const DAY_MS = 86_400_000;
/** A timer of Node waits 24 days at most, and a clock may be set: look again at least so often. */
const LOOK_AGAIN_MS = 3_600_000;

/**
 * The next time of sunrise or sunset with its offset, strictly after `afterMs`. Undefined where the sun neither rises
 * nor sets within a year.
 */
export function nextSunTime(
  trigger: Pick<SunTrigger, 'sun' | 'offset'>,
  position: Position,
  afterMs: number,
): number | undefined {
  for (let day = -1; day <= 366; day += 1) {
    const time = getTimes(new Date(afterMs + day * DAY_MS), position.latitude, position.longitude)[trigger.sun];
    const dueMs = time === null ? Number.NaN : time.getTime() + trigger.offset;
    if (dueMs > afterMs) return dueMs;
  }
  return undefined;
}

/** Calls back at the times that rules name; a time that passes while nobody runs is not made up for. */
export class Schedules {
  #stops: (() => void)[] = [];

  constructor(
    private readonly timeZone: string,
    private readonly position: Position | undefined,
    private readonly onTime: (rule: string, trigger: number) => void,
    private readonly onFault: (rule: string, message: string) => void,
  ) {}

  /** Takes the rules that are in force from now on. */
  use(rules: readonly CompiledRule[]): void {
    this.close();
    for (const { rule } of rules) {
      for (const [index, trigger] of rule.triggers.entries()) {
        if (trigger.kind === 'schedule') this.#cron(rule, index, trigger.schedule, trigger.timezone);
        if (trigger.kind === 'sun') this.#sun(rule.id, index, trigger);
      }
    }
  }

  /** Calls nobody any more. */
  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #cron(rule: Rule, index: number, schedule: string, timeZone: string | undefined): void {
    const options = { timezone: timeZone ?? rule.timezone ?? this.timeZone, unref: true };
    const cron = new Cron(schedule, options, () => this.onTime(rule.id, index));
    this.#stops.push(() => cron.stop());
  }

  #sun(rule: string, index: number, trigger: SunTrigger): void {
    const { latitude = this.position?.latitude, longitude = this.position?.longitude } = trigger;
    if (latitude === undefined || longitude === undefined) {
      this.onFault(
        rule,
        `${trigger.sun} needs a place: latitude and longitude of the trigger, or MUSTER_LATITUDE and MUSTER_LONGITUDE`,
      );
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const wait = (afterMs: number): void => {
      const dueMs = nextSunTime(trigger, { latitude, longitude }, afterMs);
      if (dueMs === undefined) {
        this.onFault(rule, `there is no ${trigger.sun} within a year at ${latitude}, ${longitude}`);
        return;
      }
      const look = (): void => {
        const restMs = dueMs - Date.now();
        if (restMs > 0) {
          timer = setTimeout(look, Math.min(restMs, LOOK_AGAIN_MS));
          return;
        }
        this.onTime(rule, index);
        wait(dueMs);
      };
      look();
    };
    wait(Date.now());
    this.#stops.push(() => clearTimeout(timer));
  }
}
