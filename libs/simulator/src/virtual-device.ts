import { encodeBirth, encodeOffline, type DeviceId, type StatedReason } from '@muster/contract';
import { reconnectDelayMs, type BrokerTarget } from '@muster/broker';
import { connect, type MqttClient } from 'mqtt';
import type { NodeLink, VirtualNode } from './nodes.ts';

/** What a virtual device is. */
export interface VirtualDeviceOptions {
  readonly id: DeviceId;
  readonly broker: BrokerTarget;
  readonly node: VirtualNode;
  readonly onError: (error: Error) => void;
}

const KEEP_ALIVE_SECONDS = 60;

/**
 * A device that keeps to the contract: session number in will, birth and telemetry, everything about it retained, a
 * goodbye before it leaves, or none when it crashes.
 */
export class VirtualDevice {
  readonly id: DeviceId;
  readonly #options: VirtualDeviceOptions;
  #client: MqttClient | undefined;
  #stopNode: () => void = () => undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Seconds since 1970 at the first start: what a real device keeps in flash also only grows. */
  #session = Math.floor(Date.now() / 1000);
  #sequence = 0;
  #failedAttempts = 0;
  #running = false;

  constructor(options: VirtualDeviceOptions) {
    this.id = options.id;
    this.#options = options;
  }

  /** Connects, and connects again whenever the connection is lost; each connection is a session of its own. */
  start(): void {
    this.#running = true;
    this.#connect();
  }

  /** Leaves in order: goodbye with its reason, acknowledged, then DISCONNECT. */
  async stop(reason: StatedReason): Promise<void> {
    this.#halt();
    const client = this.#client;
    if (client?.connected !== true) {
      client?.end(true);
      return;
    }
    await client.publishAsync(this.#topic('status'), encodeOffline(this.#session, reason), { qos: 1, retain: true });
    await client.endAsync();
  }

  /** Loses power: the connection ends without a word, and the broker publishes the will. */
  crash(): void {
    this.#halt();
    this.#client?.stream.destroy();
    this.#client?.end(true);
  }

  #halt(): void {
    this.#running = false;
    this.#stopNode();
    clearTimeout(this.#retry);
  }

  #topic(name: string): string {
    return `devices/${this.id}/${name}`;
  }

  #connect(): void {
    const { broker, node } = this.#options;
    this.#session += 1;
    this.#sequence = 0;
    const client = connect(broker.url, {
      protocolVersion: 5,
      clientId: this.id,
      ...(broker.username === undefined ? {} : { username: broker.username }),
      ...(broker.password === undefined ? {} : { password: broker.password }),
      ...(broker.ca === undefined ? {} : { ca: broker.ca }),
      keepalive: KEEP_ALIVE_SECONDS,
      reconnectPeriod: 0,
      will: {
        topic: this.#topic('status'),
        payload: Buffer.from(encodeOffline(this.#session, 'unexpected')),
        qos: 1,
        retain: true,
      },
    });
    this.#client = client;
    client.on('error', (error) => this.#options.onError(error));
    client.on('connect', () => {
      this.#failedAttempts = 0;
      client.publish(this.#topic('status'), encodeBirth(this.#session, Date.now()), { qos: 1, retain: true });
      client.publish(
        this.#topic('info'),
        JSON.stringify({
          ...{ model: node.model, firmware: '0.1.0', keep_alive: KEEP_ALIVE_SECONDS },
          ...(node.topics.length === 0 ? {} : { topics: node.topics }),
        }),
        {
          qos: 1,
          retain: true,
        },
      );
      if (node.commands.length > 0) client.subscribe([...node.commands], { qos: 1 });
      this.#stopNode = node.start(this.#link(client));
    });
    client.on('message', (_topic, payload) => node.onCommand?.(this.#link(client), payload.toString()));
    client.on('close', () => {
      this.#stopNode();
      if (!this.#running) return;
      this.#failedAttempts += 1;
      const delayMs = reconnectDelayMs({ failedAttempts: this.#failedAttempts, shortLived: 0 }, Math.random());
      this.#retry = setTimeout(() => this.#connect(), delayMs);
    });
  }

  #link(client: MqttClient): NodeLink {
    return {
      publish: (topic, payload, options) => void client.publish(topic, payload, options),
      report: (readings) => {
        this.#sequence += 1;
        const telemetry = { ...readings, ts: Date.now(), session: this.#session, seq: this.#sequence };
        client.publish(this.#topic('telemetry'), JSON.stringify(telemetry), { qos: 1 });
      },
    };
  }
}
