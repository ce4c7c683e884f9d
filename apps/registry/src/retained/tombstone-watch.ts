import type { BrokerTarget } from '@muster/broker';
import type { DeviceGhosts, DeviceId, TopicMap } from '@muster/contract';
import { ChannelFollower, TOMBSTONE_CHANNEL } from '@muster/database';
import type { Logger } from '@muster/service';
import { Counter, type Registry } from 'prom-client';
import { BrokerGhosts, type RefusedTraffic } from './broker-ghosts.ts';
import type { BrokerReport } from './broker-report.ts';
import type { RetainedStore, WatchedDevice } from './retained-store.ts';

/** What the tombstone watch is made of. */
export interface TombstoneWatchOptions {
  readonly postgresUrl: string;
  readonly brokers: readonly BrokerTarget[];
  readonly reports: ReadonlyMap<string, BrokerReport>;
  readonly store: RetainedStore;
  readonly topicMap: TopicMap;
  readonly logger: Logger;
  readonly metrics: Registry;
}

/**
 * Keeps decommissioned devices silent, for good: whatever is retained under one of them again is cleared, counted and put
 * on record. A device is watched as soon as its decommissioning is verified; before that its report says what was cleared.
 */
export class TombstoneWatch {
  readonly #options: TombstoneWatchOptions;
  readonly #follower: ChannelFollower;
  readonly #watched = new Map<string, WatchedDevice>();
  readonly #refused = new Map<string, RefusedTraffic>();
  readonly #seen: Counter<'broker' | 'cause'>;
  readonly #zombie: Counter<'broker'>;
  #brokers: readonly BrokerGhosts[] = [];

  constructor(options: TombstoneWatchOptions) {
    this.#options = options;
    this.#seen = new Counter({
      name: 'muster_registry_ghosts_total',
      help: 'Retained messages that appeared under decommissioned devices',
      labelNames: ['broker', 'cause'],
      registers: [options.metrics],
    });
    this.#zombie = new Counter({
      name: 'muster_registry_zombie_messages_total',
      help: 'Messages of decommissioned devices that are not retained',
      labelNames: ['broker'],
      registers: [options.metrics],
    });
    this.#follower = new ChannelFollower({
      url: options.postgresUrl,
      channel: TOMBSTONE_CHANNEL,
      refresh: () => this.#refresh(),
      onError: (error) => options.logger.warn({ err: error }, 'which devices are to be watched could not be read'),
    });
  }

  /** Begins to watch; a broker that is away is waited for in the background. */
  async start(): Promise<void> {
    const { brokers, reports, store, topicMap, logger } = this.#options;
    for (const device of await store.watched()) this.#watched.set(device.device, device);
    this.#brokers = brokers.map(
      (broker) =>
        new BrokerGhosts({
          ...{ broker, report: reports.get(broker.name), store, topicMap, logger },
          ...{ watched: this.#watched, refused: this.#refused, seen: this.#seen, zombie: this.#zombie },
        }),
    );
    await this.#follower.start();
  }

  /** Stops watching. */
  async close(): Promise<void> {
    await this.#follower.close();
    await Promise.all(this.#brokers.map((broker) => broker.close()));
  }

  /** Whether a device is watched, and what it still sends. */
  statusOf(device: DeviceId): Pick<DeviceGhosts, 'watched' | 'refused'> {
    const refused = this.#refused.get(device);
    return {
      watched: this.#watched.has(device),
      refused:
        refused === undefined ? null : { messages: refused.messages, lastAt: new Date(refused.lastAtMs).toISOString() },
    };
  }

  /** Everything each time: an undone decommissioning takes its tombstone away. */
  async #refresh(): Promise<void> {
    const now = new Map((await this.#options.store.watched()).map((device) => [device.device as string, device]));
    const added = [...now.values()].filter(({ device }) => !this.#watched.has(device));
    const removed = [...this.#watched.keys()].filter((device) => !now.has(device));
    if (added.length === 0 && removed.length === 0) return;
    for (const device of added) this.#watched.set(device.device, device);
    for (const device of removed) {
      this.#watched.delete(device);
      this.#refused.delete(device);
    }
    try {
      await Promise.all(this.#brokers.map((broker) => broker.change(added, removed)));
    } catch (error) {
      // They are new again to the next refresh; to a broker that watches them already nothing changes.
      for (const { device } of added) this.#watched.delete(device);
      throw error;
    }
  }
}
