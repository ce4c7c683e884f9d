import { setTimeout as delay } from 'node:timers/promises';
import type { BrokerTarget } from '@muster/broker';
import { ownableTopics, type BrokerDrift, type DeviceId, type Drift, type TopicMap } from '@muster/contract';
import type { Logger } from '@muster/service';
import { Gauge, type Registry } from 'prom-client';
import { BrokerLedger, type Corrections } from './broker-ledger.ts';
import type { BrokerReport } from './broker-report.ts';
import { driftOf } from './retained-ledger.ts';
import type { RetainedStore } from './retained-store.ts';
import { TopicOwners, type Claim } from './topic-ownership.ts';

/** What the ledger of all brokers is made of. */
export interface LedgerWatchOptions {
  readonly brokers: readonly BrokerTarget[];
  readonly reports: ReadonlyMap<string, BrokerReport>;
  readonly store: RetainedStore;
  readonly topicMap: TopicMap;
  readonly logger: Logger;
  readonly metrics: Registry;
}

const WRITE_EVERY_MS = 1_000;
const OWNERS_EVERY_MS = 5_000;
const COUNT_EVERY_MS = 10_000;
/** A sweep over all devices takes a second for so many; then there is a pause. */
const DEVICES_A_TURN = 50;
const TURN_MS = 1_000;
const PAUSE_MS = 30_000;
const CLOSE_LIMIT_MS = 3_000;

interface Ledger {
  readonly broker: string;
  readonly ledger: BrokerLedger;
  pass: BrokerDrift['pass'];
}

/** The ledgers of all brokers: keeps them written, goes over all devices slowly, and compares with what brokers count. */
export class LedgerWatch {
  readonly #options: LedgerWatchOptions;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #stop = new AbortController();
  #ledgers: readonly Ledger[] = [];
  #claims: readonly Claim[] = [];
  #isRefreshing = false;
  #passing: Promise<void> = Promise.resolve();

  constructor(options: LedgerWatchOptions) {
    this.#options = options;
    const gauge = (name: string, help: string): Gauge<'broker'> =>
      new Gauge({ name: `muster_registry_${name}`, help, labelNames: ['broker'], registers: [options.metrics] });
    this.#topics = gauge('retained_topics', 'Topics that the ledger has as retained');
    this.#drift = gauge('retained_drift', 'Messages that a broker retains beyond its own and those of the ledger');
  }

  readonly #topics: Gauge<'broker'>;
  readonly #drift: Gauge<'broker'>;

