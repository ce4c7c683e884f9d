import { z } from 'zod';
import { ContractError } from './contract-error.ts';
import type { DeviceId } from './device-id.ts';
import { decodeJson, decodeText } from './payload.ts';
import { MUSTER_NAMESPACE, type TopicMap } from './topic-map.ts';
import { checkTopic } from './topic-pattern.ts';

const withoutNul = (value: string): boolean => !value.includes('\0');
const text = z.string().max(200).refine(withoutNul, 'U+0000 cannot be stored');

/** What a device says about itself on `devices/{device}/info`; unknown keys are left out. */
export const deviceInfoSchema = z.object({
  model: text.optional(),
  firmware: text.optional(),
  capabilities: z.array(text).max(64).optional(),
  reset_reason: text.optional(),
  /** Seconds. */
  keep_alive: z.number().int().min(0).max(65_535).optional(),
  addresses: z.union([z.array(text).max(16), z.record(z.string().max(64).refine(withoutNul), text)]).optional(),
  /** The MQTT client id, where it is not the device id. */
  client_id: text.optional(),
  /** Retained topics outside `devices/{device}/#` that the device owns. */
  topics: z.array(z.string().max(1024).refine(withoutNul)).max(32).optional(),
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

/**
 * The topics of `info.topics` that a device may own: a device cannot lay claim to `$` topics, to Muster's own, or to
 * topics that carry another device's id.
 */
export function ownableTopics(id: DeviceId, topics: readonly string[], map: TopicMap): readonly string[] {
  return topics.filter((topic) => {
    try {
      checkTopic(topic);
    } catch {
      return false;
    }
    if (topic.startsWith('$') || topic.startsWith(MUSTER_NAMESPACE)) return false;
    const [first, owner] = topic.split('/');
    if (first === 'devices') return owner === id;
    const match = map.match(topic);
    return match === undefined || match.entry.device !== '{device}' || (match.device.valid && match.device.id === id);
  });
}
