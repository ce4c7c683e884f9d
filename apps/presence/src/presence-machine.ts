import {
  storableText,
  type Evidence,
  type PresenceReason,
  type PresenceState,
  type StatusMessage,
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
  /** Until when it is believed without another word: a sleeper comes back in time, a birth with an expiry is renewed. */
  readonly dueAtMs: number | null;
  readonly evidence: Evidence;
}

/** A status message with the circumstances of its receipt. */
export interface StatusInput {
  readonly message: StatusMessage;
  readonly receivedAtMs: number;
  /** A replay of retained state: true of some time before. */
  readonly retained: boolean;
  readonly broker: string;
  readonly topic: string;
  readonly payload: string;
  /** What was left of the message's life when it came (MQTT 5, section 3.3.2.3.3); undefined where it has no end. */
  readonly expirySeconds: number | undefined;
}

/** What a message, or time, did to a device's presence. */
export type Decision =
  | { readonly kind: 'changed'; readonly record: PresenceRecord; readonly from: PresenceState }
  /** Nothing is new but until when it is believed. */
  | { readonly kind: 'renewed'; readonly record: PresenceRecord }
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'ignored'; readonly rule: string };

const SUPERSEDED_KEPT = 8;
/** A board's sleep is not exact: it is overdue after so many times what it announced (docs/presence.md). */
const SLEEP_TOLERANCE = 1.5;
/** Devices come back one after the other: so long after every broker is heard (again), silence means nothing. */
const HEARING_GRACE_MS = 30_000;

/**
 * The rules by which a status message changes presence (docs/presence.md). A live birth always wins; a replayed birth
 * and every offline count only if their session is not an older one; a will never takes back a stated goodbye.
 */
export function decide(before: PresenceRecord | undefined, input: StatusInput): Decision {
  const { message } = input;
  const session = message.session ?? null;
  const isOld =
    before !== undefined &&
    session !== null &&
    (before.superseded.includes(session) || (before.session !== null && session < before.session));

  if (isLeftBehind(before, input))
    return { kind: 'ignored', rule: 'what is retained was believed until its time was over' };
  if (message.kind === 'birth') {
    if (input.retained && isOld) return { kind: 'ignored', rule: 'a retained birth of an older session is left over' };
    const isReset = !input.retained && before?.session != null && session !== null && session < before.session;
    const rule = isReset
      ? `a live birth wins; its session ${session} is lower than ${before.session}: the counter was reset`
      : input.retained
        ? 'the broker holds a birth that nothing contradicts'
        : 'a live birth wins';
    return changed(before, input, { state: 'online', reason: 'birth', rule });
  }
  if (isElsewhere(before, input))
    return { kind: 'ignored', rule: 'an offline at another broker than the birth says nothing about its connection' };
  if (isOld) return { kind: 'ignored', rule: 'an offline of an older session says nothing about the current one' };
  if (message.kind === 'graceful') {
    return changed(before, input, {
      state: message.reason === 'sleep' ? 'asleep' : 'offline',
      reason: message.reason,
      rule: 'the device said why it leaves',
    });
  }
  const saidGoodbye = before?.state === 'offline' || before?.state === 'asleep';
  if (saidGoodbye && !isNews(before, session))
    return { kind: 'ignored', rule: 'a will after a stated goodbye adds nothing' };
  return changed(before, input, {
    state: 'lost',
    reason: 'will',
    rule: 'offline without a stated reason counts as the will',
  });
}

