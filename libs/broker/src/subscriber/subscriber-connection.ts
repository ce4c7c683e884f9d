import { BrokerError, type ConnectionEvent } from '../broker-target.ts';
import { Readiness } from '../readiness.ts';
import { ReconnectPace } from '../reconnect-delay.ts';
import { SubscriberNetwork } from './subscriber-network.ts';
import type { SubscriberOptions } from './subscriber-options.ts';

/**
 * One MQTT 5 connection to one broker that only receives, for what comes too fast for mqtt.js: reconnects by itself,
 * checks what the broker grants, hands messages over by the read, acknowledges a QoS 1 message only when it is settled,
 * and leaves in order. It is used as {@link BrokerConnection} is.
 */
export class SubscriberConnection {
  readonly broker: string;
  readonly #options: SubscriberOptions;
  readonly #pace = new ReconnectPace();
  readonly #readiness = new Readiness();
  #network: SubscriberNetwork;
  #reconnect: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;
  #isClosing = false;

  /** @throws BrokerError `unreachable` where the address is none of MQTT over TCP or TLS */
  constructor(options: SubscriberOptions) {
    this.#options = options;
    this.broker = options.broker.name;
    if (!/^mqtts?:$/.test(URL.canParse(options.broker.url) ? new URL(options.broker.url).protocol : ''))
      throw new BrokerError('unreachable', `${this.broker}: ${options.broker.url} is not mqtt:// or mqtts://`);
    this.#network = this.#connect();
  }

  /** Whether the connection stands and everything it subscribes to has been granted. */
  get ready(): boolean {
    return this.#readiness.isReady;
  }

  /** Messages that are handed over and not settled. */
  get inHand(): number {
    return this.#network.inHand;
  }

  /**
   * Resolves when the connection is ready for the first time, or is.
   * @throws BrokerError `subscription-refused` or `publish-refused` at once, `unreachable` after `timeoutMs`
   */
  async whenReady(timeoutMs: number): Promise<void> {
    await this.#readiness.wait(timeoutMs, () => {
      const reason = this.#lastError === undefined ? '' : `: ${this.#lastError.message}`;
      return `${this.broker} at ${this.#options.broker.url} did not answer within ${timeoutMs} ms${reason}`;
    });
  }

  /**
   * Leaves in order: takes no more messages, waits for those in hand, publishes the retained status, sends DISCONNECT
   * 0x00. What is not settled within `drainMs` stays with the broker.
   */
  async close(drainMs = 5_000): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    clearTimeout(this.#reconnect);
    this.#readiness.refuse(new BrokerError('closed', `${this.broker}: closed`));
    await this.#network.leave(drainMs);
  }

  #connect(): SubscriberNetwork {
    return new SubscriberNetwork(this.#options, {
      accepted: () => this.#pace.connected(Date.now()),
      ready: (sessionPresent) => {
        this.#readiness.reached();
        this.#emit({ kind: 'connected', broker: this.broker, sessionPresent });
      },
      dropped: (topic) => this.#emit({ kind: 'dropped', broker: this.broker, topic }),
      failed: (error) => this.#failed(error),
      ended: (isTakenOver) => this.#ended(isTakenOver),
    });
  }

  #failed(error: Error): void {
    this.#lastError = error;
    this.#emit({ kind: 'failed', broker: this.broker, error });
    const isRefused =
      error instanceof BrokerError && (error.code === 'subscription-refused' || error.code === 'publish-refused');
    if (isRefused) this.#readiness.refuse(error);
  }

  #ended(isTakenOver: boolean): void {
    this.#readiness.lost();
    if (this.#isClosing) return;
    const retryInMs = this.#pace.lost(Date.now(), Math.random(), isTakenOver);
    this.#reconnect = setTimeout(() => {
      this.#network = this.#connect();
    }, retryInMs);
    this.#emit({ kind: 'disconnected', broker: this.broker, retryInMs });
  }

  #emit(event: ConnectionEvent): void {
    this.#options.onEvent?.(event);
  }
}
