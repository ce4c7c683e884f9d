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
}

/** What a message did to a device's presence. */
export type Decision =
  | { readonly kind: 'changed'; readonly record: PresenceRecord; readonly from: PresenceState }
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'ignored'; readonly rule: string };

const SUPERSEDED_KEPT = 8;

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
  if (isOld) return { kind: 'ignored', rule: 'an offline of an older session says nothing about the current one' };
  if (message.kind === 'graceful') {
    return changed(before, input, {
      state: message.reason === 'sleep' ? 'asleep' : 'offline',
      reason: message.reason,
      rule: 'the device said why it leaves',
    });
  }
  const saidGoodbye = before?.state === 'offline' || before?.state === 'asleep';
  const isNewSession = session !== null && before?.session !== session;
  if (saidGoodbye && !isNewSession) return { kind: 'ignored', rule: 'a will after a stated goodbye adds nothing' };
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
  if (isSame) return { kind: 'confirmed' };
  const replaced = before?.session != null && before.session !== session ? [before.session] : [];
  const superseded = [...(before?.superseded ?? []), ...replaced]
    .filter((old) => old !== session)
    .slice(-SUPERSEDED_KEPT);
  const { message } = input;
  return {
    kind: 'changed',
    from: before?.state ?? 'unknown',
    record: {
      state: next.state,
      reason: next.reason,
      sinceMs: input.receivedAtMs,
      session,
      superseded,
      wakeExpectedAtMs:
        message.kind === 'graceful' && message.wakeInSeconds !== undefined
          ? input.receivedAtMs + message.wakeInSeconds * 1000
          : null,
      evidence: {
        broker: input.broker,
        topic: input.topic,
        payload: printable(input.payload),
        retained: input.retained,
        rule: next.rule,
      },
    },
  };
}

/** At most 200 characters without control characters, which neither a page nor a jsonb column can take. */
function printable(payload: string): string {
  return storableText(payload, 200).replace(/[\u0001-\u001f\u007f]/g, '\uFFFD');
}
