import { z } from 'zod';
import { ContractError } from './contract-error.ts';
import { deviceIdSchema, type DeviceId } from './device-id.ts';
import type { ReadingValue } from './telemetry.ts';
import { isMetricName } from './topic-map.ts';

/** One reading as the digest carries it, decoded once by ingestion for everybody. */
export interface DigestReading {
  readonly device: DeviceId;
  readonly metric: string;
  readonly value: ReadingValue;
  readonly unit: string | null;
  /** The device's time, milliseconds since 1970. */
  readonly atMs: number;
  /** The QoS with which it came. */
  readonly qos: 0 | 1 | 2;
  /** Replayed, redelivered or old: it is a fact about the past, and fires nothing. */
  readonly late: boolean;
}

/** Some readings of one broker, in the order of their receipt. */
export interface DigestBatch {
  /** Which run of ingestion made it: numbers begin anew with each. */
  readonly run: string;
  /** Grows by one with each batch of a run; whoever sees a gap has missed readings. */
  readonly number: number;
  readonly readings: readonly DigestReading[];
}

/** The topic of a broker's digest. */
export function digestTopic(broker: string): string {
  return `muster/digest/${broker}`;
}

/** Every digest of a broker; it has but its own. */
export const DIGEST_FILTER = 'muster/digest/+';
/** Where consumers say what they want to hear. */
export const INTEREST_FILTER = 'muster/interest/+';

/** The topic on which a consumer keeps its interest, retained. */
export function interestTopic(consumer: string): string {
  return `muster/interest/${consumer}`;
}

const interestSchema = z.strictObject({
  metrics: z.union([z.literal('*'), z.array(z.string().refine(isMetricName)).max(10_000)]),
});

/** The metrics that somebody wants to hear of. */
export type Interest = ReadonlySet<string> | '*';

/** An interest as it is published; an empty payload takes it back. */
export function encodeInterest(interest: Interest): string {
  return JSON.stringify({ metrics: interest === '*' ? '*' : [...interest].sort() });
}

/**
 * Reads an interest.
 * @throws ContractError `invalid-digest`
 */
export function decodeInterest(payload: Uint8Array): Interest {
  const parsed = interestSchema.safeParse(jsonOf(payload));
  if (!parsed.success) throw new ContractError('invalid-digest', `not an interest: ${z.prettifyError(parsed.error)}`);
  return parsed.data.metrics === '*' ? '*' : new Set(parsed.data.metrics);
}

/** Readings as arrays: names of keys would be most of a batch. */
const batchSchema = z.object({
  run: z.string().min(1).max(64),
  n: z.number().int().min(1),
  readings: z.array(
    z.tuple([
      deviceIdSchema,
      z.string(),
      z.union([z.number(), z.boolean(), z.string()]),
      z.string().nullable(),
      z.number().int(),
      z.union([z.literal(0), z.literal(1), z.literal(2)]),
      z.boolean(),
    ]),
  ),
});

/** A batch as it is published. */
export function encodeDigest({ run, number, readings }: DigestBatch): string {
  return JSON.stringify({
    run,
    n: number,
    readings: readings.map(({ device, metric, value, unit, atMs, qos, late }) => [
      device,
      metric,
      value,
      unit,
      atMs,
      qos,
      late,
    ]),
  });
}

/**
 * Reads a batch.
 * @throws ContractError `invalid-digest`
 */
export function decodeDigest(payload: Uint8Array): DigestBatch {
  const parsed = batchSchema.safeParse(jsonOf(payload));
  if (!parsed.success) throw new ContractError('invalid-digest', `not a digest: ${z.prettifyError(parsed.error)}`);
  return {
    run: parsed.data.run,
    number: parsed.data.n,
    readings: parsed.data.readings.map(([device, metric, value, unit, atMs, qos, late]) => ({
      device,
      metric,
      value,
      unit,
      atMs,
      qos,
      late,
    })),
  };
}

function jsonOf(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload)) as unknown;
  } catch {
    throw new ContractError('invalid-digest', 'not JSON');
  }
}
