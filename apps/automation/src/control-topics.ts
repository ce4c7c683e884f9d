import { randomUUID } from 'node:crypto';
import {
  BrokerConnection,
  readRetained,
  whenConnected,
  whenEachWasTried,
  type BrokerTarget,
  type ConnectionEvent,
  type PublishOptions,
  type ReceivedMessage,
  type Subscription,
} from '@muster/broker';
import { filterCovers, parsePattern, type TopicMap } from '@muster/contract';
import type { AddressedEffect } from './journal.ts';
import type { Effect } from './reaction.ts';
import { TopicIndex } from './topic-index.ts';

/** The rules that led to a message, on those that automation publishes: for people, anybody can write it. */
const RULES_PROPERTY = 'muster-rules';
/** By which automation knows a message of its own again. */
const RUN_PROPERTY = 'muster-run';
/** The broker that a copy came from; a message that carries it is not copied again. */
const RELAY_PROPERTY = 'muster-relay';
/** The number of the newest run that a broker has been told, retained there. */
const APPLIED_TOPIC = 'muster/automation/applied';
const RELAY_EXPIRY_SECONDS = 5;
const SESSION_EXPIRY_SECONDS = 300;
const MARKER_LIMIT_MS = 10_000;
/** Messages of our own that have not come back within twice as many others are not ours any more. */
const SENT_GENERATION = 10_000;
/** Nobody tells a lamp or a rule anything that is longer. */
const MAX_PAYLOAD_BYTES = 65_536;

/** A message on a control topic, as it concerns rules. */
export interface HeardMessage {
  readonly topic: string;
  readonly text: string;
  readonly isLive: boolean;
  readonly chain: readonly string[];
}

/** How control topics are listened to. */
export interface ControlTopicsOptions {
  readonly brokers: readonly BrokerTarget[];
  readonly topicMap: TopicMap;
  /** Resolves when what the message led to is on record: only then is it acknowledged. */
  readonly onMessage: (message: HeardMessage) => Promise<void>;
  readonly onEvent: (event: ConnectionEvent) => void;
  readonly onFailure: (error: unknown, what: string) => void;
}

type PublishEffect = Extract<Effect, { kind: 'publish' }>;

/**
 * Automation's connections: it hears the topics that rules name on every broker, publishes what they want, and carries
 * room commands from one broker to the others.
 */
export class ControlTopics {
  readonly #options: ControlTopicsOptions;
  readonly #connections = new Map<string, BrokerConnection>();
  readonly #relayed: TopicIndex<true>;
  readonly #relayFilters: readonly string[];
  /**
   * Messages that automation has published and not heard itself yet, with the rules that led to them. Two generations:
   * to take the oldest out of one map, V8 passes over all that were taken out before.
   */
  #sent = new Map<string, readonly string[]>();
  #sentBefore = new Map<string, readonly string[]>();
  /** Identifiers of subscriptions, by filter; they begin at 1 (MQTT 5, section 3.8.2.1.2). */
  #identifiers = new Map<string, number>();
  #filterIndex = new TopicIndex<number>();
  #nextIdentifier = 1;

  constructor(options: ControlTopicsOptions) {
    this.#options = options;
    const relayed = options.brokers.length < 2 ? [] : roomCommands(options.topicMap);
    this.#relayed = new TopicIndex();
    for (const pattern of relayed) this.#relayed.add(pattern, true);
    this.#relayFilters = relayed.map(({ filter }) => filter);
  }

  /** The names of the brokers. */
  get brokers(): readonly string[] {
    return this.#options.brokers.map(({ name }) => name);
  }

  /** Resolves when a broker is connected, however long that takes; rejects when the signal ends it. */
  async whenReady(broker: string, signal: AbortSignal): Promise<void> {
    const connection = this.#connections.get(broker);
    if (connection !== undefined) await whenConnected(connection, signal);
  }

  /** Whether every broker is connected. */
  get ready(): boolean {
    return this.#connections.size > 0 && [...this.#connections.values()].every(({ ready }) => ready);
  }