  /** Begins to listen; a broker that is away, or refuses, is waited for in the background. */
  async start(): Promise<void> {
    const { brokers, store, topicMap, logger } = this.#options;
    await store.keepBrokers(brokers.map(({ name }) => name));
    this.#claims = await store.claims();
    const owners = new TopicOwners(topicMap, this.#claims);
    this.#ledgers = brokers.map((broker) => ({
      broker: broker.name,
      ledger: new BrokerLedger({ broker, store, owners, logger }),
      pass: null,
    }));
    this.#timers.push(
      setInterval(() => void this.#write(), WRITE_EVERY_MS),
      setInterval(() => void this.#refreshOwners(), OWNERS_EVERY_MS),
      setInterval(() => void this.#measure(), COUNT_EVERY_MS),
    );
    this.#passing = this.#passAgainAndAgain();
  }

  /** Stops listening, and writes what is left. */
  async close(): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#stop.abort();
    // A broker that hangs is not waited for; what its sweep would have found is found by the next process.
    await Promise.race([this.#passing, delay(CLOSE_LIMIT_MS, undefined, { ref: false })]);
    await Promise.all(this.#ledgers.map(({ ledger }) => ledger.close()));
  }

  /** Writes what has been heard, so that an answer has it. */
  async settle(): Promise<void> {
    await this.#write();
  }

  /** How each ledger compares with what its broker counts. */
  async drift(): Promise<Drift> {
    await this.#write();
    const counts = await this.#options.store.counts();
    return {
      brokers: this.#ledgers.map(({ broker, ledger, pass }) => {
        const { ledger: topics, expired } = counts.get(broker) ?? { ledger: 0, expired: 0 };
        const { counted, baseline } = this.#options.reports.get(broker) ?? {};
        const input = { ledger: topics, expired, counted, baseline, isListening: ledger.isListening };
        return {
          ...{ broker, listening: ledger.isListening, ledger: topics, expired, pass },
          counted: counted === undefined ? null : { retained: counted.retained, at: instant(counted.atMs) },
          baseline:
            baseline === undefined
              ? null
              : { system: baseline.system, muster: baseline.muster, at: instant(baseline.atMs) },
          ...driftOf({ ...input, hasPassed: pass !== null }),
        };
      }),
    };
  }

  async #write(): Promise<void> {
    await Promise.all(this.#ledgers.map(({ ledger }) => ledger.write()));
  }

  async #measure(): Promise<void> {
    try {
      for (const { broker, ledger, drift } of (await this.drift()).brokers) {
        this.#topics.set({ broker }, ledger);
        if (drift === null) this.#drift.remove({ broker });
        else this.#drift.set({ broker }, drift);
      }
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'the ledger could not be compared with the brokers');
    }
  }

  async #refreshOwners(): Promise<void> {
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    const { store, topicMap, logger } = this.#options;
    try {
      const claims = await store.claims();
      if (JSON.stringify(claims) === JSON.stringify(this.#claims)) return;
      const owners = new TopicOwners(topicMap, claims);
      await Promise.all(this.#ledgers.map(({ ledger }) => ledger.changeOwners(owners)));
      this.#claims = claims;
    } catch (error) {
      logger.warn({ err: error }, 'topics that devices own could not be read anew; it is tried again');
    } finally {
      this.#isRefreshing = false;
    }
  }

  async #passAgainAndAgain(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await Promise.all(this.#ledgers.map((one) => this.#pass(one)));
      await this.#pause(PAUSE_MS);
    }
  }

  /** Sweeps every device on one broker, its subtree at a time (mqtt-pitfalls R5), and what belongs to none. */
  async #pass(one: Ledger): Promise<void> {
    const { store, topicMap, logger } = this.#options;
    const startedAt = instant(Date.now());
    const total = { devices: 0, added: 0, changed: 0, removed: 0 };
    const take = ({ added, changed, removed }: Corrections): void => {
      total.added += added;
      total.changed += changed;
      total.removed += removed;
    };
    try {
      for (let after = ''; !this.#stop.signal.aborted;) {
        const devices = await store.devicesAfter(after, DEVICES_A_TURN);
        const last = devices.at(-1);
        if (last === undefined) break;
        after = last;
        take(await one.ledger.sweepDevices(devices, this.#filtersOf(devices, topicMap)));
        total.devices += devices.length;
        if (devices.length === DEVICES_A_TURN) await this.#pause(TURN_MS);
      }
      if (this.#stop.signal.aborted) return;
      take(await one.ledger.sweepOthers());
      one.pass = { startedAt, endedAt: instant(Date.now()), ...total };
    } catch (error) {
      logger.warn({ err: error, broker: one.broker }, 'the sweep over all devices was broken off; it begins anew');
    }
  }

  #filtersOf(devices: readonly DeviceId[], topicMap: TopicMap): readonly string[] {
    const wanted = new Set<string>(devices);
    const claimed = this.#claims.flatMap(({ device, topics }) =>
      wanted.has(device) ? ownableTopics(device, topics, topicMap) : [],
    );
    return [...new Set([...devices.flatMap((device) => topicMap.deviceFilters(device)), ...claimed])];
  }

  async #pause(ms: number): Promise<void> {
    // It ends early when everything does.
    await delay(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}

function instant(atMs: number): string {
  return new Date(atMs).toISOString();
}
