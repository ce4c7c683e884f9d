import type { StatusMessage } from '@muster/contract';
import { decide, type StatusInput } from './presence-machine.ts';
import type { PresenceRecord } from './presence-record.ts';

/** A live status message at `mosquitto-0`, for specifications. */
export function statusInput(message: StatusMessage, circumstances: Partial<StatusInput> = {}): StatusInput {
  return {
    message,
    ...{
      receivedAtMs: 1_000,
      retained: false,
      isResumed: false,
      isOwn: false,
      broker: 'mosquitto-0',
      topic: 'devices/a/status',
    },
    ...{ payload: 'x', expirySeconds: undefined, ...circumstances },
  };
}

/** A birth. */
export const birth = (session?: number): StatusMessage => ({ kind: 'birth', session });
/** A will. */
export const will = (session?: number): StatusMessage => ({ kind: 'will', session });
/** A shutdown. */
export const goodbye = (session?: number): StatusMessage => ({
  ...{ kind: 'graceful', session, reason: 'shutdown', wakeInSeconds: undefined },
});
/** A sleep. */
export const sleep = (session?: number, wakeInSeconds?: number): StatusMessage => ({
  ...{ kind: 'graceful', session, reason: 'sleep', wakeInSeconds },
});

/** The record after one live message of a device that nobody knew before. */
export function recordAfter(message: StatusMessage, circumstances: Partial<StatusInput> = {}): PresenceRecord {
  const decision = decide(undefined, statusInput(message, circumstances));
  if (decision.kind !== 'changed') throw new Error('a first message changes something');
  return decision.record;
}
