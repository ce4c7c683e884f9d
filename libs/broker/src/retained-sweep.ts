import { randomUUID } from 'node:crypto';
import { BrokerConnection } from './broker-connection.ts';
import type { ReceivedMessage } from './connection-options.ts';
import { BrokerError, type BrokerTarget } from './broker-target.ts';

/** Filters of one SUBSCRIBE: what they bring has come before the next is sent, so no queue of the broker fills up. */
const FILTERS_AT_ONCE = 64;

/**
 * Gives every retained message under some filters, once for each filter that matches it, over a fresh connection of its
 * own. At QoS 0, because a sweep at QoS 1 is cut short silently at the broker's queue limit (mqtt-pitfalls R5); the end
 * is the answer to a PINGREQ sent behind the SUBSCRIBE, so there is no waiting time to guess.
 * @param timeoutMs for each answer of the broker
 * @throws BrokerError `unreachable`, `subscription-refused`, `no-answer`, `closed` when the connection was lost on the way
 */
export async function sweepRetained(
  broker: BrokerTarget,
  filters: readonly string[],
  take: (message: ReceivedMessage) => void,
  timeoutMs = 10_000,
): Promise<void> {
  if (filters.length === 0) return;
  let lost = 0;
  const connection = new BrokerConnection({
    broker,
    clientId: `muster-sweep-${randomUUID()}`,
    sessionExpirySeconds: 0,
    onMessage: (message, settle) => {
      if (message.retain) take(message);
      settle('acknowledge');
    },
    onEvent: ({ kind }) => {
      if (kind === 'disconnected') lost += 1;
    },
  });
  try {
    await connection.whenReady(timeoutMs);
    for (let at = 0; at < filters.length; at += FILTERS_AT_ONCE) {
      const lostBefore = lost;
      await connection.subscribe(
        filters.slice(at, at + FILTERS_AT_ONCE).map((filter) => ({ filter, qos: 0, retainHandling: 0 })),
      );
      await connection.roundTrip(timeoutMs);
      // What was under way then has gone: a sweep that is cut short must not look like a clean broker.
      if (lost > lostBefore)
        throw new BrokerError('closed', `${broker.name} was lost while it was asked what it retains`);
    }
  } finally {
    await connection.close(0);
  }
}

/**
 * All retained messages under some filters; see {@link sweepRetained}.
 * @throws BrokerError `unreachable`, `subscription-refused`, `no-answer`, `closed`
 */
export async function readRetained(
  broker: BrokerTarget,
  filters: readonly string[],
  timeoutMs = 10_000,
): Promise<readonly ReceivedMessage[]> {
  const found = new Map<string, ReceivedMessage>();
  await sweepRetained(broker, filters, (message) => found.set(message.topic, message), timeoutMs);
  return [...found.values()];
}
