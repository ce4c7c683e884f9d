import {
  storableText,
  type Evidence,
  type PresenceFlag,
  type PresenceReason,
  type PresenceState,
} from '@muster/contract';

/** The presence of one device; times are milliseconds since 1970. */
export interface PresenceRecord {
  readonly state: PresenceState;
  readonly reason: PresenceReason;
  readonly sinceMs: number;
  /** The newest session known; null for devices that send none. */
  readonly session: number | null;
  /** The last eight sessions that a newer one replaced, newest last. */
  readonly superseded: readonly number[];
  readonly wakeExpectedAtMs: number | null;
  /**
   * Until when it is believed without another word: a sleeper comes back in time, a birth with an expiry is renewed, and
   * who was behind a broker that was started anew connects to it again.
   */
  readonly dueAtMs: number | null;
  /** What it was when its broker was lost; null while that is heard. */
  readonly interrupted: Interrupted | null;
  /** Brokers that the device has left, and that retain its status in Muster's words. */
  readonly mirrors: readonly string[];
  /** How far apart its messages were; null where too few have come to say. */
  readonly learnedIntervalMs: number | null;
  readonly flags: readonly RaisedFlag[];
  readonly evidence: Evidence;
}

/** What a device was when its broker was lost, to which it returns where nothing else is said. */
export interface Interrupted {
  readonly state: 'online' | 'stale';
  readonly reason: PresenceReason;
  readonly dueAtMs: number | null;
  /** The will that the broker published as it ended, or that it retains; null where none was heard. */
  readonly will: Evidence | null;
}

/** Something that is wrong with the way in which a device comes and goes. */
export interface RaisedFlag {
  readonly flag: PresenceFlag['flag'];
  readonly sinceMs: number;
  /** What was counted, as a sentence. */
  readonly evidence: string;
}

/** What a message, or time, did to a device's presence. */
export type Decision = Change | { readonly kind: 'confirmed' } | { readonly kind: 'ignored'; readonly rule: string };

/** A decision that is to be written. */
export type Change =
  | { readonly kind: 'changed'; readonly record: PresenceRecord; readonly from: PresenceState }
  /** The state stays; what is known beside it is new. */
  | { readonly kind: 'renewed'; readonly record: PresenceRecord };

/** A change into another state at a time; what belonged to the state before is over. */
export function changedTo(
  before: PresenceRecord,
  state: PresenceState,
  reason: PresenceReason,
  atMs: number,
  evidence: Evidence,
): Extract<Change, { kind: 'changed' }> {
  const record = { ...before, state, reason, evidence, sinceMs: atMs };
  return {
    kind: 'changed',
    from: before.state,
    record: { ...record, wakeExpectedAtMs: null, dueAtMs: null, interrupted: null },
  };
}

/** At most 200 characters without control characters, which neither a page nor a jsonb column can take. */
export function printable(payload: string): string {
  return storableText(payload, 200).replace(/[\u0001-\u001f\u007f]/g, '\uFFFD');
}
