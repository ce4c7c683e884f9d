import type { Evidence, PresenceReason, PresenceState, StatusMessage } from '@muster/contract';
import { printable, type Decision, type PresenceRecord } from './presence-record.ts';

/** A status message with the circumstances of its receipt. */
export interface StatusInput {
  readonly message: StatusMessage;
  readonly receivedAtMs: number;
  /** A replay of retained state: true of some time before. */
  readonly retained: boolean;
  /** Replayed in a session that has missed nothing: whatever was said since the last word known would have come live. */
  readonly isResumed: boolean;
  /** Whether it is Muster's own word, which it has left at a broker in the name of the device. */
  readonly isOwn: boolean;
  readonly broker: string;
  readonly topic: string;
  readonly payload: string;
  /** What was left of the message's life when it came (MQTT 5, section 3.3.2.3.3); undefined where it has no end. */
  readonly expirySeconds: number | undefined;
}

const SUPERSEDED_KEPT = 8;
/** A board's sleep is not exact: it is overdue after so many times what it announced (docs/presence.md). */
export const SLEEP_TOLERANCE = 1.5;

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

  // Live it cannot come: with No Local a broker does not send it back, and anybody else may forge the mark.
  if (input.isOwn && input.retained && before !== undefined)
    return { kind: 'ignored', rule: 'what Muster itself has said in the name of a device is no news' };
  if (isLeftBehind(before, input))
    return { kind: 'ignored', rule: 'what is retained was believed until its time was over' };
  const isKnown = input.isResumed && before !== undefined && before.interrupted === null && !isNews(before, session);
  if (isKnown && isThere(before) !== (message.kind === 'birth'))
    return { kind: 'ignored', rule: 'what a broker retains is older than what was heard from it without a break' };
  if (message.kind === 'birth') {
    if (input.retained && before?.interrupted != null && !isNews(before, session) && !saysAnything(before, input))
      return { kind: 'ignored', rule: 'what a broker retains does not say that the device is connected to it again' };
    if (
      input.retained &&
      before !== undefined &&
      before.interrupted === null &&
      isThere(before) &&
      !isNews(before, session)
    )
      return renewed(before, input);
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
  if (before?.interrupted != null && !isNews(before, session)) {
    const evidence = evidenceOf(input, 'a broker that ends publishes every will; the device has time to come back');
    if (before.interrupted.will !== null) return { kind: 'confirmed' };
    return { kind: 'renewed', record: { ...before, interrupted: { ...before.interrupted, will: evidence } } };
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

/** What a replayed birth tells of a device that is known to be there: until when it is to be believed. */
function renewed(before: PresenceRecord, { expirySeconds, receivedAtMs }: StatusInput): Decision {
  if (expirySeconds === undefined) return { kind: 'confirmed' };
  return { kind: 'renewed', record: { ...before, dueAtMs: receivedAtMs + expirySeconds * 1000 } };
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
  const evidence = evidenceOf(input, next.rule);
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
      interrupted: null,
      mirrors: (before?.mirrors ?? []).filter((broker) => broker !== input.broker),
      learnedIntervalMs: before?.learnedIntervalMs ?? null,
      flags: before?.flags ?? [],
      evidence,
    },
  };
}

function evidenceOf({ broker, topic, payload, retained }: StatusInput, rule: string): Evidence {
  return { broker, topic, payload: printable(payload), retained, rule };
}

/** Reasons that are newer than what a broker still retains of the same session. */
const LEFT_BEHIND: ReadonlySet<PresenceReason> = new Set(['overslept', 'not-back', 'telemetry']);

/** What a broker still holds of a state that time has ended; a birth that expires there is not among it: it was renewed. */
function isLeftBehind(before: PresenceRecord | undefined, { message, retained, expirySeconds }: StatusInput): boolean {
  if (!retained || before === undefined || isNews(before, message.session ?? null)) return false;
  if (before.reason === 'expired') return message.kind !== 'birth' || expirySeconds === undefined;
  return LEFT_BEHIND.has(before.reason);
}

/** Without session numbers, where it was said is what tells an old connection from the current one (mqtt-pitfalls P3). */
function isElsewhere(before: PresenceRecord | undefined, { message, broker }: StatusInput): boolean {
  return before !== undefined && isThere(before) && message.session === undefined && before.evidence.broker !== broker;
}

/** Whether the device is connected, or was when its broker was lost. */
function isThere(before: PresenceRecord): boolean {
  return before.state === 'online' || before.state === 'stale' || before.interrupted !== null;
}

/** Whether the words of a retained birth are others than those that were heard: then it was said meanwhile. */
function saysAnything(before: PresenceRecord, { message, payload }: StatusInput): boolean {
  return (
    message.session === undefined && before.evidence.payload !== printable(payload) && payload.length > 'online'.length
  );
}

function isNews(before: PresenceRecord | undefined, session: number | null): boolean {
  return session !== null && before?.session !== session;
}
