import { connectAsync, type MqttClient } from 'mqtt';
import type { SystemOfFile } from '../system-of-file.ts';
import type { ReadyLine } from '../system.ts';

/** How a device connects in a race. */
export interface RawConnection {
  readonly id: string;
  /** Which of the system's brokers. */
  readonly broker?: number;
  /** None: a device of before session numbers. */
  readonly session?: number;
  /** Seconds for which the broker keeps its session; 0 starts clean. */
  readonly sessionExpirySeconds?: number;
  readonly willPayload?: string;
}

/** A device that is made of nothing but MQTT, so that a race can be had at will; it never connects again by itself. */
export class RawDevice {
  private constructor(
    private readonly client: MqttClient,
    private readonly connection: RawConnection,
  ) {}

  /** Connects with its will, which is retained. */
  static async connect({ broker: { urls, username, password } }: ReadyLine, how: RawConnection): Promise<RawDevice> {
    const { id, broker = 0, sessionExpirySeconds = 0 } = how;
    const willPayload = how.willPayload ?? payload('offline', how.session, 'unexpected');
    const client = await connectAsync(urls[broker] ?? '', {
      ...{ protocolVersion: 5, username, password, clientId: id, reconnectPeriod: 0, keepalive: 30 },
      clean: sessionExpirySeconds === 0,
      properties: { sessionExpiryInterval: sessionExpirySeconds },
      will: { topic: `devices/${id}/status`, payload: Buffer.from(willPayload), qos: 1, retain: true },
    });
    client.on('error', () => undefined);
    return new RawDevice(client, how);
  }

  /** Says that it is online; resolves when the broker has it. */
  async birth(): Promise<void> {
    await this.say(payload('online', this.connection.session));
  }

  /** Says something on its status topic, retained. */
  async say(text: string): Promise<void> {
    await this.client.publishAsync(`devices/${this.connection.id}/status`, text, { qos: 1, retain: true });
  }

  /** Says something about itself, retained. */
  async info(info: Readonly<Record<string, unknown>>): Promise<void> {
    const { id } = this.connection;
    await this.client.publishAsync(`devices/${id}/info`, JSON.stringify(info), { qos: 1, retain: true });
  }

  /** Publishes on a topic of its own, at QoS 1 and not retained. */
  async publish(topic: string, text: string): Promise<void> {
    await this.client.publishAsync(`devices/${this.connection.id}/${topic}`, text, { qos: 1 });
  }

  /** Loses its network: the broker hears of it at once, and publishes the will. */
  cut(): void {
    this.client.stream.destroy();
  }

  /** Leaves with a DISCONNECT, which takes the will away. */
  async leave(): Promise<void> {
    await this.client.endAsync();
  }
}

/** The devices that tests of a file have connected to its system: they leave together. */
export class RawDevices {
  #connected: RawDevice[] = [];

  constructor(private readonly system: SystemOfFile) {}

  /** See {@link RawDevice.connect}. */
  async connect(how: RawConnection): Promise<RawDevice> {
    const device = await RawDevice.connect(this.system.address, how);
    this.#connected.push(device);
    return device;
  }

  /** All leave, also those whose broker is gone. */
  async leave(): Promise<void> {
    await Promise.all(this.#connected.splice(0).map((device) => device.leave().catch(() => undefined)));
  }
}

function payload(status: 'online' | 'offline', session: number | undefined, reason?: string): string {
  if (session === undefined) return status;
  return JSON.stringify({ status, session, ...(reason === undefined ? {} : { reason }) });
}
