import { Socket } from 'node:net';
import type { BrokerTarget } from '@muster/broker';
import { connect, ErrorWithReasonCode, type MqttClient } from 'mqtt';
import type { DeviceConnectOptions, DevicePublication, LostReason } from './device-core.ts';

/** What a device speaks. */
export type MqttVersion = '3.1.1' | '5';

/** What a connection tells its device. */
export interface LinkEvents {
  readonly onConnected: () => void;
  readonly onLost: (reason: LostReason) => void;
  readonly onAcknowledged: (token: number, reasonCode: number) => void;
  readonly onMessage: (topic: string, payload: Uint8Array, retained: boolean) => void;
}

/** Reason codes with which a broker says that it does not know a device (MQTT 5, section 3.2.2.2). */
const REFUSED_FROM = 0x80;
const TAKEN_OVER = 0x8e;
const CONNECT_LIMIT_MS = 30_000;

/**
 * One network connection of a device over mqtt.js: nothing is queued and nothing is tried again, that is the firmware's.
 * After it was left or lost it says nothing more.
 */
export class DeviceLink {
  readonly #client: MqttClient;
  #events: LinkEvents | undefined;
  #lastToken = 0;
  #lost: LostReason = 'unreached';

  constructor(broker: BrokerTarget, version: MqttVersion, options: DeviceConnectOptions, events: LinkEvents) {
    this.#events = events;
    this.#client = connect(broker.url, {
      protocolVersion: version === '5' ? 5 : 4,
      clientId: options.clientId,
      ...(broker.username === undefined ? {} : { username: broker.username }),
      ...(broker.password === undefined ? {} : { password: broker.password }),
      ...(broker.ca === undefined ? {} : { ca: broker.ca }),
      clean: options.sessionExpirySeconds === 0,
      properties: { sessionExpiryInterval: options.sessionExpirySeconds },
      keepalive: options.keepAliveSeconds,
      connectTimeout: CONNECT_LIMIT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      will: { topic: options.will.topic, payload: Buffer.from(options.will.payload), qos: 1, retain: true },
    });
    this.#client.on('connect', () => {
      // A small write must not wait for the acknowledgement of the one before (mqtt-pitfalls B5).
      const { stream } = this.#client;
      if (stream instanceof Socket) stream.setNoDelay(true);
      this.#lost = 'network';
      this.#events?.onConnected();
    });
    this.#client.on('packetsend', ({ cmd }) => {
      // From here on the broker may have the will.
      if (cmd === 'connect') this.#lost = 'network';
    });
    this.#client.on('error', (error) => {
      if (error instanceof ErrorWithReasonCode && error.code >= REFUSED_FROM) this.#lost = 'refused';
    });
    this.#client.on('disconnect', ({ reasonCode }) => {
      if (reasonCode === TAKEN_OVER) this.#lost = 'taken-over';
    });
    this.#client.on('message', (topic, payload, { retain }) => this.#events?.onMessage(topic, payload, retain));
    this.#client.on('close', () => this.#end()?.onLost(this.#lost));
  }

  /** A token that its acknowledgement will carry, or 0 when the message cannot be taken. */
  publish({ topic, payload, qos, retain, expirySeconds }: DevicePublication): number {
    if (!this.#client.connected) return 0;
    this.#lastToken += 1;
    const token = this.#lastToken;
    const properties = expirySeconds === 0 ? {} : { properties: { messageExpiryInterval: expirySeconds } };
    this.#client.publish(topic, payload, { qos, retain, ...properties }, (error, packet) => {
      if (qos === 0) return;
      const refusal = error instanceof ErrorWithReasonCode ? error.code : undefined;
      // Any other error is the end of the connection, which is told by itself.
      if (error != null && refusal === undefined) return;
      const code = packet !== undefined && 'reasonCode' in packet ? (packet.reasonCode ?? 0) : 0;
      this.#events?.onAcknowledged(token, refusal ?? code);
    });
    return token;
  }

  subscribe(filter: string, qos: 0 | 1 | 2): void {
    // What is refused is not heard; the account decides, and the device has nobody to tell.
    this.#client.subscribe(filter, { qos }, () => undefined);
  }

  /** Leaves with DISCONNECT 0x00, or without a word, which publishes the will. */
  leave(isOrderly: boolean): void {
    if (this.#end() === undefined) return;
    if (isOrderly) this.#client.end(false, { reasonCode: 0 });
    else this.#destroy();
  }

  /** The network ends; the device notices. */
  cut(): void {
    this.#client.stream.destroy();
  }

  /** Neither side hears the other any more, and neither notices before its time. */
  freeze(): void {
    const { stream } = this.#client;
    stream.pause();
    stream.removeAllListeners('data');
    stream.write = () => true;
  }

  #end(): LinkEvents | undefined {
    const events = this.#events;
    this.#events = undefined;
    return events;
  }

  #destroy(): void {
    this.#client.end(true);
    this.#client.stream.destroy();
  }
}
