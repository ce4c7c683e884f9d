import { randomUUID } from 'node:crypto';
import { BrokerConnection } from './broker-connection.ts';
import type { ReceivedMessage } from './connection-options.ts';
import type { BrokerTarget } from './broker-target.ts';

/**
 * All retained messages under some filters, read over a fresh connection of its own. At QoS 0, because a sweep at QoS 1
 * is cut short silently at the broker's queue limit (mqtt-pitfalls R5); the end is the answer to a PINGREQ sent behind
 * the SUBSCRIBE, so there is no waiting time to guess.
 * @throws BrokerError `unreachable`, `subscription-refused`, `no-answer`
 */
export async function readRetained(
  broker: BrokerTarget,
  filters: readonly string[],
  timeoutMs = 10_000,
): Promise<readonly ReceivedMessage[]> {
  const found = new Map<string, ReceivedMessage>();
  if (filters.length === 0) return [];
  const connection = new BrokerConnection({
    broker,
    clientId: `muster-sweep-${randomUUID()}`,
    sessionExpirySeconds: 0,
    subscriptions: filters.map((filter) => ({ filter, qos: 0 })),
    onMessage: (message, settle) => {
      if (message.retain) found.set(message.topic, message);
      settle('acknowledge');
    },
  });
  try {
    await connection.whenReady(timeoutMs);
    await connection.roundTrip(timeoutMs);
    return [...found.values()];
  } finally {
    await connection.close(0);
  }
}
