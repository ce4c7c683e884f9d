import {
  ContractError,
  decodeNumber,
  decodeStatus,
  decodeTelemetry,
  decodeText,
  MAX_TELEMETRY_BYTES,
  parsePattern,
  type PresenceReason,
  type ReadingValue,
  type StatedReason,
  type StatusMessage,
  type Telemetry,
  type TelemetryEntry,
  type TopicMap,
  type TopicMatch,
} from '@muster/contract';
import type { ReceivedMessage } from '@muster/broker';
import type { ReceivedEvent, Replay, WatchedPresence, WatchedReading, WatchEvent } from './watch-model.ts';

const EXPLANATIONS: Readonly<Record<Extract<PresenceReason, 'birth' | 'will' | StatedReason>, string>> = {
  birth: 'said that it is online',
  will: 'its will was published, or it said offline without a reason',
  shutdown: 'said that it shuts down',
  sleep: 'said that it goes to sleep',
  update: 'said that it goes offline for an update',
};

/** What of a message is looked at. */
export type BrokerMessage = Pick<ReceivedMessage, 'topic' | 'payload' | 'qos' | 'retain' | 'receivedAtMs'>;

/** The contract's limit for a text; a longer payload that has no other shape is cut. */
const MAX_TEXT_LENGTH = 256;
const OPENING_BRACE = 0x7b;

type Content = Extract<WatchEvent, { kind: 'readings' | 'presence' }>;

function readingsOf(telemetry: Telemetry, message: BrokerMessage): readonly WatchedReading[] {
  const { receivedAtMs, qos, retain } = message;
  const atMs = telemetry.time.kind === 'clock' ? telemetry.time.epochMs : receivedAtMs;
  return telemetry.readings.map(({ metric, value, unit }) => ({
    metric,
    value,
    unit: unit ?? null,
    atMs,
    receivedAtMs,
    qos,
    replay: replayOf(retain),
    late: false,
  }));
}

function replayOf(retain: boolean): Replay {
  return retain ? 'retained' : null;
}

function presenceOf(said: StatusMessage, { receivedAtMs, retain }: BrokerMessage): WatchedPresence {
  const common = { session: said.session ?? null, sinceMs: retain ? null : receivedAtMs, replay: replayOf(retain) };
  switch (said.kind) {
    case 'birth':
      return { state: 'online', reason: 'birth', explanation: EXPLANATIONS.birth, ...common };
    case 'will':
      return { state: 'lost', reason: 'will', explanation: EXPLANATIONS.will, ...common };
    case 'graceful': {
      const isAsleep = said.reason === 'sleep';
      const explanation = EXPLANATIONS[said.reason];
      const wakes = said.wakeInSeconds === undefined ? '' : ` for ${said.wakeInSeconds} s`;
      return {
        state: isAsleep ? 'asleep' : 'offline',
        reason: said.reason,
        explanation: `${explanation}${wakes}`,
        ...common,
      };
    }
  }
}

/** How the payload of a topic is read of which nothing is known but that it is a JSON object. */
const anyObject: TelemetryEntry = {
  pattern: parsePattern('{topic}'),
  device: '{topic}',
  role: 'telemetry',
  decoder: 'json',
  fields: {},
  others: 'keep',
};

/** What a decoder makes of something; undefined where it refuses. */
function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof ContractError) return undefined;
    throw error;
  }
}

function scalar(metric: string, value: ReadingValue): Telemetry {
  return {
    readings: [{ metric, value, unit: undefined }],
    time: { kind: 'none' },
    session: undefined,
    seq: undefined,
    rejected: [],
  };
}

/** A topic that the map does not name, under its own name: the fields of an object, else the payload as it looks. */
function unmapped(message: BrokerMessage): { readonly device: string; readonly telemetry: Telemetry } {
  const { topic, payload } = message;
  if (payload[0] === OPENING_BRACE) {
    const object = attempt(() => decodeTelemetry(payload, anyObject));
    if (object !== undefined && object.readings.length > 0) return { device: topic, telemetry: object };
  }
  const text = decodeText(payload, MAX_TELEMETRY_BYTES);
  const end = topic.lastIndexOf('/');
  const value = attempt(() => decodeNumber(text)) ?? text.slice(0, MAX_TEXT_LENGTH);
  return { device: end > 0 ? topic.slice(0, end) : topic, telemetry: scalar(topic.slice(end + 1) || topic, value) };
}

function mapped({ entry, device }: TopicMatch, message: BrokerMessage): Content {
  const { payload } = message;
  const id = device.valid ? device.id : message.topic;
  switch (entry.role) {
    case 'status':
    case 'lwt':
      return { kind: 'presence', device: id, presence: presenceOf(decodeStatus(payload), message) };
    case 'telemetry':
      return { kind: 'readings', device: id, readings: readingsOf(decodeTelemetry(payload, entry), message) };
    case 'info':
    case 'config':
    case 'command':
    case 'ack': {
      const text = decodeText(payload, MAX_TELEMETRY_BYTES).slice(0, MAX_TEXT_LENGTH);
      return { kind: 'readings', device: id, readings: readingsOf(scalar(entry.role, text), message) };
    }
  }
}

/** What a message of a broker tells; whatever it is, it tells one thing. */
export function eventOf(message: BrokerMessage, topicMap: TopicMap): ReceivedEvent {
  const { topic, payload, receivedAtMs } = message;
  const match = topicMap.match(topic);
  const device = match?.device.valid === true ? match.device.id : topic;
  if (payload.length === 0) {
    const isStatus = match?.entry.role === 'status' || match?.entry.role === 'lwt';
    return { kind: 'cleared', device, what: isStatus ? 'presence' : 'nothing', receivedAtMs };
  }
  try {
    if (match !== undefined) return { ...mapped(match, message), receivedAtMs };
    const { device: group, telemetry } = unmapped(message);
    return { kind: 'readings', device: group, readings: readingsOf(telemetry, message), receivedAtMs };
  } catch (error) {
    if (!(error instanceof ContractError)) throw error;
    return { kind: 'unreadable', device, topic, why: error.message, receivedAtMs };
  }
}
