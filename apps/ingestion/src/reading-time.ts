import type { ClaimedTime } from '@muster/contract';

/** A clock further ahead than this is wrong: the reading is stored at its receipt. */
export const MAX_CLOCK_AHEAD_MS = 24 * 3_600_000;
/** A clock further back than 2000-01-01 was never set. */
export const EARLIEST_EPOCH_MS = 946_684_800_000;

/** When a reading is stored, in milliseconds since 1970, and how that was found. */
export interface ReadingTime {
  readonly epochMs: number;
  readonly source: 'device' | 'boot' | 'receipt';
  /** The device's clock was not believed. */
  readonly clockRefused: boolean;
}

/** What is known when a message is to be given its time. */
export interface TimeContext {
  readonly receivedAtMs: number;
  /** When the device booted, where that has been fixed for its session. */
  readonly bootedAtMs: number | undefined;
  /** The last time that was given to this device at receipt. */
  readonly lastReceiptMs: number;
}

/**
 * The time of a message's readings: the device's own, else its boot time and uptime, else the receipt, and there at
 * least 1 ms after the one before, so that a burst does not overwrite itself.
 */
export function readingTime(claimed: ClaimedTime, context: TimeContext): ReadingTime {
  const receipt = (clockRefused: boolean): ReadingTime => ({
    epochMs: Math.max(context.receivedAtMs, context.lastReceiptMs + 1),
    source: 'receipt',
    clockRefused,
  });
  const believed = (epochMs: number, source: 'device' | 'boot'): ReadingTime =>
    epochMs >= EARLIEST_EPOCH_MS && epochMs <= context.receivedAtMs + MAX_CLOCK_AHEAD_MS
      ? { epochMs, source, clockRefused: false }
      : receipt(true);
  switch (claimed.kind) {
    case 'clock':
      return believed(claimed.epochMs, 'device');
    case 'uptime':
      return context.bootedAtMs === undefined
        ? receipt(false)
        : believed(context.bootedAtMs + claimed.uptimeMs, 'boot');
    case 'none':
      return receipt(false);
  }
}
