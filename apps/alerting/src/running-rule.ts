import { WildcardIndex } from '@muster/contract';
import type { AlertState } from './alert-machine.ts';
import type { Condition } from './condition.ts';
import type { IncreaseWindow, RateWindow } from './windows.ts';

/** Something that people ask for has happened to one rule and one subject. */
export interface Step {
  readonly condition: Condition;
  readonly subject: string;
  readonly step: 'pending' | 'firing' | 'cancelled' | 'resolved';
  /** The state before where it ends, else the one after. */
  readonly state: Exclude<AlertState, { phase: 'inactive' }>;
  readonly value: number | null;
  readonly nowMs: number;
}

/** What does not depend on a device: a broker, ingestion, a certificate. */
export interface Measurement {
  readonly source: string;
  readonly subject: string;
  readonly value: number;
}

/** An alert that was open when the service stopped. */
export interface OpenState {
  readonly rule: string;
  readonly subject: string;
  readonly sinceMs: number;
  /** Null while it is pending. */
  readonly startedMs: number | null;
  readonly value: number | null;
}

/** A rule that is pending or firing for one subject. */
export interface Active {
  readonly state: Exclude<AlertState, { phase: 'inactive' }>;
  readonly value: number | null;
}

/** One rule in force, with what it remembers of its subjects. */
export interface Running {
  readonly condition: Condition;
  readonly active: Map<string, Active>;
  readonly rates: Map<string, RateWindow>;
  readonly increases: Map<string, IncreaseWindow>;
  /** When losses of devices are counted next. */
  readonly recounts: Map<string, number>;
  /** Devices whose silence is being watched: each has one entry in the schedule. */
  readonly watched: Set<string>;
  /** Those of them whose silence is long enough, if they were not heard since the last look. */
  readonly overdue: Set<string>;
  isRemoved: boolean;
}

/** A rule in force that has seen nothing yet. */
export function startRunning(condition: Condition): Running {
  return {
    condition,
    active: new Map(),
    rates: new Map(),
    increases: new Map(),
    recounts: new Map(),
    watched: new Set(),
    overdue: new Set(),
    isRemoved: false,
  };
}

/** What it is called when something that is pending or firing ends. */
export function endOf(state: Active['state']): 'resolved' | 'cancelled' {
  return state.phase === 'firing' ? 'resolved' : 'cancelled';
}

/** The rules in force, found by what they look at and whom they concern: those that do not match cost nothing. */
export class RulesInForce {
  #all: readonly Running[] = [];
  #bySource = new Map<string, WildcardIndex<Running>>();
  #absences = new WildcardIndex<Running>();

  get all(): readonly Running[] {
    return this.#all;
  }

  /** The metrics that rules look at. */
  get metrics(): ReadonlySet<string> {
    return new Set(
      this.#all.flatMap(({ condition: { rule } }) =>
        'metric' in rule && rule.metric !== undefined ? [rule.metric] : [],
      ),
    );
  }

  /** Puts rules in force instead of all before. */
  set(all: readonly Running[]): void {
    this.#all = all;
    this.#bySource = new Map();
    this.#absences = new WildcardIndex();
    for (const running of all) {
      const { source, subjects, rule } = running.condition;
      const ofSource = this.#bySource.get(source) ?? new WildcardIndex<Running>();
      this.#bySource.set(source, ofSource);
      ofSource.add(subjects, running);
      if (rule.kind === 'absence') this.#absences.add(subjects, running);
    }
  }

  /** A rule by its name. */
  find(name: string): Running | undefined {
    return this.#all.find(({ condition }) => condition.rule.name === name);
  }

  /** Rules that look at a source and concern a subject. */
  concerned(source: string, subject: string): readonly Running[] {
    return this.#bySource.get(source)?.matches(subject) ?? [];
  }

  /** Rules about the silence of a device. */
  absencesOf(device: string): readonly Running[] {
    return this.#absences.matches(device);
  }

  /** Whether a rule looks at a source. */
  uses(source: string): boolean {
    return this.#bySource.has(source);
  }

  /** The longest time over which a rule counts what comes from a source; 0 where none does. */
  longestWindowMs(source: string): number {
    const counting = this.#all.filter(({ condition }) => condition.source === source);
    return Math.max(0, ...counting.map(({ condition }) => condition.windowMs));
  }
}
