import { randomUUID } from 'node:crypto';
import { BrokerConnection, BrokerError, type BrokerTarget, type ConnectionEvent } from '@muster/broker';
import type { TopicMap } from '@muster/contract';
import { eventOf } from './broker-messages.ts';
import type { Feed } from './feed.ts';
import type { FeedState } from './watch-model.ts';

/** What to subscribe to, and how its topics are read. */
export interface BrokerFeedOptions {
  readonly broker: BrokerTarget;
  /** None of them covers or overlaps another one. */
  readonly filters: readonly string[];
  readonly topicMap: TopicMap;
}

/** Reason codes of a CONNACK that come again each time: MQTT 5, section 3.2.2.2, and those of 3.1.1 below 128. */
const REFUSALS: Readonly<Record<number, string>> = {
  1: 'it does not speak MQTT 5',
  2: 'it does not take the client id',
  4: 'it does not take the user name or the password',
  5: 'it lets this account not in',
  132: 'it does not speak MQTT 5',
  133: 'it does not take the client id',
  134: 'it does not take the user name or the password',
  135: 'it lets this account not in',
  138: 'it has banned this client',
  140: 'it wants another way to authenticate',
};

/** Why a connection cannot be made however long one waits; undefined for what waiting may mend. */
function hopelessness(error: Error): string | undefined {
  const { code } = error as { code?: number | string };
  if (typeof code === 'number') return REFUSALS[code];
  const isCertificate =
    typeof code === 'string' && /^(?:CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT|ERR_SSL_)/.test(code);
  return isCertificate
    ? `its certificate is not trusted (${error.message}); name its authority with --ca FILE`
    : undefined;
}

/** Messages of one broker, with no service of Muster in between. */
export function brokerFeed({ broker, filters, topicMap }: BrokerFeedOptions): Feed {
  return async (tell, signal) => {
    let hasBeenConnected = false;
    let lastError: Error | undefined;
    let fail: (error: Error) => void = () => undefined;
    const ended = new Promise<void>((resolve, reject) => {
      fail = reject;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const say = (state: FeedState['state'], text: string): void =>
      tell({ kind: 'feed', feed: { state, text }, receivedAtMs: Date.now() });
    const onEvent = (event: ConnectionEvent): void => {
      switch (event.kind) {
        case 'connected':
          hasBeenConnected = true;
          lastError = undefined;
          say('live', `connected to ${broker.url}`);
          return;
        case 'failed': {
          lastError = event.error;
          const refused = event.error instanceof BrokerError && event.error.code === 'subscription-refused';
          const why = refused ? event.error.message : hopelessness(event.error);
          // Once it has worked, somebody may be about to mend it.
          if (why !== undefined && !hasBeenConnected)
            fail(
              new BrokerError(
                refused ? 'subscription-refused' : 'unreachable',
                refused ? why : `${broker.url}: ${why}`,
              ),
            );
          return;
        }
        case 'disconnected': {
          const why = lastError === undefined ? 'the connection was closed' : messageOf(lastError);
          say('away', `${broker.url} is away (${why}); trying again in ${(event.retryInMs / 1000).toFixed(1)} s`);
          return;
        }
        case 'dropped':
          // Not reached: every message is settled at once.
          return;
      }
    };
    say('connecting', `connecting to ${broker.url}`);
    const connection = new BrokerConnection({
      broker,
      // A broker that takes the user name for the client id ignores this; any other must not confuse two watchers.
      clientId: `muster-watch-${randomUUID()}`,
      sessionExpirySeconds: 0,
      // At QoS 2, because a broker lowers the QoS of a message to that of the subscription.
      subscriptions: filters.map((filter) => ({ filter, qos: 2 })),
      onEvent,
      onMessage: (message, settle) => {
        tell(eventOf(message, topicMap));
        settle('acknowledge');
      },
    });
    try {
      await ended;
    } finally {
      await connection.close(0);
    }
  };
}

/** A refused connection to a name with several addresses is an AggregateError without a message. */
function messageOf(error: Error): string {
  if (error instanceof AggregateError && error.message === '')
    return error.errors.map((one) => (one instanceof Error ? one.message : String(one))).join(', ');
  return error.message;
}
