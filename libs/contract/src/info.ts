import { z } from 'zod';
import { ContractError } from './contract-error.ts';
import type { DeviceId } from './device-id.ts';
import { decodeJson, decodeText, isStorableText } from './payload.ts';
import { MUSTER_NAMESPACE, type TopicMap } from './topic-map.ts';
import { isTopic } from './topic-pattern.ts';

const text = z.string().max(200).refine(isStorableText, 'U+0000 and lone surrogates cannot be stored');

/** What a device says about itself on `devices/{device}/info`; unknown keys are left out. */
export const deviceInfoSchema = z.object({
  model: text.optional(),
  firmware: text.optional(),
  capabilities: z.array(text).max(64).optional(),
  reset_reason: text.optional(),
  /** Seconds. */
  keep_alive: z.number().int().min(0).max(65_535).optional(),
  /** Seconds between two telemetry messages, where the device sends them regularly. */
  interval: z.number().positive().max(31_536_000).optional(),
  addresses: z.union([z.array(text).max(16), z.record(z.string().max(64).refine(isStorableText), text)]).optional(),
  /** The configuration that it goes by; `error` where the last one it was told could not be taken. */
  config: z
    .object({
      version: z.number().int().min(0).max(4_294_967_295),
      unknown: z.number().int().min(0).optional().describe('Settings that it does not have'),
      error: text.optional(),
    })
    .optional(),
  /** The MQTT client id, where it is not the device id. */
  client_id: text.optional(),
  /** Retained topics outside `devices/{device}/#` that the device owns. */
  topics: z.array(z.string().max(1024).refine(isStorableText)).max(32).optional(),
});
/** See {@link deviceInfoSchema}. */
export type DeviceInfo = z.infer<typeof deviceInfoSchema>;

const MAX_INFO_BYTES = 16_384;

/**
 * What an info payload says.
 * @throws ContractError `payload-empty`, `payload-too-large`, `invalid-utf8`, `invalid-json`, `invalid-info`
 */
export function decodeInfo(payload: Uint8Array): DeviceInfo {
  const parsed = deviceInfoSchema.safeParse(decodeJson(decodeText(payload, MAX_INFO_BYTES)));
  if (!parsed.success) throw new ContractError('invalid-info', `not a device info: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Mosquitto drops a client that subscribes to more levels than this. */
const MAX_LEVELS = 200;
/** Control characters and non-characters, which a broker may refuse (MQTT 5, section 1.5.4). */
const REFUSED_BY_BROKERS = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/;

/**
 * The topics of `info.topics` that a device may own: topics that a broker can hold, and neither `$` topics nor Muster's
 * own nor any in the subtree of another device.
 */
export function ownableTopics(id: DeviceId, topics: readonly string[], map: TopicMap): readonly string[] {
  return topics.filter((topic) => {
    if (!isTopic(topic) || REFUSED_BY_BROKERS.test(topic) || topic.split('/').length > MAX_LEVELS) return false;
    if (topic.startsWith('$') || topic.startsWith(MUSTER_NAMESPACE)) return false;
    const owner = map.subtreeOwner(topic);
    return owner === undefined || owner === id;
  });
}
