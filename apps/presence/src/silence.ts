import { RETURN_GRACE_MS } from './broker-outage.ts';
import { SLEEP_TOLERANCE } from './presence-machine.ts';
import { changedTo, type Change, type PresenceRecord } from './presence-record.ts';

/** How often a device sends telemetry, as far as it is known; times are milliseconds. */
export interface Rhythm {
  /** When telemetry was last heard, by the clock of ingestion. */
  readonly heardAtMs: number;
  /** Messages so far. */
  readonly messages: number;
  /** The mean of the times between messages, and their mean deviation from it. */
  readonly meanMs: number;
  readonly deviationMs: number;
  /** The longest time between messages, which fades with each of them. */
  readonly longestMs: number;
  /** Times that were taken in. */
  readonly samples: number;
}

/** The activity of a device as ingestion has it on record. */
export interface Activity {
  readonly heardAtMs: number;
  readonly messages: number;
  readonly broker: string;
}

/** As many times must have been seen before silence can be told from habit. */
const MIN_SAMPLES = 8;
/** Weights of the newest time, as in TCP's estimate of a round trip (RFC 6298, section 2). */
const MEAN_WEIGHT = 1 / 8;
const DEVIATION_WEIGHT = 1 / 4;
/** Who sends what changes has pauses that come again: the longest counts for some hundred messages. */
const LONGEST_FADES = 1 / 256;
/** A message is missed when it is half an interval late; stale is who has missed two. */
const MISSED_INTERVALS = 2.5;
/** Ingestion tells what it has heard five times a second, and is asked once a second: less is no silence. */
const LEAST_SILENCE_MS = 5_000;
/** Telemetry that was under way when the device left: what comes so much later it has sent since. */
const UNDER_WAY_MS = 3_000;
/** A learned interval is kept anew when it has changed by more than this share of it. */
const WORTH_KEEPING = 0.25;

/**
 * A rhythm after more activity. A time that includes an absence says nothing about it.
 * @param absentUntilMs when the device came back from its last absence; what lies across it is left out
 */
export function learn(before: Rhythm | undefined, activity: Activity, absentUntilMs: number): Rhythm {
  const { heardAtMs, messages } = activity;
  if (before === undefined) return { heardAtMs, messages, meanMs: 0, deviationMs: 0, longestMs: 0, samples: 0 };
  const count = messages - before.messages;
  const elapsedMs = heardAtMs - before.heardAtMs;
  const next = { ...before, heardAtMs: Math.max(heardAtMs, before.heardAtMs), messages };
  if (count <= 0 || elapsedMs <= 0 || before.heardAtMs < absentUntilMs) return next;
  const gapMs = elapsedMs / count;
  const longestMs = Math.max(gapMs, before.longestMs * (1 - LONGEST_FADES) ** count);
  if (before.samples === 0) return { ...next, meanMs: gapMs, deviationMs: gapMs / 2, longestMs, samples: count };
  const deviationMs = before.deviationMs + DEVIATION_WEIGHT * (Math.abs(gapMs - before.meanMs) - before.deviationMs);
  const meanMs = before.meanMs + MEAN_WEIGHT * (gapMs - before.meanMs);
  return { ...next, meanMs, deviationMs, longestMs, samples: before.samples + count };
}

/** The interval that can be expected of a rhythm, in milliseconds; null where too little is known. */
export function learnedIntervalMs(rhythm: Rhythm): number | null {
  if (rhythm.samples < MIN_SAMPLES) return null;
  return Math.round(Math.max(rhythm.meanMs + 2 * rhythm.deviationMs, rhythm.longestMs));
}

/** Whether a learned interval differs enough from the one on record to be written. */
export function isWorthKeeping(onRecordMs: number | null, learnedMs: number | null): boolean {
  if (learnedMs === null) return false;
  return onRecordMs === null || Math.abs(learnedMs - onRecordMs) > onRecordMs * WORTH_KEEPING;
}

/**
 * What telemetry says about presence: who sends is connected, whatever was said before. Undefined where that is known.
 * @param heardAtMs when it was received
 */
