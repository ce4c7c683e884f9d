import type { IClientSubscribeOptions, ISubscriptionMap, MqttClient } from 'mqtt';
import type { Subscription } from './connection-options.ts';

/** A packet has a largest size at a broker, and while it works off one nobody else is served. */
const MAX_FILTERS = 500;

/**
 * Subscribes: filters without an identifier together, up to 500 in a SUBSCRIBE and one SUBSCRIBE after the other, and one
 * for each with, because it belongs to the packet (MQTT 5, section 3.8.2.1.2). Rejects when the broker refuses one of them.
 */
export async function subscribeTo(client: MqttClient, subscriptions: readonly Subscription[]): Promise<void> {
  const together = subscriptions.filter(({ identifier }) => identifier === undefined);
  const single = subscriptions.filter(({ identifier }) => identifier !== undefined);
  for (let at = 0; at < together.length; at += MAX_FILTERS)
    await client.subscribeAsync(optionsOf(together.slice(at, at + MAX_FILTERS)));
  await Promise.all(
    single.map((subscription) =>
      client.subscribeAsync(optionsOf([subscription]), {
        qos: 0,
        properties: { subscriptionIdentifier: subscription.identifier },
      } as IClientSubscribeOptions),
    ),
  );
}

function optionsOf(subscriptions: readonly Subscription[]): ISubscriptionMap {
  return Object.fromEntries(
    subscriptions.map(({ filter, qos, noLocal = false, retainAsPublished = false, retainHandling = 0 }) => [
      filter,
      { qos, nl: noLocal, rap: retainAsPublished, rh: retainHandling },
    ]),
  );
}
