import { setTimeout as delay } from 'node:timers/promises';
import type { TopicMap } from '@muster/contract';
import { ChannelFollower } from '@muster/database';
import {
  ACCOUNT_CHANNEL,
  BrokerFault,
  SAVE_CHANNEL,
  type AccountStore,
  type BrokerSaves,
  type ManagedBroker,
} from '@muster/security';
import type { Logger } from '@muster/service';
import { Gauge, type Registry } from 'prom-client';

/** What an agent is made of. */
export interface AgentParts {
  readonly brokers: readonly ManagedBroker[];
  readonly accounts: AccountStore;
  readonly saves: BrokerSaves;
  readonly topicMap: TopicMap;
  readonly postgresUrl: string;
  readonly logger: Logger;
  readonly metrics: Registry;
}

/** After a fault sooner than the next poll: a broker that starts is seldom later than this. */
const RETRY_MS = 1_000;
/** Changes that come sooner after one another are made together: each costs the broker a reload. */
const LEAST_INTERVAL_MS = 500;
/** Each save holds the broker up for as long as the writing takes: what is asked for meanwhile is fulfilled together. */
const LEAST_SAVE_INTERVAL_MS = 1_000;

/** Why brokers are not to be used yet: the first fault, or the first broker that has not the newest version; else undefined. */
export function whyNotReady(
  brokers: readonly Pick<ManagedBroker, 'name' | 'applied'>[],
  newest: bigint | undefined,
  faults: ReadonlyMap<string, string>,
): string | undefined {
  const [fault] = faults.values();
  if (fault !== undefined) return fault;
  const behind = brokers.find(({ applied }) => applied === undefined || applied !== newest);
  return behind && `${behind.name} is not at account version ${newest ?? '(unknown yet)'}`;
}

/** Keeps its brokers at the newest version of the accounts, says which one they have, and makes them save when asked to. */
export class Agent {
  readonly #parts: AgentParts;
  readonly #follower: ChannelFollower;
  readonly #saveFollower: ChannelFollower;
  readonly #faults = new Map<string, string>();
  #newest: bigint | undefined;
  #retry: NodeJS.Timeout | undefined;
  #saveRetry: NodeJS.Timeout | undefined;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#follower = new ChannelFollower({
      url: parts.postgresUrl,
      channel: ACCOUNT_CHANNEL,
      refresh: () => this.#refresh(),
      onError: (error) => parts.logger.warn({ reason: error.message }, 'the accounts are not known at the moment'),
    });
    this.#saveFollower = new ChannelFollower({
      url: parts.postgresUrl,
      channel: SAVE_CHANNEL,
      refresh: () => this.#saveWhatIsDue(),
      onError: (error) =>
        parts.logger.warn({ reason: error.message }, 'which brokers are to save is not known at the moment'),
    });
    const applied = new Gauge({
      name: 'muster_agent_account_version',
      help: 'The version of the accounts that a broker uses',
      labelNames: ['broker'],
      registers: [parts.metrics],
      collect: () => {
        for (const { name, applied: version } of parts.brokers) applied.set({ broker: name }, Number(version ?? -1));
      },
    });
  }

  /** Begins; a broker or a database that is away is waited for. */
  async start(): Promise<void> {
    await Promise.all([this.#follower.start(), this.#saveFollower.start()]);
    this.#follower.refresh();
    this.#saveFollower.refresh();
  }

  /** Stops following; the brokers go on with what they have. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    clearTimeout(this.#saveRetry);
    await Promise.all([this.#follower.close(), this.#saveFollower.close()]);
  }

  /**
   * Why the brokers are not to be used yet; undefined when each is at the newest version that is known. A database that
   * is away later does not count: what the brokers have still holds.
   */
  get fault(): string | undefined {
    return whyNotReady(this.#parts.brokers, this.#newest, this.#faults);
  }

  async #refresh(): Promise<void> {
    const startedAtMs = performance.now();
    const changed = await this.#bringAllUpToDate();
    if (changed) await delay(Math.max(0, LEAST_INTERVAL_MS - (performance.now() - startedAtMs)));
  }

  async #saveWhatIsDue(): Promise<void> {
    const { brokers, saves, logger } = this.#parts;
    const due = await saves.due(brokers.map(({ name }) => name));
    if (due.length === 0) return;
    const startedAtMs = performance.now();
    await Promise.all(
      due.map(async (save) => {
        try {
          await brokers.find(({ name }) => name === save.broker)?.save();
        } catch (error) {
          if (!(error instanceof BrokerFault)) throw error;
          this.#saveRetry = setTimeout(() => this.#saveFollower.refresh(), RETRY_MS);
          logger.warn({ broker: save.broker, reason: error.message }, 'the broker was not saved');
          return;
        }
        await saves.note(save);
        logger.info({ broker: save.broker }, 'the broker has saved what it holds');
      }),
    );
    await delay(Math.max(0, LEAST_SAVE_INTERVAL_MS - (performance.now() - startedAtMs)));
  }

  async #bringAllUpToDate(): Promise<boolean> {
    const before = this.#newest;
    this.#newest = await this.#parts.accounts.version();
    await Promise.all(this.#parts.brokers.map((broker) => this.#bringUpToDate(broker)));
    return before !== this.#newest;
  }

  async #bringUpToDate(broker: ManagedBroker): Promise<void> {
    const { accounts, topicMap, logger } = this.#parts;
    try {
      if (broker.applied === this.#newest) {
        if (broker.reloadCertificates()) logger.info({ broker: broker.name }, 'the broker reads its certificate again');
        this.#faults.delete(broker.name);
        await accounts.report(broker.name, { fault: null });
        return;
      }
      const startedAt = performance.now();
      const version = await broker.apply((probe) => accounts.files(topicMap, probe));
      this.#newest = version;
      this.#faults.delete(broker.name);
      await accounts.report(broker.name, { version });
      const durationMs = Math.round(performance.now() - startedAt);
      logger.info({ broker: broker.name, version: Number(version), durationMs }, 'accounts applied');
    } catch (error) {
      // A database that goes away meanwhile is no fault of the broker, which would be taken out of service for it.
      if (!(error instanceof BrokerFault)) throw error;
      const fault = error.message;
      this.#faults.set(broker.name, fault);
      logger.warn({ broker: broker.name, reason: fault }, 'the broker is not at the newest accounts');
      this.#retry = setTimeout(() => this.#follower.refresh(), RETRY_MS);
      await accounts.report(broker.name, { fault });
    }
  }
}
