import { BaseRpcContext, EventPattern, Server, type CustomTransportStrategy } from '@nestjs/microservices';
import type { DeviceId, TopicMap, TopicRole } from '@muster/contract';
import AsyncLock from 'async-lock';
import pRetry from 'p-retry';
import { catchError, isObservable, lastValueFrom, throwError, type Observable } from 'rxjs';
import { BrokerConnection } from './broker-connection.ts';
import type { ReceivedMessage } from './connection-options.ts';
import type { BrokerTarget, ConnectionEvent } from './broker-target.ts';
import { whenEachWasTried } from './waiting.ts';

/** Handlers that fail are given so long at the end. */
const RETRY_AT_CLOSE_MS = 1_000;

/** What a handler gets beside the payload: `@Ctx() context: DeviceMessageContext`. */
export class DeviceMessageContext extends BaseRpcContext<[ReceivedMessage, DeviceId, TopicRole]> {
  /** The message as it came, with retain flag and properties. */
  get message(): ReceivedMessage {
    return this.args[0];
  }

  /** The device that the topic map found in the topic. */
  get device(): DeviceId {
    return this.args[1];
  }

  /** What the topic is for. */
  get role(): TopicRole {
    return this.args[2];
  }
}

/** Lets a controller's method handle the topics that the topic map gives a role; it gets the payload's bytes and the context. */
export function OnTopicRole(role: TopicRole): MethodDecorator {
  return EventPattern(role) as MethodDecorator;
}

/** How a service listens to devices. */
export interface DeviceTransportOptions {
  readonly service: string;
  readonly brokers: readonly BrokerTarget[];
  readonly topicMap: TopicMap;
  readonly sessionExpirySeconds: number;
  /** A broker that hangs is noticed within one and a half of it; 30 where it is left out. */
  readonly keepAliveSeconds?: number;
  readonly connectTimeoutMs: number;
  /**
   * Hands over each message as it comes, also while one of the same topic is being handled: for handlers that keep the
   * order by themselves, so that a device that floods its topic does not fill the window of all.
   */
  readonly handlersKeepOrder?: boolean;
  readonly onEvent: (event: ConnectionEvent) => void;
  /** Called for a message whose topic has no valid device id. */
  readonly onUnknown: (message: ReceivedMessage, device: string) => void;
  /** Whether a handler's error will come again each time: then the message is given up instead of tried again. */
  readonly isHopeless: (error: unknown) => boolean;
  /** Called each time a handler failed: it is tried again until it succeeds, is hopeless, or the service stops. */
  readonly onFailure: (message: ReceivedMessage, error: unknown) => void;
}

/**
 * A Nest transport for device topics: `@OnTopicRole('status')` handles every topic that the topic map gives the role
 * `status`, on every broker. Payloads stay bytes, all pipes and filters of Nest apply, and a QoS 1 message is
 * acknowledged after its handler; a handler that fails is tried again, and what has not succeeded when the service
 * stops stays with the broker.
 */
export class DeviceTransport extends Server implements CustomTransportStrategy {
  override readonly transportId = Symbol('muster-devices');
  /** A failure reaches `onFailure` and decides about the acknowledgement, so Nest need not log it as well. */
  override readonly propagatesEventHandlerErrors = true;
  readonly #options: DeviceTransportOptions;
  readonly #abort = new AbortController();
  /** Messages of one topic are handled one after the other, so that the last one received has the last word. */
  readonly #turns = new AsyncLock({ maxPending: Number.POSITIVE_INFINITY });
  #connections: readonly BrokerConnection[] = [];

  constructor(options: DeviceTransportOptions) {
    super();
    this.#options = options;
  }

  /** Whether every broker is connected and every subscription granted. */
  get ready(): boolean {
    return this.#connections.length > 0 && this.#connections.every((connection) => connection.ready);
  }

  /** Connects to every broker; a refused subscription is an error, a broker that is away is waited for in the background. */
  listen(callback: (error?: unknown) => void): void {
    const { service, brokers, topicMap, sessionExpirySeconds, keepAliveSeconds, onEvent } = this.#options;
    const { handlersKeepOrder = false } = this.#options;
    const roles = [...this.messageHandlers.keys()] as TopicRole[];
    try {
      const filters = topicMap.filters(...roles);
      this.#connections = brokers.map(
        (broker) =>
          new BrokerConnection({
            broker,
            clientId: `muster-${service}-${broker.name}`,
            sessionExpirySeconds,
            ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }),
            statusTopic: `muster/services/${service}`,
            subscriptions: filters.map((filter) => ({ filter, qos: 1, noLocal: true })),
            onEvent,
            onMessage: (message, settle) => {
              const handle = async (): Promise<void> => this.#dispatchUntilDone(message);
              const handled = handlersKeepOrder
                ? handle()
                : this.#turns.acquire(`${message.broker} ${message.topic}`, handle);
              handled.then(
                () => settle('acknowledge'),
                (error: unknown) => settle(this.#options.isHopeless(error) ? 'acknowledge' : 'leave'),
              );
            },
          }),
      );
    } catch (error) {
      callback(error);
      return;
    }
    whenEachWasTried(this.#connections, this.#options.connectTimeoutMs).then(() => callback(), callback);
  }

  async #dispatchUntilDone(message: ReceivedMessage): Promise<void> {
    await pRetry(() => this.#dispatch(message), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 200,
      maxTimeout: 5_000,
      randomize: true,
      signal: this.#abort.signal,
      shouldRetry: ({ error }) => !this.#options.isHopeless(error),
      onFailedAttempt: ({ error }) => this.#options.onFailure(message, error),
    });
  }

  async #dispatch(message: ReceivedMessage): Promise<void> {
    const match = this.#options.topicMap.match(message.topic);
    const handler = match && this.messageHandlers.get(match.entry.role);
    if (match === undefined || handler === undefined) return;
    if (!match.device.valid) {
      this.#options.onUnknown(message, match.device.text);
      return;
    }
    const context = new DeviceMessageContext([message, match.device.id, match.entry.role]);
    // Nest chains the handlers of one event pattern through `next`.
    for (let current: typeof handler | undefined = handler; current !== undefined; current = current.next) {
      const answer: unknown = await current(message.payload, context);
      if (isObservable(answer)) await lastValueFrom(answer.pipe(catchError(asError)), { defaultValue: undefined });
    }
  }

  /** Drains and leaves every broker in order. */
  async close(): Promise<void> {
    const drained = Promise.all(this.#connections.map((connection) => connection.close()));
    setTimeout(() => this.#abort.abort(), RETRY_AT_CLOSE_MS).unref();
    await drained;
  }

  /** Not offered: events go to `onEvent`. */
  on(): never {
    throw new Error('DeviceTransport reports through its onEvent option');
  }

  /** The connections, one a broker. */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the signature is Nest's
  override unwrap<T = readonly BrokerConnection[]>(): T {
    return this.#connections as T;
  }
}

/** Nest's own exception filter turns an error into a plain object, which says little and cannot be tried again. */
function asError(thrown: unknown): Observable<never> {
  return throwError(() => (thrown instanceof Error ? thrown : new Error(JSON.stringify(thrown))));
}
