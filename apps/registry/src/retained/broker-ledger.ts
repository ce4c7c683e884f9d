import { setTimeout as delay } from 'node:timers/promises';
import {
  BrokerConnection,
  readRetained,
  type BrokerTarget,
  type ReceivedMessage,
  type Subscription,
} from '@muster/broker';
import { filterCovers, type DeviceId } from '@muster/contract';
import { logConnectionEvent, type Logger } from '@muster/service';
import {
  isLedgerTopic,
  ledgerEntry,
  reconcile,
  type LedgerEntry,
  type Reconciliation,
  type RecordedEntry,
} from './retained-ledger.ts';
import type { RetainedStore } from './retained-store.ts';
import type { TopicOwners } from './topic-ownership.ts';

/** What a sweep of devices had to correct. */
export interface Corrections {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

/** Looking at topics by their names: fewer than what brokers queue for a client unless told otherwise (mqtt-pitfalls R5). */
const BATCH = 500;
const SWEEP_LIMIT_MS = 15_000;
const READ_AGAIN_MS = 5_000;

/** What the ledger of one broker is made of. */
export interface BrokerLedgerOptions {
  readonly broker: BrokerTarget;
  readonly store: RetainedStore;
  readonly owners: TopicOwners;
  readonly logger: Logger;
}

/**
 * The ledger of one broker. One connection hears every change as it happens, with retain-as-published and no replay; what
 * was there before is read over another, short one, behind the subscription, so that nothing falls between (mqtt-pitfalls
 * R4). In memory is only what has not been written yet.
 */
export class BrokerLedger {
  readonly #options: BrokerLedgerOptions;
  readonly #connection: BrokerConnection;
  #owners: TopicOwners;
  /** What has changed since the last writing; null stands for a topic that was cleared. */
  #pending = new Map<string, LedgerEntry | null>();
  #writing: Promise<void> | undefined;
  /** Topics that were heard live since each sweep under way began. */
  readonly #heard = new Set<Set<string>>();
  /** The same since the connection was made; undefined when what was there before has been read. */
  #heardSinceConnect: Set<string> | undefined;
  #isClosed = false;

