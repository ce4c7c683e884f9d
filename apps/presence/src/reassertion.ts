import { encodeBirth, encodeOffline, statedReasonSchema, type DeviceId } from '@muster/contract';
import type { BrokerConnection } from '@muster/broker';
import type { Logger } from '@muster/service';
import type { Counter } from 'prom-client';
import type { StatusInput } from './presence-machine.ts';
import type { Decision, PresenceRecord } from './presence-record.ts';

/** The user property by which Muster knows what it has itself said in the name of a device. */
export const OWN_PROPERTY = 'muster';

/** The retained status of a device at a broker that is not the truth any more, and what is to stand there. */
export interface Correction {
  readonly device: DeviceId;
  readonly broker: string;
  readonly topic: string;
  readonly session: number;
  readonly says: 'online' | 'offline';
  /** The will of an older session came there, or the device has left that broker. */
  readonly cause: 'contradicted' | 'left';
}

/** So long after it was said a correction is decided again: a device that moves says more than one thing. */
const SETTLE_MS = 250;
const PUBLISH_LIMIT_MS = 5_000;
/** Corrections remembered, so that each is made once; beyond so many all of them are forgotten. */
const REMEMBERED = 20_000;

/**
 * The correction that a live message calls for (mqtt-pitfalls P3, P4): where the will of an older session stands, or the
 * birth of one at the broker that the device has left, or where we ourselves have said that a device is online which is
 * not any more. Nothing is said for devices without session numbers: nobody could tell it from their own words.
 */
export function correctionsOf(
  device: DeviceId,
  before: PresenceRecord | undefined,
  { broker, topic, message }: StatusInput,
  decision: Decision,
): readonly Correction[] {
  if (decision.kind === 'ignored') {
    if (before?.state !== 'online' || before.session === null || message.kind === 'birth') return [];
    return [{ device, broker, topic, session: before.session, says: 'online', cause: 'contradicted' }];
  }
  if (decision.kind !== 'changed' || decision.record.session === null) return [];
  const { session, state } = decision.record;
  const left = before === undefined || before.evidence.broker === broker ? [] : [before.evidence.broker];
  const others = [...new Set([...(before?.mirrors ?? []), ...left])].filter((other) => other !== broker);
  const says = state === 'online' ? 'online' : 'offline';
  return others.map((other) => ({ device, broker: other, topic, session, says, cause: 'left' }));
}

/** What the corrections are made with. */
export interface ReassertionParts {
  readonly connections: () => readonly BrokerConnection[];
  /** How a device stands now. */
  readonly record: (device: string) => PresenceRecord | undefined;
  /** Called with a broker that retains a status in our words. */
  readonly onMirrored: (device: DeviceId, broker: string) => void;
  readonly counter: Counter<'broker'>;
  readonly logger: Logger;
}

/** Puts right what brokers retain of devices that have moved on; once for each session, broker and word. */
export class Reassertion {
  readonly #parts: ReassertionParts;
  readonly #made = new Set<string>();

  constructor(parts: ReassertionParts) {
    this.#parts = parts;
  }

  /** Takes a live message and what was decided on it. */
  told(device: DeviceId, before: PresenceRecord | undefined, input: StatusInput, decision: Decision): void {
    for (const correction of correctionsOf(device, before, input, decision))
      setTimeout(() => void this.#correct(correction), SETTLE_MS);
  }

  async #correct(correction: Correction): Promise<void> {
    const { device, broker, topic, session, says, cause } = correction;
    const key = `${device} ${broker} ${session} ${says} ${cause}`;
    if (this.#made.has(key)) return;
    const now = this.#parts.record(device);
    const isTrue = now?.session === session && (now.state === 'online') === (says === 'online');
    const isElsewhere = now?.evidence.broker !== broker;
    const connection = this.#parts.connections().find((one) => one.broker === broker);
    if (!isTrue || (says === 'offline' && !isElsewhere) || connection?.ready !== true) return;
    if (this.#made.size >= REMEMBERED) this.#made.clear();
    this.#made.add(key);
    const remainingMs = now.dueAtMs === null ? undefined : now.dueAtMs - Date.now();
    if (remainingMs !== undefined && remainingMs < 1_000) return;
    const stated = statedReasonSchema.safeParse(now.reason);
    const payload =
      says === 'online'
        ? encodeBirth(session, now.sinceMs)
        : encodeOffline(session, stated.success ? stated.data : 'unexpected');
    const expiry = remainingMs === undefined ? {} : { messageExpiryInterval: Math.floor(remainingMs / 1000) };
    try {
      await connection.publish(topic, payload, {
        ...{ qos: 1, retain: true, withinMs: PUBLISH_LIMIT_MS },
        properties: { userProperties: { [OWN_PROPERTY]: 'presence' }, ...expiry },
      });
      this.#parts.counter.inc({ broker });
      if (isElsewhere) this.#parts.onMirrored(device, broker);
    } catch (error) {
      this.#made.delete(key);
      this.#parts.logger.warn(
        { err: error, device, broker },
        'what the broker retains of the device could not be put right',
      );
    }
  }
}
