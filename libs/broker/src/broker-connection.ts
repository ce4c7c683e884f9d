import { Socket } from 'node:net';
import { connect, type IPublishPacket, type MqttClient } from 'mqtt';
import { AcknowledgementQueue, type Settlement } from './acknowledgement-queue.ts';
import type { BrokerConnectionOptions, PublishOptions, Subscription } from './connection-options.ts';
import { BrokerError, type ConnectionEvent } from './broker-target.ts';
import { ownStatus } from './own-status.ts';
import { PublishAnswers } from './publish-answers.ts';
import { Readiness } from './readiness.ts';
import { within } from './waiting.ts';
import { subscribeTo } from './subscribe-packets.ts';
import { ReconnectPace } from './reconnect-delay.ts';

/** One network connection, of which a client has many in its life. */
interface Network {
  isLost: boolean;
  /** Messages that came over it and are not settled; once it is lost they are the broker's again. */
  inHand: number;
}

/** What mqtt.js has for its own acknowledgements; not documented, so its version is exact and a test holds it to this. */
interface PacketSender {
  _sendPacket(packet: { cmd: 'puback'; messageId: number; reasonCode: number }): void;
}

/** The largest window MQTT has: with the default of 20 to 100 QoS 1 throughput is bounded by round trips (B1). */
const RECEIVE_MAXIMUM = 65_535;
/** QoS 0 messages in hand beyond this many are dropped and reported: nothing else bounds them. */
const MAX_IN_HAND = 65_535;
const CONNECT_TIMEOUT_MS = 10_000;
const BACKLOG_LIMIT_MS = 30_000;
/** MQTT 5, section 3.14.2.1. */
const SESSION_TAKEN_OVER = 0x8e;
/** mqtt.js skips its own PUBACK when the callback gets an error; one object, because a stack trace a message is dear (B6). */
const ACKNOWLEDGE_LATER = new Error('acknowledged after the handler');

/**
 * One MQTT 5 connection to one broker: reconnects by itself, checks what the broker grants, acknowledges a QoS 1
 * message only when its handler says so, and leaves in order.
 */
export class BrokerConnection {
  readonly broker: string;
  readonly #client: MqttClient;
  readonly #options: BrokerConnectionOptions;
  readonly #subscriptions: Map<string, Subscription>;
  readonly #givenUp = new Set<string>();
  readonly #pace = new ReconnectPace();
  readonly #answers: PublishAnswers;
  #acknowledgements: AcknowledgementQueue;
  #isTakenOver = false;
  #network: Network = { isLost: false, inHand: 0 };
  readonly #readiness = new Readiness();
  #hasBacklog = false;
  #closing = false;
  #lastError: Error | undefined;
  #drained: (() => void) | undefined;