  constructor(options: BrokerLedgerOptions) {
    this.#options = options;
    this.#owners = options.owners;
    this.#begin();
    const log = logConnectionEvent(options.logger);
    this.#connection = new BrokerConnection({
      broker: options.broker,
      clientId: `muster-registry-ledger-${options.broker.name}`,
      sessionExpirySeconds: 0,
      subscriptions: options.owners.liveFilters.map(liveSubscription),
      onMessage: (message, settle) => {
        this.#take(message);
        settle('acknowledge');
      },
      onEvent: (event) => {
        log(event);
        if (event.kind === 'connected') void this.#readWhatWasThere();
        if (event.kind === 'disconnected') this.#begin();
      },
    });
  }

  /** Whether changes are heard, and what was there before has been read. */
  get isListening(): boolean {
    return this.#connection.ready && this.#heardSinceConnect === undefined;
  }

  /** Goes by other owners from now on; topics whose owner may have changed are looked at. */
  async changeOwners(owners: TopicOwners): Promise<void> {
    const before = new Set(this.#owners.liveFilters);
    const now = new Set(owners.liveFilters);
    this.#owners = owners;
    const added = owners.liveFilters.filter((filter) => !before.has(filter));
    const removed = [...before].filter((filter) => !now.has(filter));
    await this.#connection.subscribe(added.map(liveSubscription));
    await this.#connection.unsubscribe(removed);
    await this.#lookAt([...added, ...removed]);
  }

  /**
   * Sweeps the subtrees of devices, and puts right what the ledger has otherwise.
   * @throws BrokerError
   */
  async sweepDevices(devices: readonly DeviceId[], filters: readonly string[]): Promise<Corrections> {
    const { store, broker } = this.#options;
    const { added, changed, removed } = await this.#sweep(filters, () => store.recordedOf(broker.name, devices));
    // What is a device's by other means than these filters is not looked for here.
    const gone = removed.filter((topic) => filters.some((filter) => filterCovers(filter, topic)));
    this.#forget(gone);
    return { added: added.length, changed: changed.length, removed: gone.length };
  }

  /**
   * Looks where by the contract nothing is retained, and at what belongs to no device.
   * @throws BrokerError
   */
  async sweepOthers(): Promise<Corrections> {
    const { broker, store } = this.#options;
    const known = (await store.recordedOfNobody(broker.name)).map(({ topic }) => topic);
    // A read with wildcards may be cut short by the broker (mqtt-pitfalls R5): what it does not show is not taken for gone.
    const seen = await this.#sweep(this.#owners.otherFilters, (found) => store.recordedTopics(broker.name, found));
    const { added, changed, removed } = await this.#lookAt(known);
    return { added: seen.added.length + added, changed: seen.changed.length + changed, removed };
  }

  /** Writes what has changed; what cannot be written is kept for the next time. */
  async write(): Promise<void> {
    if (this.#writing !== undefined) return this.#writing;
    if (this.#pending.size === 0) return;
    const batch = this.#pending;
    this.#pending = new Map();
    const { store, broker, logger } = this.#options;
    this.#writing = store
      .apply(broker.name, batch)
      .catch((error: unknown) => {
        logger.warn({ err: error, broker: broker.name, topics: batch.size }, 'the ledger could not be written');
        // What was heard meanwhile is newer.
        this.#pending = new Map([...batch, ...this.#pending]);
      })
      .finally(() => (this.#writing = undefined));
    return this.#writing;
  }

  /** Stops listening, and writes what is left. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#connection.close(0);
    await this.#writing;
    await this.write();
  }

  /** From here on it matters what is heard: what was there before is read later. */
  #begin(): void {
    if (this.#heardSinceConnect !== undefined) this.#heard.delete(this.#heardSinceConnect);
    this.#heardSinceConnect = new Set();
    this.#heard.add(this.#heardSinceConnect);
  }

  #take(message: ReceivedMessage): void {
    const { topic, payload, retain } = message;
    // With retain-as-published: what was published without the flag changes nothing that is retained.
    if (!retain || !isLedgerTopic(topic)) return;
    for (const heard of this.#heard) heard.add(topic);
    this.#pending.set(topic, payload.length === 0 ? null : ledgerEntry(message, this.#owners.ownerOf(topic), true));
  }

  async #readWhatWasThere(): Promise<void> {
    const heard = this.#heardSinceConnect;
    const { broker, store, logger } = this.#options;
    while (!this.#isClosed && this.#connection.ready && heard === this.#heardSinceConnect) {
      try {
        const { removed } = await this.#sweep(this.#owners.liveFilters, async () =>
          (await store.recorded(broker.name)).filter(({ topic }) => this.#owners.isLive(topic)),
        );
        // A read with wildcards may be cut short by the broker (mqtt-pitfalls R5).
        await this.#lookAt(removed);
        if (heard !== this.#heardSinceConnect) return;
        if (heard !== undefined) this.#heard.delete(heard);
        this.#heardSinceConnect = undefined;
        return;
      } catch (error) {
        logger.warn({ err: error, broker: broker.name }, 'what is retained could not be read; it is tried again');
        await delay(READ_AGAIN_MS);
      }
    }
  }

  /** Looks at topics by their names; what is not there any more is taken from the ledger. */
  async #lookAt(topics: readonly string[]): Promise<Corrections> {
    const { store, broker } = this.#options;
    const total = { added: 0, changed: 0, removed: 0 };
    for (let at = 0; at < topics.length; at += BATCH) {
      const batch = topics.slice(at, at + BATCH);
      const found = await this.#sweep(batch, () => store.recordedTopics(broker.name, batch));
      this.#forget(found.removed);
      total.added += found.added.length;
      total.changed += found.changed.length;
      total.removed += found.removed.length;
    }
    return total;
  }

  /** Reads what is retained under filters, and takes what is new or other than on record; answers what is missing as well. */
  async #sweep(
    filters: readonly string[],
    recorded: (found: readonly string[]) => Promise<readonly RecordedEntry[]>,
  ): Promise<Reconciliation> {
    if (filters.length === 0) return { added: [], changed: [], removed: [] };
    const heard = new Set<string>();
    this.#heard.add(heard);
    try {
      const messages = await readRetained(this.#options.broker, filters, SWEEP_LIMIT_MS);
      // What was heard before has to be on record; the first may be a writing that had begun without it.
      await this.write();
      await this.write();
      const found = messages
        .filter(({ topic }) => isLedgerTopic(topic))
        .map((message) => ledgerEntry(message, this.#owners.ownerOf(message.topic), false));
      const result = reconcile(found, await recorded(found.map(({ topic }) => topic)), heard);
      for (const entry of [...result.added, ...result.changed]) this.#pending.set(entry.topic, entry);
      return result;
    } finally {
      this.#heard.delete(heard);
    }
  }

  #forget(topics: readonly string[]): void {
    for (const topic of topics) this.#pending.set(topic, null);
  }
}

/** At QoS 2, so that each message comes with the QoS that it was published with. */
function liveSubscription(filter: string): Subscription {
  return { filter, qos: 2, retainAsPublished: true, retainHandling: 2 };
}
