/** What an observation means to a rule: over the limit, neither (hysteresis), or well again. */
export type Verdict = 'breached' | 'between' | 'clear';

/** Where one rule stands with one subject; times are milliseconds since 1970. */
export type AlertState =
  | { readonly phase: 'inactive' }
  | { readonly phase: 'pending'; readonly sinceMs: number; readonly dueMs: number }
  | { readonly phase: 'firing'; readonly sinceMs: number; readonly startedMs: number };

/** One look at a subject. */
export interface Observation {
  readonly verdict: Verdict;
  readonly nowMs: number;
  /** Since when it is so, where that is known better than by looking now. */
  readonly sinceMs?: number;
  /** How long the breach must last before it fires. */
  readonly forMs: number;
  /** It must not fire before this time, however long it lasts; Infinity while its end is not known. */
  readonly notBeforeMs: number;
}

/** Where everything begins. */
export const INACTIVE: AlertState = { phase: 'inactive' };

/**
 * The next state. A breach fires when it has lasted for its time without a break; what fires ends only when the subject
 * is well again, not in between.
 */
export function observe(state: AlertState, observation: Observation): AlertState {
  const { verdict, nowMs, sinceMs = nowMs, forMs, notBeforeMs } = observation;
  switch (state.phase) {
    case 'inactive':
      if (verdict !== 'breached') return state;
      return elapse({ phase: 'pending', sinceMs, dueMs: Math.max(sinceMs + forMs, notBeforeMs) }, nowMs);
    case 'pending': {
      if (verdict !== 'breached') return INACTIVE;
      const dueMs = Math.max(state.sinceMs + forMs, notBeforeMs);
      return elapse(dueMs === state.dueMs ? state : { ...state, dueMs }, nowMs);
    }
    case 'firing':
      return verdict === 'clear' ? INACTIVE : state;
  }
}

/** The state when time has passed and nothing else has happened. */
export function elapse(state: AlertState, nowMs: number): AlertState {
  if (state.phase !== 'pending' || nowMs < state.dueMs) return state;
  return { phase: 'firing', sinceMs: state.sinceMs, startedMs: nowMs };
}

/** What people call the step from one state to another; undefined where nothing happened that anybody asks for. */
export function stepOf(
  before: AlertState,
  after: AlertState,
): 'pending' | 'firing' | 'cancelled' | 'resolved' | undefined {
  if (before.phase === after.phase) return undefined;
  switch (after.phase) {
    case 'pending':
      return 'pending';
    case 'firing':
      return 'firing';
    case 'inactive':
      return before.phase === 'firing' ? 'resolved' : 'cancelled';
  }
}
