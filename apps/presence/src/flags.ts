import type { PresenceReason } from '@muster/contract';
import type { PresenceRecord, RaisedFlag } from './presence-record.ts';

/** One coming or going of a device, of its own doing. */
export interface Move {
  readonly atMs: number;
  /** Whether a birth came while its last connection still stood, or as that was taken from it. */
  readonly isTakeover: boolean;
  /** Whether its session is an older one than that before it. */
  readonly isReset: boolean;
  readonly hasSession: boolean;
}

/** So far back what comes and goes is counted. */
export const MOVES_WINDOW_MS = 10 * 60_000;
/** More changes than this in the window are flapping; it is over when less than half of them are left. */
const MAX_MOVES = 10;
/** Two devices with one client id take its connection from each other every 1 to 4 s (mqtt-pitfalls P12). */
const DUEL_WINDOW_MS = 60_000;
const DUEL_TAKEOVERS = 4;
/** A counter may be reset; twice in a minute it has two owners. */
const DUEL_RESETS = 2;
/** The will of a connection that is taken over comes right before the birth of the one that takes it (mqtt-pitfalls P1). */
const TAKEOVER_MS = 300;
/** More than this is not needed to decide, however wildly a device behaves. */
const KEPT_MOVES = 64;

/** The reasons of changes that were a device's own doing. */
const OWN_REASONS: ReadonlySet<PresenceReason> = new Set(['birth', 'will', 'shutdown', 'sleep', 'update']);

/** A change of presence as it is on record. */
export type StoredTransition = Pick<PresenceRecord, 'state' | 'reason' | 'sinceMs' | 'session'> & {
  readonly from: PresenceRecord['state'];
};

/** The moves that changes on record were, oldest first; takeovers without a session number are not among them. */
export function movesOf(transitions: readonly StoredTransition[]): readonly Move[] {
  return transitions.flatMap((transition, index) => {
    if (!OWN_REASONS.has(transition.reason)) return [];
    const last = transitions[index - 1];
    const before = last === undefined ? undefined : { ...last, state: transition.from };
    const { reason, session, sinceMs: receivedAtMs } = transition;
    return [moveOf(before, { isBirth: reason === 'birth', session: session ?? undefined, receivedAtMs })];
  });
}

/** The move that a live status message of a device is. */
export function moveOf(
  before: Pick<PresenceRecord, 'state' | 'reason' | 'sinceMs' | 'session'> | undefined,
  status: { readonly isBirth: boolean; readonly session: number | undefined; readonly receivedAtMs: number },
): Move {
  const { isBirth, session, receivedAtMs } = status;
  const wasConnected = before?.state === 'online' || before?.state === 'stale';
  const wasCutNow = before?.reason === 'will' && receivedAtMs - before.sinceMs < TAKEOVER_MS;
  const known = before?.session ?? null;
  return {
    atMs: receivedAtMs,
    isTakeover: isBirth && (wasConnected || wasCutNow),
    isReset: isBirth && session !== undefined && known !== null && session < known,
    hasSession: session !== undefined,
  };
}

/** The moves that still count, with one more. */
export function recentMoves(moves: readonly Move[], more: Move | undefined, nowMs: number): readonly Move[] {
  const all = more === undefined ? moves : [...moves, more];
  return all.filter(({ atMs }) => atMs > nowMs - MOVES_WINDOW_MS).slice(-KEPT_MOVES);
}

/** The flags that a device's moves raise, or keep up; one that stands keeps the time when it was raised. */
export function flagsOf(standing: readonly RaisedFlag[], moves: readonly Move[], nowMs: number): readonly RaisedFlag[] {
  const raised = (flag: RaisedFlag['flag'], evidence: string): RaisedFlag =>
    standing.find((one) => one.flag === flag) ?? { flag, sinceMs: nowMs, evidence };
  const isStanding = (flag: RaisedFlag['flag']): boolean => standing.some((one) => one.flag === flag);
  const duel = moves.filter(({ atMs, isTakeover }) => isTakeover && atMs > nowMs - DUEL_WINDOW_MS);
  const resets = duel.filter(({ isReset }) => isReset).length;
  const isDuel =
    duel.length >= DUEL_TAKEOVERS && (resets >= DUEL_RESETS || duel.every(({ hasSession }) => !hasSession));
  if (isDuel || (isStanding('duplicate-client-id') && duel.length > 0)) {
    const how =
      resets >= DUEL_RESETS
        ? `, with sessions that ${resets} times went back: two counters`
        : ', none of which has a number';
    return [raised('duplicate-client-id', `${duel.length} connections in a minute took over the one before${how}`)];
  }
  const least = isStanding('flapping') ? MAX_MOVES / 2 : MAX_MOVES + 1;
  if (moves.length < least) return [];
  return [raised('flapping', `came and went ${moves.length} times within ${MOVES_WINDOW_MS / 60_000} minutes`)];
}
