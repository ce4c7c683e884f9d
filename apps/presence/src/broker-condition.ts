/** What is known of the connection to a broker; times are milliseconds since 1970. */
export type BrokerCondition =
  /** It does not answer, since a time; `isTold` once that is more than a moment, `isRestarted` once it has said so or not. */
  | { readonly kind: 'away'; readonly sinceMs: number; readonly isTold: boolean; readonly isRestarted?: boolean }
  /** Connected; whether it was started anew is being found out. */
  | {
      readonly kind: 'judged';
      readonly connectedMs: number;
      readonly awaySinceMs: number;
      readonly hasSession: boolean;
    }
  | { readonly kind: 'heard'; readonly sinceMs: number };

/** How long a broker ran when it said so; milliseconds. */
export interface Uptime {
  readonly uptimeMs: number;
  readonly toldAtMs: number;
}

/** A broker as presence knows it. */
export interface BrokerView {
  readonly condition: BrokerCondition;
  /** What it has told last; null where it has told nothing. */
  readonly told: Uptime | null;
}

/** What happens to the connection to a broker. */
export type BrokerEvent =
  | { readonly kind: 'connected'; readonly hasSession: boolean }
  | { readonly kind: 'disconnected' }
  | { readonly kind: 'uptime'; readonly uptime: Uptime }
  /** Time passes; `listeningSinceMs` is since when its uptime is listened to, undefined while it is not, null where it never will be. */
  | { readonly kind: 'tick'; readonly listeningSinceMs: number | null | undefined };

/** What follows for the devices behind a broker. */
export type BrokerVerdict =
  | { readonly kind: 'lost'; readonly fromMs: number }
  | { readonly kind: 'restarted'; readonly fromMs: number }
  /** It has run all the time, or nothing says otherwise. */
  | { readonly kind: 'back' };

/** A connection that stands again so soon was no loss. */
const LOST_AFTER_MS = 2_000;
/** Mosquitto sends its uptime as soon as it is subscribed to; a broker that tells none is not waited for any longer. */
const TELLS_WITHIN_MS = 1_500;
/** So long it is waited until its uptime can be listened to again: its connections come back one after the other. */
const JUDGED_AT_LAST_MS = 35_000;
/** Mosquitto tells its uptime every 10 s and retains it: what is read may be older by as much. */
const UPTIME_STEP_MS = 12_000;
/** So long devices of other brokers are given the benefit of having gone to one that is away. */
const WAITS_FOR_OTHERS_MS = 15 * 60_000;

/** A broker at the start of presence, with what is on record of it. */
export function unheard(nowMs: number, told: Uptime | null): BrokerView {
  return { condition: { kind: 'away', sinceMs: nowMs, isTold: false }, told };
}

/**
 * Whether a broker was started anew between two things that it told (mqtt-pitfalls P6): its uptime has fallen, or is
 * less than the time that has passed since.
 */
export function isRestartedBetween(before: Uptime | null, after: Uptime): boolean {
  if (before === null) return false;
  return after.uptimeMs < before.uptimeMs || after.uptimeMs + UPTIME_STEP_MS < after.toldAtMs - before.toldAtMs;
}

/**
 * A broker after an event, and what follows from it (mqtt-pitfalls P6, P7). One that was started anew is known by its
 * uptime; where it tells none, by the session that it has lost.
 */
export function brokerAfter(
  before: BrokerView,
  event: BrokerEvent,
  nowMs: number,
): { readonly view: BrokerView; readonly verdict?: BrokerVerdict } {
  const { condition, told } = before;
  switch (event.kind) {
    case 'connected': {
      const awaySinceMs = condition.kind === 'away' ? condition.sinceMs : nowMs;
      if (condition.kind === 'away' && condition.isRestarted !== undefined)
        return judge(before, awaySinceMs, condition.isRestarted, nowMs);
      const { hasSession } = event;
      return { view: { condition: { kind: 'judged', connectedMs: nowMs, awaySinceMs, hasSession }, told } };
    }
    case 'disconnected': {
      if (condition.kind === 'away') return { view: before };
      const sinceMs = condition.kind === 'judged' ? condition.awaySinceMs : nowMs;
      return { view: { condition: { kind: 'away', sinceMs, isTold: false }, told } };
    }
    case 'uptime': {
      const { uptime } = event;
      const isRestarted = isRestartedBetween(told, uptime);
      const view = { condition, told: uptime };
      if (condition.kind === 'heard')
        return isRestarted ? { view, verdict: { kind: 'restarted', fromMs: nowMs - uptime.uptimeMs } } : { view };
      if (condition.kind === 'judged') return judge(view, condition.awaySinceMs, isRestarted, nowMs);
      // It is heard by another connection than that of its devices, which will be back soon.
      const wasRestarted = condition.isRestarted === true || isRestarted;
      return { view: { ...view, condition: { ...condition, isRestarted: wasRestarted } } };
    }
    case 'tick': {
      if (condition.kind === 'away' && !condition.isTold && nowMs - condition.sinceMs >= LOST_AFTER_MS) {
        const lost = { ...condition, isTold: true };
        return { view: { condition: lost, told }, verdict: { kind: 'lost', fromMs: condition.sinceMs } };
      }
      return condition.kind === 'judged'
        ? judgeInTime(before, condition, event.listeningSinceMs, nowMs)
        : { view: before };
    }
  }
}

/**
 * Since when a device that was heard last at a broker would be heard, there or at another one it may have gone to;
 * undefined while it might not be. A broker that is away for long does not hold up the devices of the others.
 * @param conditions of every broker that is listened to
 */
export function hearingSinceMs(
  conditions: ReadonlyMap<string, BrokerCondition>,
  own: string,
  nowMs: number,
): number | undefined {
  let latestMs = 0;
  for (const [broker, condition] of conditions) {
    if (condition.kind === 'heard') latestMs = Math.max(latestMs, condition.sinceMs);
    else if (broker === own || condition.kind === 'judged' || nowMs - condition.sinceMs <= WAITS_FOR_OTHERS_MS)
      return undefined;
  }
  return latestMs;
}

/** A broker that is connected and has not told its uptime. */
function judgeInTime(
  before: BrokerView,
  { connectedMs, awaySinceMs, hasSession }: Extract<BrokerCondition, { kind: 'judged' }>,
  listeningSinceMs: number | null | undefined,
  nowMs: number,
): { readonly view: BrokerView; readonly verdict?: BrokerVerdict } {
  // A connection that stood all the time has seen no end of the broker.
  if (listeningSinceMs != null && listeningSinceMs < awaySinceMs) return judge(before, awaySinceMs, false, nowMs);
  const waitsSinceMs = Math.max(connectedMs, listeningSinceMs ?? connectedMs);
  const limitMs = listeningSinceMs === undefined ? JUDGED_AT_LAST_MS : TELLS_WITHIN_MS;
  // Its session is the one thing that a broker without an uptime loses, and one that keeps none never has it.
  return nowMs - waitsSinceMs < limitMs ? { view: before } : judge(before, awaySinceMs, !hasSession, nowMs);
}

function judge(
  { told }: BrokerView,
  fromMs: number,
  isRestarted: boolean,
  nowMs: number,
): { readonly view: BrokerView; readonly verdict: BrokerVerdict } {
  return {
    view: { condition: { kind: 'heard', sinceMs: nowMs }, told },
    verdict: isRestarted ? { kind: 'restarted', fromMs } : { kind: 'back' },
  };
}
