import type { CommandAck, LifeState, PresenceState } from '@muster/contract';

/** What has become of a command; times are milliseconds since 1970. */
export type CommandState =
  /** No broker has taken it for the device. */
  | { readonly kind: 'queued'; readonly waitsFor: string; readonly nextAtMs: number }
  /** A broker has taken it for somebody who subscribes to it; if the device does not answer, it is published again then. */
  | { readonly kind: 'sent'; readonly nextAtMs: number }
  | { readonly kind: 'acknowledged'; readonly atMs: number }
  | { readonly kind: 'failed'; readonly atMs: number; readonly error: string }
  | { readonly kind: 'expired'; readonly atMs: number }
  | { readonly kind: 'cancelled'; readonly atMs: number; readonly reason: string };

/** A command as far as decisions need it. */
export interface CommandRecord {
  readonly state: CommandState;
  readonly expiresAtMs: number;
  /** The connection of the device to which it was published last; null where none was known. */
  readonly connection: string | null;
  /** How often it was published to that connection. */
  readonly attempts: number;
  /** Whether the device has answered after the end already. */
  readonly isAnsweredLate: boolean;
}

/** Where a device is. */
export interface Whereabouts {
  readonly life: LifeState;
  readonly presence: PresenceState | undefined;
  /** What tells one connection of the device from another: broker, and session or time of birth. */
  readonly connection: string | null;
  /** The broker where presence last heard of it, the one where it last reported, the one that it was assigned. */
  readonly brokers: readonly (string | null)[];
}

/** What a broker did with a command. */
export interface PublishResult {
  readonly broker: string;
  /** Unsubscribed: accepted, and given to nobody (MQTT 5, PUBACK reason code 16). */
  readonly outcome: 'taken' | 'unsubscribed' | 'away' | 'refused';
}

/** What is to be done with a command now. */
export type CommandStep =
  | { readonly kind: 'rest' }
  | { readonly kind: 'become'; readonly state: CommandState }
  | { readonly kind: 'publish'; readonly brokers: readonly string[]; readonly expirySeconds: number };

/** A birth comes before the subscription, so the first attempts follow quickly. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;
/** Whoever else subscribes makes a broker take what the device itself may not have subscribed to yet. */
const SECOND_TIME_MS = 10_000;

/** Whether a command may still change. */
export function isOpen({ kind }: CommandState): boolean {
  return kind === 'queued' || kind === 'sent';
}

/** A device that subscribes to what it is told can hear it now. */
function isThere({ presence }: Whereabouts): boolean {
  return presence === 'online' || presence === 'stale';
}

/** The brokers at which a device may be: the first that is known, or each of them. */
export function brokersOf({ brokers }: Whereabouts, configured: readonly string[]): readonly string[] {
  const known = brokers.find((name): name is string => name !== null && configured.includes(name));
  return known === undefined ? configured : [known];
}

/**
 * What to do with a command. A queued one is published when its pause is over or the device has a new connection; a
 * sent one once more to each new connection, and a second time to the same, until the device answers: the device knows by
 * the id what it has done.
 */
export function nextStep(
  record: CommandRecord,
  device: Whereabouts,
  configured: readonly string[],
  nowMs: number,
): CommandStep {
  const { state, expiresAtMs } = record;
  if (!isOpen(state)) return { kind: 'rest' };
  if (expiresAtMs <= nowMs) return { kind: 'become', state: { kind: 'expired', atMs: expiresAtMs } };
  if (device.life !== 'discovered' && device.life !== 'registered')
    return { kind: 'become', state: { kind: 'cancelled', atMs: nowMs, reason: `the device is ${device.life}` } };
  const isNewConnection = isThere(device) && device.connection !== record.connection;
  const isDue = 'nextAtMs' in state && state.nextAtMs <= nowMs && (state.kind === 'queued' || isThere(device));
  if (!isNewConnection && !isDue) return { kind: 'rest' };
  // A broker counts whole seconds; the payload has the exact time for the device.
  const expirySeconds = Math.max(1, Math.ceil((expiresAtMs - nowMs) / 1000));
  return { kind: 'publish', brokers: brokersOf(device, configured), expirySeconds };
}

/**
 * How a command stands after it was published: where nobody took it, it waits. One that was taken is published to the
 * same connection once more and not again, so not before its time is over.
 */
export function afterPublish(
  record: CommandRecord,
  device: Whereabouts,
  results: readonly PublishResult[],
  nowMs: number,
): Pick<CommandRecord, 'state' | 'connection' | 'attempts'> {
  const connection = isThere(device) ? device.connection : null;
  const attempts = connection === record.connection ? record.attempts + 1 : 1;
  if (results.some(({ outcome }) => outcome === 'taken')) {
    const isSecond = record.state.kind === 'sent' && record.connection === connection;
    const nextAtMs = isSecond ? record.expiresAtMs : nowMs + SECOND_TIME_MS;
    return { state: { kind: 'sent', nextAtMs }, connection, attempts };
  }
  // The exponent is bounded: a device may stay away for a week.
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempts - 1, 16), LONGEST_PAUSE_MS);
  const state = { kind: 'queued', waitsFor: results.map(waitsFor).join('; '), nextAtMs: nowMs + pauseMs } as const;
  return { state, connection, attempts };
}

function waitsFor({ broker, outcome }: PublishResult): string {
  switch (outcome) {
    case 'taken':
    case 'unsubscribed':
      return `at ${broker} nobody subscribes to it: the device is away and has no session there`;
    case 'away':
      return `${broker} does not answer`;
    case 'refused':
      return `${broker} does not allow it: has its account the right to publish commands?`;
  }
}

/** What an acknowledgement means to a command. */
export type AckOutcome =
  | { readonly kind: 'settled'; readonly state: CommandState }
  /** The command is over; the answer is kept beside it. */
  | { readonly kind: 'late'; readonly state: CommandState }
  | { readonly kind: 'duplicate' };

/** An acknowledgement settles an open command once; after its time it changes nothing but the record. */
export function afterAck(record: CommandRecord, { error }: CommandAck, nowMs: number): AckOutcome {
  const { state, expiresAtMs } = record;
  if (isOpen(state)) {
    if (expiresAtMs <= nowMs) return { kind: 'late', state: { kind: 'expired', atMs: expiresAtMs } };
    return {
      kind: 'settled',
      state: error === null ? { kind: 'acknowledged', atMs: nowMs } : { kind: 'failed', atMs: nowMs, error },
    };
  }
  const isOver = state.kind === 'expired' || state.kind === 'cancelled';
  return isOver && !record.isAnsweredLate ? { kind: 'late', state } : { kind: 'duplicate' };
}
