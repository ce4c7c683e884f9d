import { changedTo, type Change, type PresenceRecord } from './presence-record.ts';

/** A broker that is not there, or that was started anew. */
export interface Outage {
  readonly broker: string;
  readonly kind: 'lost' | 'restarted';
  /** When it was lost, in milliseconds since 1970. */
  readonly fromMs: number;
}

/** A broker that ends publishes the wills first: what was lost so shortly before it belongs to its end (mqtt-pitfalls P6). */
const ENDING_MS = 5_000;
/** Devices come back one after the other, and wait longer after each attempt: so long is given to all of them. */
export const RETURN_GRACE_MS = 30_000;
/** A client that the broker's end has not told of notices by its own pings within one and a half of its keep-alive. */
const KEEP_ALIVE_TOLERANCE = 1.5;
const DEFAULT_KEEP_ALIVE_MS = 60_000;

/** Until when a device may take to connect to a broker that was started anew; milliseconds since 1970. */
export function returnDueAtMs(backAtMs: number, keepAliveSeconds: number | undefined): number {
  const keepAliveMs = keepAliveSeconds === undefined ? DEFAULT_KEEP_ALIVE_MS : keepAliveSeconds * 1000;
  return backAtMs + RETURN_GRACE_MS + keepAliveMs * KEEP_ALIVE_TOLERANCE;
}

/**
 * What the loss of a broker means for a device: who was connected to it is `unknown`, also who was lost by its will as
 * the broker ended. Undefined where it means nothing.
 * @param dueAtMs until when a device behind a broker that was started anew has time; null while the broker is away
 */
export function interrupt(
  before: PresenceRecord,
  { broker, kind, fromMs }: Outage,
  nowMs: number,
  dueAtMs: number | null,
): Change | undefined {
  if (before.evidence.broker !== broker) return undefined;
  const reason = kind === 'lost' ? 'broker-lost' : 'broker-restarted';
  if (before.interrupted !== null) {
    if (before.reason === reason && before.dueAtMs === dueAtMs) return undefined;
    return { kind: 'renewed', record: { ...before, reason, dueAtMs } };
  }
  const rule =
    kind === 'lost' ? `${broker} cannot be reached, and with it whoever is behind it` : `${broker} was started anew`;
  const change = changedTo(before, 'unknown', reason, nowMs, { ...before.evidence, rule });
  // Found out late: whoever has said a birth since was not interrupted.
  if (kind === 'restarted' && before.reason === 'birth' && !before.evidence.retained && before.sinceMs >= fromMs)
    return undefined;
  const wasThere = before.state === 'online' || before.state === 'stale';
  const fellWithIt = before.state === 'lost' && before.reason === 'will' && before.sinceMs >= fromMs - ENDING_MS;
  if (!wasThere && !fellWithIt) return undefined;
  const interrupted = wasThere
    ? { state: before.state, reason: before.reason, dueAtMs: before.dueAtMs, will: null }
    : { state: 'online' as const, reason: 'birth' as const, dueAtMs: null, will: before.evidence };
  return { ...change, record: { ...change.record, dueAtMs, interrupted } };
}

/** A device behind a broker that is heard again and has run all the time: it is what it was, where nothing else was said. */
export function restore(before: PresenceRecord, broker: string, nowMs: number): Change | undefined {
  const { interrupted, evidence } = before;
  if (interrupted === null || evidence.broker !== broker) return undefined;
  if (interrupted.will !== null) return changedTo(before, 'lost', 'will', nowMs, interrupted.will);
  const rule = `${broker} is heard again, and has said nothing else meanwhile`;
  const change = changedTo(before, interrupted.state, 'broker-back', nowMs, { ...evidence, rule });
  return { ...change, record: { ...change.record, dueAtMs: interrupted.dueAtMs } };
}
