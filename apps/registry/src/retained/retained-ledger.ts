import { createHash } from 'node:crypto';
import type { ReceivedMessage } from '@muster/broker';
import { isStorableText, MUSTER_NAMESPACE, type BrokerDrift } from '@muster/contract';

/** What is retained on one topic of one broker. */
export interface LedgerEntry {
  readonly topic: string;
  readonly device: string | null;
  readonly bytes: number;
  readonly sha256: string;
  /** Null where it was found by a sweep, which reads at QoS 0. */
  readonly qos: 0 | 1 | 2 | null;
  readonly seenAtMs: number;
  readonly expiresAtMs: number | null;
}

/** What is on record of a topic, as far as a sweep compares it. */
export type RecordedEntry = Pick<LedgerEntry, 'topic' | 'device' | 'sha256'>;

/** Longer ones do not fit into an index; they are cleared like others, and not listed. */
const MAX_TOPIC_BYTES = 1024;

/** Whether a topic has a place in the ledger: neither the broker's own nor Muster's, and one that can be on record. */
export function isLedgerTopic(topic: string): boolean {
  return (
    !topic.startsWith('$') &&
    !topic.startsWith(MUSTER_NAMESPACE) &&
    isStorableText(topic) &&
    Buffer.byteLength(topic) <= MAX_TOPIC_BYTES
  );
}

/** A retained message as an entry. A sweep reads at QoS 0, whatever the QoS was. */
export function ledgerEntry(message: ReceivedMessage, device: string | null, isLive: boolean): LedgerEntry {
  const { topic, payload, qos, receivedAtMs, properties } = message;
  const expirySeconds = properties.messageExpiryInterval;
  return {
    topic,
    device,
    bytes: payload.length,
    sha256: createHash('sha256').update(payload).digest('hex'),
    qos: isLive ? qos : null,
    seenAtMs: receivedAtMs,
    expiresAtMs: expirySeconds === undefined ? null : receivedAtMs + expirySeconds * 1_000,
  };
}

/** What a sweep has found to be other than on record. */
export interface Reconciliation {
  readonly added: readonly LedgerEntry[];
  readonly changed: readonly LedgerEntry[];
  readonly removed: readonly string[];
}

/**
 * Compares what a sweep found with what is on record of the same topics. What was heard live since the sweep began is left
 * out: every later change is heard as well, so what was heard last is at least as new as what the sweep found.
 */
export function reconcile(
  found: readonly LedgerEntry[],
  recorded: readonly RecordedEntry[],
  heardLive: ReadonlySet<string>,
): Reconciliation {
  const before = new Map(recorded.map((entry) => [entry.topic, entry]));
  const now = new Set(found.map(({ topic }) => topic));
  const news = found.filter(({ topic }) => !heardLive.has(topic));
  return {
    added: news.filter(({ topic }) => !before.has(topic)),
    changed: news.filter(({ topic, sha256, device }) => {
      const one = before.get(topic);
      return one !== undefined && (one.sha256 !== sha256 || one.device !== device);
    }),
    removed: recorded.map(({ topic }) => topic).filter((topic) => !now.has(topic) && !heardLive.has(topic)),
  };
}

/** A regular expression of PostgreSQL for the topics that an MQTT filter matches. */
export function topicExpression(filter: string): string {
  const levels = filter.split('/');
  const isOpen = levels.at(-1) === '#';
  const fixed = (isOpen ? levels.slice(0, -1) : levels).map((level) =>
    level === '+' ? '[^/]*' : level.replace(/[^\p{L}\p{N}]/gu, (character) => `\\${character}`),
  );
  if (!isOpen) return `^${fixed.join('/')}$`;
  // `a/#` is also `a` itself (MQTT 5, section 4.7.1.2).
  return fixed.length === 0 ? '^' : `^${fixed.join('/')}(/|$)`;
}

/** What drift is made of, for one broker. */
export interface DriftInput {
  readonly ledger: number;
  readonly expired: number;
  readonly counted: { readonly retained: number; readonly atMs: number } | undefined;
  readonly baseline: { readonly system: number; readonly muster: number; readonly atMs: number } | undefined;
  readonly isListening: boolean;
  readonly hasPassed: boolean;
}

/** What a broker retains beyond its own topics, Muster's and the ledger's (mqtt-pitfalls R14), and what that is likely to be. */
export function driftOf(input: DriftInput): Pick<BrokerDrift, 'drift' | 'likely'> {
  const { ledger, expired, counted, baseline } = input;
  if (!input.isListening) return { drift: null, likely: ['the ledger does not hear this broker; see its log'] };
  if (counted === undefined || baseline === undefined)
    return {
      drift: null,
      likely: [
        'the broker has not told how many messages it retains: $SYS tells so when the figure changes, and only whom the broker lets read $SYS/#',
      ],
    };
  const drift = counted.retained - baseline.system - baseline.muster - ledger;
  const likely = [
    ...(drift > 0 && expired > 0
      ? [`up to ${expired} that have expired: the broker counts them until their topic is touched`]
      : []),
    ...(drift > 0 && !input.hasPassed ? ['the first sweep over all devices has not ended'] : []),
    ...(drift > expired
      ? [
          "topics that the topic map does not name; mosquitto_sub -t '#' --retained-only -F '%t' shows them, and a line in the topic map makes them known",
          'topics of more than 1,024 bytes, which are not listed',
        ]
      : []),
    ...(drift < 0
      ? [
          'messages that were cleared since the broker told its figure, which it does every 10 s; or that expired unnoticed',
        ]
      : []),
  ];
  return { drift, likely };
}