function changed(
  before: PresenceRecord | undefined,
  input: StatusInput,
  next: { readonly state: PresenceState; readonly reason: PresenceReason; readonly rule: string },
): Decision {
  const said = input.message.session ?? null;
  const session = said ?? before?.session ?? null;
  const isSame =
    before !== undefined && before.state === next.state && before.reason === next.reason && before.session === session;
  const { message } = input;
  const wakeInMs = message.kind === 'graceful' ? (message.wakeInSeconds ?? 0) * 1000 : 0;
  const wakeExpectedAtMs = wakeInMs > 0 ? input.receivedAtMs + wakeInMs : null;
  const dueAtMs =
    message.kind === 'birth' && input.expirySeconds !== undefined
      ? input.receivedAtMs + input.expirySeconds * 1000
      : wakeInMs > 0
        ? input.receivedAtMs + wakeInMs * SLEEP_TOLERANCE
        : null;
  const evidence: Evidence = {
    broker: input.broker,
    topic: input.topic,
    payload: printable(input.payload),
    retained: input.retained,
    rule: next.rule,
  };
  if (isSame) {
    const hasMoved = message.kind === 'birth' && !input.retained && before.evidence.broker !== input.broker;
    if (hasMoved) return { kind: 'renewed', record: { ...before, dueAtMs, evidence } };
    // When a goodbye that is replayed was said, nobody knows.
    const isRenewed = dueAtMs !== before.dueAtMs && !(input.retained && message.kind === 'graceful');
    return isRenewed ? { kind: 'renewed', record: { ...before, wakeExpectedAtMs, dueAtMs } } : { kind: 'confirmed' };
  }
  const replaced = before?.session != null && before.session !== session ? [before.session] : [];
  const superseded = [...(before?.superseded ?? []), ...replaced]
    .filter((old) => old !== session)
    .slice(-SUPERSEDED_KEPT);
  return {
    kind: 'changed',
    from: before?.state ?? 'unknown',
    record: {
      state: next.state,
      reason: next.reason,
      sinceMs: input.receivedAtMs,
      session,
      superseded,
      wakeExpectedAtMs,
      dueAtMs,
      evidence,
    },
  };
}

/**
 * What silence means at a time: a sleeper that did not come back is lost, and so is a device whose birth has expired
 * and was not published anew. Undefined where it means nothing (yet).
 * @param hearingSinceMs since when every broker is heard; undefined while one is not: then nobody is silent
 */
export function overdue(
  before: PresenceRecord,
  nowMs: number,
  hearingSinceMs: number | undefined,
): Extract<Decision, { kind: 'changed' }> | undefined {
  const { state, dueAtMs } = before;
  if (hearingSinceMs === undefined || dueAtMs === null) return undefined;
  if (nowMs < Math.max(dueAtMs, hearingSinceMs + HEARING_GRACE_MS)) return undefined;
  const judged =
    state === 'asleep'
      ? ({ reason: 'overslept', rule: `asleep for ${SLEEP_TOLERANCE} times what it announced` } as const)
      : ({ reason: 'expired', rule: 'its birth has expired and was not published anew' } as const);
  return {
    kind: 'changed',
    from: state,
    record: {
      ...before,
      ...{ state: 'lost', reason: judged.reason, sinceMs: nowMs, wakeExpectedAtMs: null, dueAtMs: null },
      evidence: { ...before.evidence, rule: judged.rule },
    },
  };
}

/** What a broker still holds of a state that time has ended; a birth that expires there is not among it: it was renewed. */
function isLeftBehind(before: PresenceRecord | undefined, { message, retained, expirySeconds }: StatusInput): boolean {
  if (!retained || before === undefined || isNews(before, message.session ?? null)) return false;
  if (before.reason === 'expired') return message.kind !== 'birth' || expirySeconds === undefined;
  return before.reason === 'overslept';
}

/** Without session numbers, where it was said is what tells an old connection from the current one (mqtt-pitfalls P3). */
function isElsewhere(before: PresenceRecord | undefined, { message, broker }: StatusInput): boolean {
  return before?.state === 'online' && message.session === undefined && before.evidence.broker !== broker;
}

function isNews(before: PresenceRecord | undefined, session: number | null): boolean {
  return session !== null && before?.session !== session;
}

/** At most 200 characters without control characters, which neither a page nor a jsonb column can take. */
function printable(payload: string): string {
  return storableText(payload, 200).replace(/[\u0001-\u001f\u007f]/g, '\uFFFD');
}