  constructor(options: BrokerConnectionOptions) {
    this.#options = options;
    this.broker = options.broker.name;
    this.#subscriptions = new Map(options.subscriptions?.map((subscription) => [subscription.filter, subscription]));
    const will =
      options.statusTopic === undefined
        ? options.will
        : { topic: options.statusTopic, payload: ownStatus('offline', 'unexpected') };
    this.#client = connect(options.broker.url, {
      protocolVersion: 5,
      clientId: options.clientId,
      ...(options.broker.username === undefined ? {} : { username: options.broker.username }),
      ...(options.broker.password === undefined ? {} : { password: options.broker.password }),
      ...(options.broker.ca === undefined ? {} : { ca: options.broker.ca }),
      clean: options.sessionExpirySeconds === 0,
      keepalive: options.keepAliveSeconds ?? 30,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 100,
      reconnectOnConnackError: true,
      resubscribe: false,
      queueQoSZero: false,
      properties: { receiveMaximum: RECEIVE_MAXIMUM, sessionExpiryInterval: options.sessionExpirySeconds },
      ...(will === undefined
        ? {}
        : { will: { topic: will.topic, payload: Buffer.from(will.payload), qos: 1, retain: true } }),
    });
    this.#answers = new PublishAnswers(this.#client);
    this.#acknowledgements = this.#newQueue();
    this.#client.handleMessage = (packet, done) => this.#receive(packet, done);
    // Before mqtt.js's own listener, which starts its timer with the period that stands then.
    this.#client.prependListener('close', () => this.#lost());
    this.#client.on('connect', (packet) => {
      this.#hasBacklog = packet.sessionPresent;
      void this.#connected(packet.sessionPresent);
    });
    this.#client.on('disconnect', ({ reasonCode = 0 }) => {
      if (reasonCode !== SESSION_TAKEN_OVER) return;
      this.#isTakenOver = true;
      const { clientId } = options;
      this.#failed(new BrokerError('taken-over', `${this.broker}: another client is ${clientId} now (0x8e)`));
    });
    this.#client.on('error', (error) => {
      this.#lastError = error;
      this.#failed(error);
    });
  }

  /** Whether the connection stands and everything it subscribes to has been granted. */
  get ready(): boolean {
    return this.#readiness.isReady;
  }

  /** Messages received whose handlers have not settled them. */
  get inHand(): number {
    return this.#network.inHand;
  }

  /**
   * Resolves when the connection is ready for the first time, or is.
   * @throws BrokerError `subscription-refused` at once, `unreachable` after `timeoutMs`
   */
  async whenReady(timeoutMs: number): Promise<void> {
    await this.#readiness.wait(timeoutMs, () => {
      const reason = this.#lastError === undefined ? '' : `: ${this.#lastError.message}`;
      return `${this.broker} at ${this.#options.broker.url} did not answer within ${timeoutMs} ms${reason}`;
    });
  }

  /**
   * Publishes; at QoS 1 resolves with the reason code of the PUBACK (0, or 16 where nobody subscribes).
   * @throws BrokerError `publish-refused` with the broker's reason; `closed` when the connection ends first; `unreachable`
   *   or `no-answer` when `withinMs` has passed
   */
  async publish(topic: string, payload: string | Uint8Array, options: PublishOptions = {}): Promise<number> {
    const deadlineMs = Date.now() + (options.withinMs ?? 0);
    if (options.withinMs !== undefined && !this.ready) await this.whenReady(options.withinMs);
    let timer: NodeJS.Timeout | undefined;
    // Seen by the callback of the timer: the compiler would take a variable of its own for unchanged.
    const limit = { hasPassed: false };
    try {
      const published = this.#client.publishAsync(topic, typeof payload === 'string' ? payload : Buffer.from(payload), {
        qos: options.qos ?? 1,
        retain: options.retain ?? false,
        ...(options.properties === undefined ? {} : { properties: options.properties }),
      });
      if (options.withinMs !== undefined && options.qos !== 0) {
        const id = this.#client.getLastMessageId();
        timer = setTimeout(() => {
          limit.hasPassed = true;
          this.#client.removeOutgoingMessage(id);
        }, deadlineMs - Date.now());
      }
      return this.#answers.reasonCodeOf(await published);
    } catch (error) {
      if (limit.hasPassed)
        throw new BrokerError('no-answer', `${this.broker} took no message on ${topic} within ${options.withinMs} ms`);
      const code = this.#closing || !this.#client.connected ? 'closed' : 'publish-refused';
      throw new BrokerError(code, `${this.broker} did not take a message on ${topic}: ${messageOf(error)}`, {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Subscribes to more filters, now if the connection stands and at every later one.
   * @throws BrokerError `subscription-refused`; then none of them is kept
   */
  async subscribe(subscriptions: readonly Subscription[]): Promise<void> {
    for (const subscription of subscriptions) this.#subscriptions.set(subscription.filter, subscription);
    if (!this.#client.connected) return;
    try {
      await this.#subscribe(subscriptions);
    } catch (error) {
      // A connection that was lost meanwhile subscribes when it is back.
      if (!(error instanceof BrokerError)) return;
      for (const { filter } of subscriptions) this.#subscriptions.delete(filter);
      throw error;
    }
  }

  /** Gives filters up, now and for every later connection. */
  async unsubscribe(filters: readonly string[]): Promise<void> {
    for (const filter of filters) {
      this.#subscriptions.delete(filter);
      this.#givenUp.add(filter);
    }
    if (this.#client.connected) await this.#giveUp();
  }

  /** What a lost connection could not give up, the session still has at the next one. */
  async #giveUp(): Promise<void> {
    const filters = [...this.#givenUp].filter((filter) => !this.#subscriptions.has(filter));
    if (filters.length === 0) return;
    try {
      await this.#client.unsubscribeAsync(filters);
      for (const filter of filters) this.#givenUp.delete(filter);
    } catch (error) {
      if (this.#client.connected) throw error;
    }
  }

  /**
   * Resolves when the broker has answered a PINGREQ: all that it had to send because of earlier packets has come.
   * @throws BrokerError `no-answer` after `timeoutMs`
   */
  async roundTrip(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const finish = (error?: BrokerError): void => {
        clearTimeout(timer);
        this.#client.removeListener('packetreceive', onPacket);
        if (error) reject(error);
        else resolve();
      };
      const onPacket = (packet: { cmd?: string | undefined }): void => {
        if (packet.cmd === 'pingresp') finish();
      };
      const timer = setTimeout(
        () => finish(new BrokerError('no-answer', `${this.broker} did not answer a ping within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#client.on('packetreceive', onPacket);
      this.#client.sendPing();
    });
  }

  /**
   * Leaves in order: takes no more messages, waits for those in hand, publishes the retained status, sends DISCONNECT
   * 0x00. What is not settled within `drainMs` stays with the broker.
   */
  async close(drainMs = 5_000): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#readiness.refuse(new BrokerError('closed', `${this.broker}: closed`));
    // What is left in hand stays with the broker.
    if (this.inHand > 0)
      await within(new Promise<void>((resolve) => (this.#drained = resolve)), drainMs).catch(() => undefined);
    if (!this.#client.connected) {
      await this.#client.endAsync(true);
      return;
    }
    if (this.#options.statusTopic !== undefined) {
      try {
        await within(
          this.publish(this.#options.statusTopic, ownStatus('offline', 'shutdown'), { qos: 1, retain: true }),
          2_000,
        );
      } catch (error) {
        this.#failed(error);
      }
    }
    await within(this.#client.endAsync(false, { reasonCode: 0 }), 2_000).catch(() => this.#client.endAsync(true));
  }

  #receive(packet: IPublishPacket, done: (error?: Error) => void): void {
    const { onMessage } = this.#options;
    // What mqtt.js hands over at QoS 2 has been released by the broker; only it can complete that handshake.
    const acknowledged = packet.qos === 1;
    if (onMessage === undefined || this.#closing) {
      done(acknowledged ? ACKNOWLEDGE_LATER : undefined);
      return;
    }
    if (!acknowledged && this.inHand >= MAX_IN_HAND) {
      this.#emit({ kind: 'dropped', broker: this.broker, topic: packet.topic });
      done();
      return;
    }
    const network = this.#network;
    network.inHand += 1;
    const release =
      acknowledged && packet.messageId !== undefined ? this.#acknowledgements.add(packet.messageId) : undefined;
    let settled = false;
    const settle = (settlement: Settlement): void => {
      if (settled) return;
      settled = true;
      network.inHand -= 1;
      release?.(settlement);
      if (this.inHand === 0) this.#drained?.();
    };
    const { payload } = packet;
    onMessage(
      {
        broker: this.broker,
        topic: packet.topic,
        payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
        qos: packet.qos,
        retain: packet.retain,
        duplicate: packet.dup,
        isBacklog: this.#hasBacklog,
        receivedAtMs: Date.now(),
        connection: network,
        properties: packet.properties ?? {},
      },
      settle,
    );
    done(acknowledged ? ACKNOWLEDGE_LATER : undefined);
  }

  /** A queue belongs to one network connection: packet ids are used anew on the next. */
  #newQueue(): AcknowledgementQueue {
    const queue: AcknowledgementQueue = new AcknowledgementQueue((messageId) => {
      if (queue !== this.#acknowledgements || !this.#client.connected) return;
      (this.#client as unknown as PacketSender)._sendPacket({ cmd: 'puback', messageId, reasonCode: 0 });
    });
    return queue;
  }

  async #connected(sessionPresent: boolean): Promise<void> {
    // A small write must not wait for the acknowledgement of the one before (B5).
    const { stream } = this.#client;
    if (stream instanceof Socket) stream.setNoDelay(true);
    this.#pace.connected(Date.now());
    try {
      await this.#subscribe([...this.#subscriptions.values()]);
      if (sessionPresent) await this.#giveUp();
      else this.#givenUp.clear();
      const { statusTopic } = this.#options;
      if (statusTopic !== undefined) await this.publish(statusTopic, ownStatus('online'), { qos: 1, retain: true });
    } catch (error) {
      this.#failed(error);
      if (error instanceof BrokerError && error.code !== 'closed') this.#readiness.refuse(error);
      // Half a connection is of no use: the next attempt comes with the usual delay.
      this.#client.stream.destroy();
      return;
    }
    if (!this.#client.connected) return;
    this.#readiness.reached();
    this.#emit({ kind: 'connected', broker: this.broker, sessionPresent });
    if (sessionPresent) void this.#passBacklog();
  }

  /** What the broker sends before it answers a ping was waiting there. */
  async #passBacklog(): Promise<void> {
    const network = this.#network;
    try {
      await this.roundTrip(BACKLOG_LIMIT_MS);
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      this.#failed(error);
    }
    if (network === this.#network) this.#hasBacklog = false;
  }

  async #subscribe(subscriptions: readonly Subscription[]): Promise<void> {
    try {
      await subscribeTo(this.#client, subscriptions);
    } catch (error) {
      if (!this.#client.connected) throw error;
      const filters = subscriptions.map(({ filter }) => filter).join(', ');
      throw new BrokerError(
        'subscription-refused',
        `${this.broker} refused ${filters} to ${this.#options.clientId}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  #lost(): void {
    this.#readiness.lost();
    this.#acknowledgements = this.#newQueue();
    this.#network.isLost = true;
    this.#network = { isLost: false, inHand: 0 };
    this.#drained?.();
    if (this.#closing) return;
    const retryInMs = this.#pace.lost(Date.now(), Math.random(), this.#isTakenOver);
    this.#isTakenOver = false;
    this.#client.options.reconnectPeriod = retryInMs;
    this.#emit({ kind: 'disconnected', broker: this.broker, retryInMs });
  }

  #failed(thrown: unknown): void {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.#emit({ kind: 'failed', broker: this.broker, error });
  }

  #emit(event: ConnectionEvent): void {
    this.#options.onEvent?.(event);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
