import { ContractError, decodeTelemetry, type DeviceId, type Telemetry, type TopicMatch } from '@muster/contract';

const MAX_DETAIL_FIELDS = 20;

/** Why a message, or a part of it, cannot be used, and whose it is by the topic map; empty where that names no device. */
export interface Refusal {
  readonly device: DeviceId | '';
  readonly reason: string;
  readonly detail: string;
}

/** What a message says by a topic map. */
export type MessageReading =
  | { readonly kind: 'telemetry'; readonly device: DeviceId; readonly telemetry: Telemetry }
  /** Of a device that is decommissioned: not to be looked at. */
  | { readonly kind: 'tombstoned'; readonly device: DeviceId }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * Reads a message of telemetry. What stands in `rejected` costs the rest nothing.
 * @param match what the topic map says of its topic
 */
export function readMessage(
  match: TopicMatch | undefined,
  payload: Uint8Array,
  tombstones: { has(device: DeviceId): boolean },
): MessageReading {
  // A subscription of an earlier topic map that the broker still has.
  if (match === undefined || match.entry.role !== 'telemetry')
    return refused('', 'not-in-topic-map', 'no telemetry entry of the topic map matches');
  if (!match.device.valid)
    return refused('', 'invalid-device-id', `not a device id: ${JSON.stringify(match.device.text.slice(0, 100))}`);
  const { id: device } = match.device;
  if (tombstones.has(device)) return { kind: 'tombstoned', device };
  try {
    return { kind: 'telemetry', device, telemetry: decodeTelemetry(payload, match.entry) };
  } catch (error) {
    if (!(error instanceof ContractError)) throw error;
    return refused(device, error.code, error.message);
  }
}

/** What of a message cannot be used though its other fields can: its fields by the reason, then the metrics too many. */
export function refusedParts(device: DeviceId, telemetry: Telemetry, excess: readonly string[]): readonly Refusal[] {
  if (telemetry.rejected.length === 0 && excess.length === 0) return NONE;
  const reasons = new Set(telemetry.rejected.map(({ reason }) => reason));
  const parts = [...reasons].map((reason): Refusal => {
    const fields = telemetry.rejected.filter((one) => one.reason === reason).map(({ field }) => field);
    return { device, reason, detail: `fields ${fields.slice(0, MAX_DETAIL_FIELDS).join(', ')}` };
  });
  if (excess.length > 0) parts.push({ device, reason: 'too-many-metrics', detail: `metrics ${excess.join(', ')}` });
  return parts;
}

const NONE: readonly Refusal[] = [];

function refused(device: DeviceId | '', reason: string, detail: string): MessageReading {
  return { kind: 'refused', refusal: { device, reason, detail } };
}
