import { randomUUID } from 'node:crypto';
import type { ClearedMessage } from '@muster/contract';
import { BrokerConnection, BrokerError, inParallel, readRetained, type BrokerTarget } from '@muster/broker';

const BROKER_TIMEOUT_MS = 5_000;
/** Below the least window that brokers give a client (MQTT 5, section 3.3.4): more would end the connection. */
const CLEARS_AT_ONCE = 16;
/** Fewer than what brokers queue for a client unless they are told otherwise (mqtt-pitfalls R5). */
const BATCH = 500;

/** What became of the clearing of a topic. */
export type Clearing = Pick<ClearedMessage, 'clearedAt' | 'reasonCode'> | { readonly fault: string };

/**
 * Clears topics on a broker over one connection, by MQTT 5 and QoS 1: under 3.1.1 what the broker refuses looks like what
 * it does (mqtt-pitfalls R2). A topic that it refuses is in the answer as such.
 * @throws BrokerError when the broker does not answer; what was cleared by then is in `cleared`
 */
export async function clearTopics(
  broker: BrokerTarget,
  topics: ReadonlySet<string>,
  cleared: Map<string, Clearing>,
): Promise<void> {
  if (topics.size === 0) return;
  const clientId = `muster-clear-${randomUUID()}`;
  const connection = new BrokerConnection({ broker, clientId, sessionExpirySeconds: 0 });
  try {
    await connection.whenReady(BROKER_TIMEOUT_MS);
    await inParallel(topics, CLEARS_AT_ONCE, async (topic) => {
      try {
        const options = { qos: 1, retain: true, withinMs: BROKER_TIMEOUT_MS } as const;
        const reasonCode = await connection.publish(topic, '', options);
        cleared.set(topic, { clearedAt: new Date().toISOString(), reasonCode });
      } catch (error) {
        if (!(error instanceof BrokerError) || error.code !== 'publish-refused') throw error;
        cleared.set(topic, { fault: error.message });
      }
    });
  } finally {
    await connection.close(0);
  }
}

/** What became of one topic: `clear` as a fresh connection saw it afterwards. */
export interface ClearedTopic {
  readonly isClear: boolean;
  /** Of the PUBACK; null where the broker did not take it. */
  readonly reasonCode: number | null;
  /** Why it is not clear, or not known to be; null where it is. */
  readonly detail: string | null;
}

/**
 * Clears topics on a broker, each by its own name, and looks again over a fresh connection. Nothing is thrown: what went
 * wrong is said of each topic.
 */
export async function clearAndLook(
  broker: BrokerTarget,
  topics: readonly string[],
): Promise<ReadonlyMap<string, ClearedTopic>> {
  const outcome = new Map<string, ClearedTopic>();
  for (let at = 0; at < topics.length; at += BATCH) await clearBatch(broker, topics.slice(at, at + BATCH), outcome);
  return outcome;
}

async function clearBatch(
  broker: BrokerTarget,
  topics: readonly string[],
  outcome: Map<string, ClearedTopic>,
): Promise<void> {
  const cleared = new Map<string, Clearing>();
  let broken: string | undefined;
  try {
    await clearTopics(broker, new Set(topics), cleared);
  } catch (error) {
    broken = messageOf(error);
  }
  try {
    const left = new Set((await readRetained(broker, topics, BROKER_TIMEOUT_MS)).map(({ topic }) => topic));
    for (const topic of topics) {
      const clearing = cleared.get(topic) ?? { fault: broken ?? 'it was not published' };
      const [reasonCode, fault] =
        'fault' in clearing ? [null, clearing.fault] : [clearing.reasonCode, 'it was published again at once'];
      const isClear = !left.has(topic);
      outcome.set(topic, { isClear, reasonCode, detail: isClear ? null : fault });
    }
  } catch (error) {
    const detail = `not verified: ${messageOf(error)}`;
    for (const topic of topics) outcome.set(topic, { isClear: false, reasonCode: null, detail });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
