import type { IClientSubscribeOptions, ISubscriptionMap, MqttClient } from 'mqtt';
import type { ISubscribePacket } from 'mqtt-packet';
import type { Subscription } from './connection-options.ts';

/** A packet has a largest size at a broker, and while it works off one nobody else is served. */
const MAX_FILTERS = 500;

/** A SUBSCRIBE that has no packet id yet. */
export type Subscribing = Omit<ISubscribePacket, 'messageId'>;

/**
 * What to send to subscribe: filters without an identifier together, up to 500 in a SUBSCRIBE, and one SUBSCRIBE for each
 * with, because it belongs to the packet (MQTT 5, section 3.8.2.1.2).
 */
export function subscribePackets(subscriptions: readonly Subscription[]): readonly Subscribing[] {
  const { together, single } = parts(subscriptions);
  return [
    ...together.map((some): Subscribing => ({ cmd: 'subscribe', subscriptions: some.map(packetOptions) })),
    ...single.map(({ identifier, ...subscription }): Subscribing => ({
      cmd: 'subscribe',
      subscriptions: [packetOptions(subscription)],
      properties: { subscriptionIdentifier: identifier },
    })),
  ];
}

/**
 * Subscribes through mqtt.js as {@link subscribePackets} says, those without an identifier one SUBSCRIBE after the other.
 * Rejects when the broker refuses one of them.
 */
export async function subscribeTo(client: MqttClient, subscriptions: readonly Subscription[]): Promise<void> {
  const { together, single } = parts(subscriptions);
  for (const some of together) await client.subscribeAsync(optionsOf(some));
  await Promise.all(
    single.map((subscription) =>
      client.subscribeAsync(optionsOf([subscription]), {
        qos: 0,
        properties: { subscriptionIdentifier: subscription.identifier },
      } as IClientSubscribeOptions),
    ),
  );
}

type Identified = Subscription & { readonly identifier: number };

function parts(subscriptions: readonly Subscription[]): {
  readonly together: readonly (readonly Subscription[])[];
  readonly single: readonly Identified[];
} {
  const rest = subscriptions.filter(({ identifier }) => identifier === undefined);
  const together = Array.from({ length: Math.ceil(rest.length / MAX_FILTERS) }, (_, index) =>
    rest.slice(index * MAX_FILTERS, (index + 1) * MAX_FILTERS),
  );
  return { together, single: subscriptions.filter((one): one is Identified => one.identifier !== undefined) };
}

function packetOptions({
  filter,
  qos,
  noLocal = false,
  retainAsPublished = false,
  retainHandling = 0,
}: Subscription): ISubscribePacket['subscriptions'][number] {
  return { topic: filter, qos, nl: noLocal, rap: retainAsPublished, rh: retainHandling };
}

function optionsOf(subscriptions: readonly Subscription[]): ISubscriptionMap {
  return Object.fromEntries(
    subscriptions.map((subscription) => {
      const { topic, ...options } = packetOptions(subscription);
      return [topic, options];
    }),
  );
}
