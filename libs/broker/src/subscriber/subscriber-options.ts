import type { BrokerTarget, ConnectionEvent } from '../broker-target.ts';
import type { Subscription } from '../connection-options.ts';
import type { Delivery } from './delivery.ts';
import type { InboundMessage } from './inbound-message.ts';

export const DEFAULT_KEEP_ALIVE_SECONDS = 30;
/** Twice what a broker of ours lets in from a device: nothing is lost by it, and memory is bounded. */
export const DEFAULT_MAXIMUM_PACKET_BYTES = 4 * 1024 * 1024;

/**
 * Takes the messages of one read, in the order in which they came. Each is settled through the delivery by its index,
 * once, when it is safe; only then is a QoS 1 message acknowledged.
 */
export type DeliveryHandler = (messages: readonly InboundMessage[], delivery: Delivery) => void;

/** What to receive; not at QoS 2, whose handshake is over before a message is stored. */
export type SubscriberSubscription = Subscription & { readonly qos: 0 | 1 };

/** How a connection that only receives is made. */
export interface SubscriberOptions {
  readonly broker: BrokerTarget;
  readonly clientId: string;
  /** How long the broker keeps the session after the connection is gone; 0 starts clean each time. */
  readonly sessionExpirySeconds: number;
  readonly keepAliveSeconds?: number;
  /** The broker drops messages that are larger, without a word (MQTT 5, section 3.1.2.11.4); 4 MiB where it is left out. */
  readonly maximumPacketBytes?: number;
  /** Where the client keeps its own retained status: birth, will, and `shutdown` when it is closed in order. */
  readonly statusTopic?: string;
  readonly subscriptions: readonly SubscriberSubscription[];
  readonly onMessages: DeliveryHandler;
  readonly onEvent?: (event: ConnectionEvent) => void;
}