export function heard(before: PresenceRecord, heardAtMs: number, broker: string, nowMs: number): Change | undefined {
  if (before.state === 'online') return undefined;
  const isExpectedBack = before.state === 'stale' || before.interrupted !== null;
  if (heardAtMs <= before.sinceMs + (isExpectedBack ? 0 : UNDER_WAY_MS)) return undefined;
  const rule =
    before.state === 'stale'
      ? 'it sends telemetry again'
      : `it sent telemetry after it was ${before.state} (${before.reason}): it is connected`;
  const change = changedTo(before, 'online', 'telemetry', nowMs, {
    ...{ broker, topic: '', payload: '', retained: false, rule },
  });
  return before.state === 'stale' ? stillDue(change, before) : change;
}

/** A birth that expires does so whether or not telemetry comes. */
function stillDue(change: Extract<Change, { kind: 'changed' }>, { dueAtMs }: PresenceRecord): Change {
  return { ...change, record: { ...change.record, dueAtMs } };
}

/** From when on ingestion has heard a broker, and until when all that it has heard is on record; by its clock. */
export interface Attention {
  readonly fromMs: number;
  readonly untilMs: number;
}

/**
 * Who is connected and has missed two messages is stale (mqtt-pitfalls P14). Undefined where silence means nothing: no
 * interval is known, or ingestion has not listened for so long.
 * @param declaredIntervalMs what the device says about itself; what was learned counts where it says nothing
 */
export function silent(
  before: PresenceRecord,
  rhythm: Rhythm,
  attention: Attention | undefined,
  declaredIntervalMs: number | undefined,
  nowMs: number,
): Change | undefined {
  if (before.state !== 'online' || attention === undefined) return undefined;
  const intervalMs = declaredIntervalMs ?? before.learnedIntervalMs;
  if (intervalMs === null) return undefined;
  const limitMs = Math.max(LEAST_SILENCE_MS, intervalMs * MISSED_INTERVALS);
  const sinceMs = Math.max(rhythm.heardAtMs, before.sinceMs, attention.fromMs);
  if (attention.untilMs - sinceMs < limitMs) return undefined;
  const kind = declaredIntervalMs === undefined ? 'as it used to' : 'as it says itself';
  const rule = `connected, and no telemetry for ${seconds(attention.untilMs - sinceMs)} s; expected every ${seconds(intervalMs)} s, ${kind}`;
  return stillDue(changedTo(before, 'stale', 'silent', nowMs, { ...before.evidence, rule }), before);
}

/**
 * What it means that a device has not come back in its time: a sleeper that did not wake, a birth that has expired and
 * was not published anew, or nobody behind a broker that was started anew. Undefined where it means nothing (yet).
 * @param hearingSinceMs since when it would be heard, wherever it is; undefined while it might not be: then it is not silent
 */
export function overdue(before: PresenceRecord, nowMs: number, hearingSinceMs: number | undefined): Change | undefined {
  const { state, dueAtMs, interrupted, evidence } = before;
  if (hearingSinceMs === undefined || dueAtMs === null) return undefined;
  if (nowMs < Math.max(dueAtMs, hearingSinceMs + RETURN_GRACE_MS)) return undefined;
  if (interrupted?.will != null) return changedTo(before, 'lost', 'will', nowMs, interrupted.will);
  if (interrupted !== null) {
    const rule = `${evidence.broker} was started anew, and the device has not connected to it since`;
    return changedTo(before, 'lost', 'not-back', nowMs, { ...evidence, rule });
  }
  return state === 'asleep'
    ? changedTo(before, 'lost', 'overslept', nowMs, {
        ...evidence,
        rule: `asleep for ${SLEEP_TOLERANCE} times what it announced`,
      })
    : changedTo(before, 'lost', 'expired', nowMs, {
        ...evidence,
        rule: 'its birth has expired and was not published anew',
      });
}

function seconds(ms: number): string {
  return String(Number((ms / 1000).toPrecision(3)));
}
