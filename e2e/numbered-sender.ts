import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync, type MqttClient } from 'mqtt';

/** Where a sender connects, and as whom. */
export interface SenderTarget {
  readonly url: string;
  readonly username: string;
  readonly password: string;
}

const AT_ONCE = 20;
/** Within the retention of any test database, and long enough ago to be no device's future. */
const BEGAN_BEFORE_MS = 3_600_000;

/** A device that counts what it sends, at QoS 1 each until the broker has it; while the broker is away it waits. */
export class NumberedSender {
  #sent = 0;
  #isStopped = false;
  /** The device time of its message n is n milliseconds later. */
  readonly beginMs = Date.now() - BEGAN_BEFORE_MS;
  readonly #done: Promise<void>;

  private constructor(
    readonly device: string,
    private readonly client: MqttClient,
    private pauseMs: number,
  ) {
    this.#done = this.#work();
  }

  /** Begins to send: 20 messages at a time, with a pause behind them. */
  static async start({ url, ...account }: SenderTarget, device: string, pauseMs: number): Promise<NumberedSender> {
    const client = await connectAsync(url, { ...account, reconnectPeriod: 250 });
    client.on('error', () => undefined);
    return new NumberedSender(device, client, pauseMs);
  }

  /** Messages that the broker has acknowledged. */
  get sent(): number {
    return this.#sent;
  }

  /** Goes on with another pause behind each 20 messages. */
  slowDown(pauseMs: number): void {
    this.pauseMs = pauseMs;
  }

  /** Sends no more; answers how many it has sent, when the broker has them all. */
  async stop(): Promise<number> {
    this.#isStopped = true;
    await this.#done;
    await this.client.endAsync();
    return this.#sent;
  }

  async #work(): Promise<void> {
    while (!this.#isStopped) {
      const numbers = Array.from({ length: AT_ONCE }, (_, index) => this.#sent + index + 1);
      await Promise.all(
        numbers.map(async (seq) =>
          this.client.publishAsync(
            `devices/${this.device}/telemetry`,
            JSON.stringify({ temp: seq, ts: this.beginMs + seq, session: 1, seq }),
            { qos: 1 },
          ),
        ),
      );
      this.#sent += numbers.length;
      await delay(this.pauseMs);
    }
  }
}
