import type { GhostCause } from '@muster/contract';

/** What is known when a ghost appears. */
export interface GhostEvidence {
  /** Whether the broker had it when the watch began to look, and not only since. */
  readonly isReplay: boolean;
  readonly seenAtMs: number;
  /** When the topic was last known to be clear. */
  readonly clearSinceMs: number;
  /** When the broker was started; undefined where it does not tell. */
  readonly bootedAtMs: number | undefined;
  /** Bridges that are connected to the broker. */
  readonly bridges: readonly { readonly name: string; readonly sinceMs: number }[];
}

/** A bridge that has just connected brings what its side retains within this time. */
const BRIDGE_BRINGS_MS = 60_000;
/** An uptime is told in whole seconds, with a message's delay. */
const UPTIME_STEP_MS = 2_000;

/** Why a ghost is likely to be there (mqtt-pitfalls R10, R11, R12), as a sentence with the evidence. */
export function likelyCause(evidence: GhostEvidence): { readonly cause: GhostCause; readonly explanation: string } {
  const { isReplay, seenAtMs, clearSinceMs, bootedAtMs, bridges } = evidence;
  const bridge = bridges.find(({ sinceMs }) => seenAtMs - sinceMs < BRIDGE_BRINGS_MS && sinceMs <= seenAtMs + 5_000);
  if (bridge !== undefined)
    return {
      cause: 'bridge',
      explanation: `the bridge ${bridge.name} connected at ${instant(bridge.sinceMs)}, and brings what its broker retains; clear it there`,
    };
  if (!isReplay)
    return {
      cause: 'live-publish',
      explanation:
        'somebody published it: the device itself, a bridge, or a service that had kept it; the log of the broker has the client',
    };
  if (bootedAtMs !== undefined && bootedAtMs + UPTIME_STEP_MS > clearSinceMs)
    return {
      cause: 'broker-restart',
      explanation: `the broker started at ${instant(bootedAtMs)} with what it had saved before the topic was cleared`,
    };
  return { cause: 'found', explanation: 'it was on the broker when the watch looked; who brought it is not known' };
}

function instant(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** How far the clearing of one topic is. */
export interface ClearingPace {
  /** When it is to be cleared; undefined while there is nothing to clear. */
  readonly dueMs: number | undefined;
  readonly lastClearMs: number | undefined;
  readonly pauseMs: number;
}

/** Nothing has been cleared yet. */
export const FIRST_PACE: ClearingPace = { dueMs: undefined, lastClearMs: undefined, pauseMs: 0 };
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 300_000;
/** What has been away for so long is cleared at once again. */
const QUIET_MS = 600_000;

/** The topic has a message again: at once where it had none for long, else not before the pause has passed. */
export function appeared(pace: ClearingPace, nowMs: number): ClearingPace {
  if (pace.dueMs !== undefined) return pace;
  if (pace.lastClearMs === undefined || nowMs - pace.lastClearMs >= QUIET_MS) return { ...FIRST_PACE, dueMs: nowMs };
  return { ...pace, dueMs: Math.max(nowMs, pace.lastClearMs + pace.pauseMs) };
}

/**
 * The topic was tried: each time the pause doubles, up to five minutes, so that who publishes in a loop does not make us
 * clear in one.
 */
export function tried(pace: ClearingPace, nowMs: number, isClear: boolean): ClearingPace {
  const pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pace.pauseMs * 2));
  return { dueMs: isClear ? undefined : nowMs + pauseMs, lastClearMs: nowMs, pauseMs };
}

/** Whether a topic can be forgotten: it is clear, and has been for long. */
export function isForgotten({ dueMs, lastClearMs }: ClearingPace, nowMs: number): boolean {
  return dueMs === undefined && (lastClearMs === undefined || nowMs - lastClearMs >= QUIET_MS);
}
