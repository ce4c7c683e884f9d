import { connectAsync, type MqttClient } from 'mqtt';
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

  /** Loses its network: the broker hears of it at once, and publishes the will. */
  cut(): void {
    this.client.stream.destroy();
  }

  /** Leaves with a DISCONNECT, which takes the will away. */
  async leave(): Promise<void> {
    await this.client.endAsync();
  }
}

function payload(status: 'online' | 'offline', session: number | undefined, reason?: string): string {
  if (session === undefined) return status;
  return JSON.stringify({ status, session, ...(reason === undefined ? {} : { reason }) });
}
