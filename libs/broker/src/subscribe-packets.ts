import type { IClientSubscribeOptions, MqttClient } from 'mqtt';
import type { Subscription } from './connection-options.ts';

/**
 * Subscribes: one SUBSCRIBE for all filters without an identifier, and one for each with, because it belongs to the packet
 * (MQTT 5, section 3.8.2.1.2). Rejects when the broker refuses one of them.
 */
export async function subscribeTo(client: MqttClient, subscriptions: readonly Subscription[]): Promise<void> {
  const together = subscriptions.filter(({ identifier }) => identifier === undefined);
  const packets = [
    ...(together.length === 0 ? [] : [{ filters: together, identifier: undefined }]),
    ...subscriptions.flatMap((subscription) =>
      subscription.identifier === undefined ? [] : [{ filters: [subscription], identifier: subscription.identifier }],
    ),
  ];
  await Promise.all(
    packets.map(async ({ filters, identifier }) => {
      const options = Object.fromEntries(
        filters.map((subscription) => [
          subscription.filter,
          {
            qos: subscription.qos,
            nl: subscription.noLocal ?? false,
            rap: subscription.retainAsPublished ?? false,
            rh: subscription.retainHandling ?? 0,
          },
        ]),
      );
      await (identifier === undefined
        ? client.subscribeAsync(options)
        : client.subscribeAsync(options, {
            qos: 0,
            properties: { subscriptionIdentifier: identifier },
          } as IClientSubscribeOptions));
    }),
  );
}
