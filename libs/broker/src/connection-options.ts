import type { IPublishPacket } from 'mqtt';
import type { Settlement } from './acknowledgement-queue.ts';
import type { BrokerTarget, ConnectionEvent } from './broker-target.ts';

/** A message as it came from a broker. */
export interface ReceivedMessage {
  /** Name of the broker. */
  readonly broker: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  /** A replay of retained state, or with retain-as-published whatever the publisher set. */
  readonly retain: boolean;
  /** The broker has sent it before and got no acknowledgement. */
  readonly duplicate: boolean;
  /** It had been waiting at the broker when the connection was made: true of some time before. */
  readonly isBacklog: boolean;
  readonly receivedAtMs: number;
  /** The network connection it came over; once that is lost the broker delivers it again, if it is not QoS 0. */
  readonly connection: { readonly isLost: boolean };
  readonly properties: NonNullable<IPublishPacket['properties']>;
}

/** Takes a message; `settle` is called once, when it is safe, and only then is a QoS 1 message acknowledged. */
export type MessageHandler = (message: ReceivedMessage, settle: (settlement: Settlement) => void) => void;

/** What to receive, with the options of MQTT 5, section 3.8.3.1. */
export interface Subscription {
  readonly filter: string;
  /** At 2 the handshake of a message is over before its handler has it: not for what must be stored first. */
  readonly qos: 0 | 1 | 2;
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  /** 0: send retained messages at every subscribe; 1: only if the subscription is new; 2: never. */
  readonly retainHandling?: 0 | 1 | 2;
  /**
   * Comes back with each message that the subscription causes (section 3.8.2.1.2): with overlapping filters a message
   * comes once for each of them, and this tells which.
   */
  readonly identifier?: number;
}

/** How one connection is made; a connection serves one purpose. */
export interface BrokerConnectionOptions {
  readonly broker: BrokerTarget;
  readonly clientId: string;
  /** How long the broker keeps the session after the connection is gone; 0 starts clean each time. */
  readonly sessionExpirySeconds: number;
  readonly keepAliveSeconds?: number;
  /** Where the client keeps its own retained status: birth, will, and `shutdown` when it is closed in order. */
  readonly statusTopic?: string;
  /** A retained message that the broker publishes when the connection is lost; instead of a status topic. */
  readonly will?: { readonly topic: string; readonly payload: string };
  readonly subscriptions?: readonly Subscription[];
  readonly onMessage?: MessageHandler;
  readonly onEvent?: (event: ConnectionEvent) => void;
}

/** How a message is published. */
export interface PublishOptions {
  readonly qos?: 0 | 1;
  readonly retain?: boolean;
  readonly properties?: IPublishPacket['properties'];
  /**
   * Gives up what could not be told in this time. Without it a QoS 1 message waits for a broker that is away, and comes
   * when nobody wants it any more: its message expiry begins only at the broker.
   */
  readonly withinMs?: number;
}