  /**
   * Connects to every broker; resolves when each has been tried.
   * @throws BrokerError `subscription-refused`
   */
  async start(filters: readonly string[], connectTimeoutMs: number): Promise<void> {
    const subscriptions = this.#plan(filters).added;
    for (const broker of this.#options.brokers) {
      const connection: BrokerConnection = new BrokerConnection({
        broker,
        clientId: `muster-automation-${broker.name}`,
        sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
        statusTopic: 'muster/services/automation',
        subscriptions,
        onMessage: (message, settle) => {
          this.#receive(message).then(
            () => settle('acknowledge'),
            (error: unknown) => {
              this.#options.onFailure(error, message.topic);
              settle('leave');
            },
          );
        },
        onEvent: (event) => {
          this.#options.onEvent(event);
          if (event.kind === 'connected') void this.#readRetained(broker, [...this.#identifiers.keys()]);
        },
      });
      this.#connections.set(broker.name, connection);
    }
    await whenEachWasTried([...this.#connections.values()], connectTimeoutMs);
  }

  /** Hears other topics from now on. */
  async hear(filters: readonly string[]): Promise<void> {
    const before = this.#identifiers;
    const { added, removed } = this.#plan(filters);
    try {
      await this.#subscribe(added, removed);
    } catch (error) {
      // What was not granted is asked for again with the next change.
      const isNew = new Set(added.map(({ filter }) => filter));
      this.#identifiers = new Map([...before, ...this.#identifiers].filter(([filter]) => !isNew.has(filter)));
      this.#filterIndex = indexOf(this.#identifiers);
      throw error;
    }
  }

  async #subscribe(added: readonly Subscription[], removed: readonly string[]): Promise<void> {
    await Promise.all(
      this.#options.brokers.map(async (broker) => {
        const connection = this.#connections.get(broker.name);
        await connection?.subscribe(added);
        await connection?.unsubscribe(removed);
        await this.#readRetained(
          broker,
          added.map(({ filter }) => filter),
        );
      }),
    );
  }

  /** Which broker an effect is for: that of the device's session, or all where the device is not known. */
  address(effect: PublishEffect, brokerOf: (device: string) => string | undefined): readonly AddressedEffect[] {
    const match = this.#options.topicMap.match(effect.topic);
    const broker = match?.device.valid === true ? brokerOf(match.device.id) : undefined;
    if (broker !== undefined && this.#connections.has(broker)) return [{ broker, isCopy: false, effect }];
    return [...this.#connections.keys()].map((name, index) => ({ broker: name, isCopy: index > 0, effect }));
  }

  /**
   * Publishes; resolves when every broker has acknowledged. What a broker does not take while it is news is given up.
   * @throws BrokerError
   */
  async publish(effects: readonly AddressedEffect[]): Promise<void> {
    await Promise.all(
      effects.map((addressed) => this.#publish(addressed, { withinMs: addressed.effect.expirySeconds * 1_000 })),
    );
  }

  /**
   * Publishes what a run has for a broker, and its number, in one go: both are handed to the network in one piece, so a
   * broker that has the number has the run as well.
   * @throws BrokerError `publish-refused`; the broker has the number all the same
   */
  async publishRun(broker: string, number: number, effects: readonly AddressedEffect[]): Promise<void> {
    await Promise.all([
      ...effects.map((addressed) => this.#publish(addressed)),
      this.#connections.get(broker)?.publish(APPLIED_TOPIC, String(number), { qos: 1, retain: true }),
    ]);
  }

  /**
   * The number of the newest run that a broker has been told; 0 where it knows of none.
   * @throws BrokerError `unreachable`
   */
  async appliedRun(broker: string): Promise<number> {
    const target = this.#options.brokers.find(({ name }) => name === broker);
    const [marker] = target === undefined ? [] : await readRetained(target, [APPLIED_TOPIC], MARKER_LIMIT_MS);
    const run = marker === undefined ? 0 : Number(Buffer.from(marker.payload).toString('utf8'));
    // From the network: whatever else may stand there, it is no number of ours.
    return Number.isSafeInteger(run) ? run : 0;
  }

  /** Leaves the brokers. */
  async close(drainMs: number): Promise<void> {
    await Promise.all([...this.#connections.values()].map((connection) => connection.close(drainMs)));
  }

  async #publish(
    { broker, isCopy, effect }: AddressedEffect,
    limit: Pick<PublishOptions, 'withinMs'> = {},
  ): Promise<void> {
    const run = this.#filterIndex.matches(effect.topic).length > 0 ? this.#remember(effect.chain) : undefined;
    await this.#connections.get(broker)?.publish(effect.topic, effect.payload, {
      ...limit,
      qos: effect.qos,
      retain: effect.retain,
      properties: {
        messageExpiryInterval: effect.expirySeconds,
        userProperties: {
          [RULES_PROPERTY]: effect.chain.join(','),
          ...(run === undefined ? {} : { [RUN_PROPERTY]: run }),
          ...(isCopy ? { [RELAY_PROPERTY]: 'automation' } : {}),
        },
      },
    });
  }

  /** The name under which a message of our own that we are going to hear is known again. */
  #remember(chain: readonly string[]): string {
    if (this.#sent.size >= SENT_GENERATION) {
      this.#sentBefore = this.#sent;
      this.#sent = new Map();
    }
    const run = randomUUID();
    this.#sent.set(run, chain);
    return run;
  }

  /** Filters that none other covers, each with an identifier of its own. */
  #plan(filters: readonly string[]): { readonly added: readonly Subscription[]; readonly removed: readonly string[] } {
    const all = [...new Set([...filters, ...this.#relayFilters])];
    const wanted = all.filter((filter) => !all.some((other) => other !== filter && filterCovers(other, filter)));
    const before = this.#identifiers;
    this.#identifiers = new Map(wanted.map((filter) => [filter, before.get(filter) ?? this.#nextIdentifier++]));
    this.#filterIndex = indexOf(this.#identifiers);
    return {
      added: wanted
        .filter((filter) => !before.has(filter))
        .map((filter) => ({
          ...{ filter, qos: 1, retainHandling: 2 },
          identifier: this.#identifiers.get(filter) ?? 0,
        })),
      removed: [...before.keys()].filter((filter) => !this.#identifiers.has(filter)),
    };
  }

  async #receive(message: ReceivedMessage): Promise<void> {
    if (!this.#isFirstCopy(message)) return;
    const properties = userProperties(message);
    // The broker that it was copied from has brought it already.
    if (properties.has(RELAY_PROPERTY)) return;
    // What is only said to be ours is not: anybody could stop a rule with it.
    const run = properties.get(RUN_PROPERTY) ?? '';
    const chain = this.#sent.get(run) ?? this.#sentBefore.get(run) ?? [];
    if (!this.#sent.delete(run)) this.#sentBefore.delete(run);
    if (message.payload.length > MAX_PAYLOAD_BYTES) return;
    const isLive = !message.retain && !message.duplicate && !message.isBacklog;
    if (isLive && chain.length === 0 && this.#relayed.matches(message.topic).length > 0) this.#relay(message);
    const text = Buffer.from(message.payload).toString('utf8');
    await this.#options.onMessage({ topic: message.topic, text, isLive, chain });
  }

  /** Overlapping filters deliver a message once each; the subscription with the lowest identifier has it counted. */
  #isFirstCopy({ topic, properties }: ReceivedMessage): boolean {
    const matching = this.#filterIndex.matches(topic).map(({ entry }) => entry);
    const found = [properties.subscriptionIdentifier ?? []].flat();
    return found.length === 0 || matching.length < 2 || found.includes(Math.min(...matching));
  }

  /** Copies a command to the other brokers; one that is away would get it when nobody wants it any more. */
  #relay({ broker: from, topic, payload, properties }: ReceivedMessage): void {
    const expirySeconds = Math.min(RELAY_EXPIRY_SECONDS, properties.messageExpiryInterval ?? RELAY_EXPIRY_SECONDS);
    for (const [broker, connection] of this.#connections) {
      if (broker === from) continue;
      connection
        .publish(topic, payload, {
          qos: 1,
          withinMs: expirySeconds * 1_000,
          properties: { messageExpiryInterval: expirySeconds, userProperties: { [RELAY_PROPERTY]: from } },
        })
        .catch((error: unknown) => this.#options.onFailure(error, topic));
    }
  }

  /** What is retained tells in which state things are; nothing fires. */
  async #readRetained(broker: BrokerTarget, filters: readonly string[]): Promise<void> {
    try {
      for (const { topic, payload } of await readRetained(broker, filters)) {
        const text = Buffer.from(payload).toString('utf8');
        await this.#options.onMessage({ topic, text, isLive: false, chain: [] });
      }
    } catch (error) {
      this.#options.onFailure(error, `retained messages of ${broker.name}`);
    }
  }
}

/** Commands for a room: their topic does not name the device that is to obey, so it may be at any broker. */
function roomCommands(topicMap: TopicMap): readonly TopicMap['entries'][number]['pattern'][] {
  return topicMap.entries.flatMap(({ role, device, pattern }) => {
    const isOwn = pattern.levels.some((level) => level.kind === 'wildcard' && device === `{${level.name}}`);
    return role === 'command' && !isOwn ? [pattern] : [];
  });
}

function indexOf(identifiers: ReadonlyMap<string, number>): TopicIndex<number> {
  const index = new TopicIndex<number>();
  for (const [filter, identifier] of identifiers) {
    let wildcard = 0;
    const source = filter.replaceAll('+', () => `{level${(wildcard += 1)}}`);
    index.add(parsePattern(source), identifier);
  }
  return index;
}

function userProperties({ properties }: ReceivedMessage): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(properties.userProperties ?? {}).map(([name, value]) => [
      name,
      Array.isArray(value) ? (value[0] ?? '') : value,
    ]),
  );
}
