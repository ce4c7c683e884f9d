/** How much a device may send: `perSecond` messages for ever, and `burst`, at least 1, at once. */
export interface Quota {
  readonly perSecond: number;
  readonly burst: number;
}

/** A device that sends more than its quota: since when, and how many of its messages have been dropped since. */
export interface Runaway {
  readonly sinceMs: number;
  readonly dropped: number;
}

/** The bucket of a device that has sent nothing. */
export const FULL_BUCKET = Number.NEGATIVE_INFINITY;

/** The time of receipt is known to a millisecond: who keeps to the rate is not dropped for the rest of it. */
const TOLERANCE_MS = 1;

/**
 * Takes a token out of a bucket; undefined where none is left, and the message is to be dropped. A bucket is the time at
 * which it will be full again, in milliseconds: the one number that a token bucket needs (the generic cell rate algorithm,
 * ITU-T I.371).
 */
export function takeToken(bucket: number, { perSecond, burst }: Quota, nowMs: number): number | undefined {
  const tokenMs = 1_000 / perSecond;
  const fullAtMs = Math.max(bucket, nowMs) + tokenMs;
  return fullAtMs - nowMs > burst * tokenMs + TOLERANCE_MS ? undefined : fullAtMs;
}

/** A bucket as it can be at most: where our clock has been set back, no bucket is emptier than empty. */
export function settledBucket(bucket: number, { perSecond, burst }: Quota, nowMs: number): number {
  return Math.min(bucket, nowMs + (burst * 1_000) / perSecond + TOLERANCE_MS);
}

/**
 * Whether a device is a runaway after a message, or after a look at it: it becomes one with the first message that is
 * dropped, and is one until its bucket has been full again, so that a device at the edge does not go on and off.
 */
export function runawayAfter(
  before: Runaway | undefined,
  { isDropped, isFull, nowMs }: { readonly isDropped: boolean; readonly isFull: boolean; readonly nowMs: number },
): Runaway | undefined {
  if (isDropped) return { sinceMs: before?.sinceMs ?? nowMs, dropped: (before?.dropped ?? 0) + 1 };
  return isFull ? undefined : before;
}

/** What becomes of a message, and whether with it its device begins or ceases to be a runaway. */
export interface QuotaDecision {
  readonly isTaken: boolean;
  readonly change: 'begun' | 'ended' | undefined;
}

const TAKEN: QuotaDecision = { isTaken: true, change: undefined };

/**
 * The quota of one device. What it drops is to be acknowledged, at QoS 1 too: the broker would only send it again. What
 * had waited at the broker is not to be asked for: it comes as fast as it is taken, and says nothing of its device's pace.
 */
export class DeviceQuota {
  #bucket = FULL_BUCKET;
  #dropped = 0;
  #runaway: Runaway | undefined;

  /** Messages that were dropped in all. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Since when the device sends too much; undefined where it does not. */
  get runaway(): Runaway | undefined {
    return this.#runaway;
  }

  /** Whether a message that comes now is taken. */
  take(quota: Quota, nowMs: number): QuotaDecision {
    const bucket = settledBucket(this.#bucket, quota, nowMs);
    const taken = takeToken(bucket, quota, nowMs);
    const isDropped = taken === undefined;
    this.#bucket = taken ?? bucket;
    if (!isDropped && this.#runaway === undefined) return TAKEN;
    if (isDropped) this.#dropped += 1;
    const before = this.#runaway;
    this.#runaway = runawayAfter(before, { isDropped, isFull: bucket <= nowMs, nowMs });
    return { isTaken: !isDropped, change: changeOf(before, this.#runaway) };
  }

  /** Whether a runaway that may have fallen silent has come to rest: nothing else would tell. */
  look(quota: Quota, nowMs: number): QuotaDecision['change'] {
    const before = this.#runaway;
    if (before === undefined) return undefined;
    this.#bucket = settledBucket(this.#bucket, quota, nowMs);
    this.#runaway = runawayAfter(before, { isDropped: false, isFull: this.#bucket <= nowMs, nowMs });
    return changeOf(before, this.#runaway);
  }
}

function changeOf(before: Runaway | undefined, after: Runaway | undefined): QuotaDecision['change'] {
  if (before === undefined) return after === undefined ? undefined : 'begun';
  return after === undefined ? 'ended' : undefined;
}
