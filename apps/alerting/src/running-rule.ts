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
    isRemoved: false,
  };
}

/** What it is called when something that is pending or firing ends. */
export function endOf(state: Active['state']): 'resolved' | 'cancelled' {
  return state.phase === 'firing' ? 'resolved' : 'cancelled';
}
