import type { ClaimedTime } from '@muster/contract';

/** A clock further ahead than this is wrong: the reading is stored at its receipt. */
export const MAX_CLOCK_AHEAD_MS = 24 * 3_600_000;
/** A clock further back than 2000-01-01 was never set. */
export const EARLIEST_EPOCH_MS = 946_684_800_000;

/**
 * The time that a message claims, where it is believed, in milliseconds since 1970: the device's own, else its boot time
 * and uptime. Else its readings are stored at the time of receipt.
 * @param bootedAtMs when the device booted, where that has been fixed for its session
 */
export function believedTimeMs(
  claimed: ClaimedTime,
  receivedAtMs: number,
  bootedAtMs: number | undefined,
): number | undefined {
  const epochMs = claimedTimeMs(claimed, bootedAtMs);
  if (epochMs === undefined || epochMs < EARLIEST_EPOCH_MS || epochMs > receivedAtMs + MAX_CLOCK_AHEAD_MS)
    return undefined;
  return epochMs;
}

/** The time that a message claims, believed or not; undefined where it claims none, or its boot time is not known. */
export function claimedTimeMs(claimed: ClaimedTime, bootedAtMs: number | undefined): number | undefined {
  switch (claimed.kind) {
    case 'clock':
      return claimed.epochMs;
    case 'uptime':
      return bootedAtMs === undefined ? undefined : bootedAtMs + claimed.uptimeMs;
    case 'none':
      return undefined;
  }
}

/**
 * The time of receipt, at least 1 ms after the last one that was given to the device, so that a burst does not overwrite
 * itself.
 */
export function receiptTimeMs(receivedAtMs: number, lastReceiptMs: number): number {
  return Math.max(receivedAtMs, lastReceiptMs + 1);
}
