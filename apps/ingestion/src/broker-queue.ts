import { RECEIVE_MAXIMUM } from '@muster/broker';

/** What a broker keeps for one client that is away or slow; 0 is no limit. */
export interface QueueLimits {
  /** Mosquitto's `max_queued_messages`. */
  readonly messages: number;
  /** Mosquitto's `max_queued_bytes`. */
  readonly bytes: number;
}

/** What a broker says of its store (mosquitto(8), broker status), and what ingestion has of that. */
export interface QueueSample {
  /** Milliseconds by a clock that only goes on. */
  readonly atMs: number;
  /** All messages that it stores: retained, sent and not acknowledged, and queued, for whomever. */
  readonly stored: number;
  /** Of their payloads. */
  readonly storedBytes: number;
  readonly retained: number;
  /** Messages that ingestion has got and not acknowledged. */
  readonly inHand: number;
  /** Whether the spool has no room, so that nothing is acknowledged. */
  readonly isSpoolFull: boolean;
}

/** How far the queue of a broker for ingestion is filled. */
export interface QueueForecast {
  /** 0 to 1: beyond it the broker throws away what it has acknowledged to its senders (mqtt-pitfalls B1). */
  readonly share: number;
  /** Until then, as fast as it grows now; undefined where it does not, or that is not known yet. */
  readonly minutesLeft: number | undefined;
}

/** Growth is measured over so long. */
const WINDOW_MS = 60_000;
const MINUTE_MS = 60_000;

/**
 * Whether the broker may have something queued: it sends at once what ingestion may get, so only when that is used up.
 * From half of it on, because a batch may have been acknowledged a moment ago.
 */
function mayBeQueued({ inHand }: QueueSample): boolean {
  return inHand >= RECEIVE_MAXIMUM / 2;
}

/** At most so much is queued: messages for other clients that are away are not told apart. */
function queuedOf(sample: QueueSample): number {
  return mayBeQueued(sample) ? Math.max(0, sample.stored - sample.retained - sample.inHand) : 0;
}

/** A limit of bytes is one of messages that are as large as those that are stored. */
function limitOf({ stored, storedBytes }: QueueSample, { messages, bytes }: QueueLimits): number {
  const byBytes =
    bytes > 0 && stored > 0 && storedBytes > 0 ? (bytes * stored) / storedBytes : Number.POSITIVE_INFINITY;
  return Math.min(messages > 0 ? messages : Number.POSITIVE_INFINITY, byBytes);
}

/** Messages a millisecond; undefined where there is nothing to compare. */
function growthOf(samples: readonly QueueSample[], of: (sample: QueueSample) => number): number | undefined {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return undefined;
  return (of(last) - of(first)) / (last.atMs - first.atMs);
}

/**
 * How far a broker's queue for ingestion is filled, by what it said lately, oldest first; undefined where it has no limit
 * or has said nothing. It errs on the safe side: a connected client of Mosquitto 2.0 has its receive maximum on top of the
 * limit (`db__ready_for_queue`), which is gone when it is disconnected.
 */
export function queueForecast(samples: readonly QueueSample[], limits: QueueLimits): QueueForecast | undefined {
  const now = samples.at(-1);
  if (now === undefined || (limits.messages <= 0 && limits.bytes <= 0)) return undefined;
  const limit = limitOf(now, limits);
  const queued = queuedOf(now);
  const share = Math.min(1, queued / limit);
  if (!mayBeQueued(now) && !now.isSpoolFull) return { share, minutesLeft: undefined };
  // From where the queue may have begun: what waits for other clients is no growth of it.
  const begin = samples.findLastIndex((sample) => !mayBeQueued(sample)) + 1;
  const growth =
    growthOf(samples.slice(begin), ({ stored, retained }) => stored - retained) ??
    growthOf(samples, ({ inHand }) => inHand);
  const left = Math.max(0, limit - queued) + (queued > 0 ? 0 : RECEIVE_MAXIMUM - now.inHand);
  const minutesLeft =
    growth === undefined || growth <= 0 || !Number.isFinite(left) ? undefined : left / growth / MINUTE_MS;
  return { share, minutesLeft };
}

/** The queues of all brokers, by what these said within the last minute. */
export class BrokerQueues {
  readonly #samples = new Map<string, readonly QueueSample[]>();

  constructor(private readonly limits: QueueLimits) {}

  /** Takes what is known of a broker now. */
  take(broker: string, sample: QueueSample): void {
    const before = this.#samples.get(broker) ?? [];
    this.#samples.set(broker, [...before.filter(({ atMs }) => sample.atMs - atMs <= WINDOW_MS), sample]);
  }

  /** Forgets a broker that is away: when it is back it may have begun anew. */
  forget(broker: string): void {
    this.#samples.delete(broker);
  }

  /** How far each is filled; a broker without a limit, or that tells nothing, is not among them. */
  forecasts(): ReadonlyMap<string, QueueForecast> {
    return new Map(
      [...this.#samples].flatMap(([broker, samples]) => {
        const forecast = queueForecast(samples, this.limits);
        return forecast === undefined ? [] : [[broker, forecast]];
      }),
    );
  }
}
