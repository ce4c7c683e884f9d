import type { BrokerConnection } from '@muster/broker';
import type { Logger } from '@muster/service';
import { hearingSinceMs, type BrokerVerdict, type Uptime } from './broker-condition.ts';
import type { Brokers } from './brokers.ts';
import type { Fleet } from './fleet.ts';
import type { Incidents } from './incidents.ts';
import type { PresenceStore } from './presence-store.ts';

const LOOK_EVERY_MS = 1_000;
/** What had waited at a broker has been taken by then, unless it is very much. */
const RESTORE_AFTER_MS = 1_000;
const RESTORE_AT_LAST_MS = 30_000;

/** What the look at a fleet is made of. */
export interface PresenceParts {
  readonly fleet: Fleet;
  readonly store: PresenceStore;
  readonly brokers: Brokers;
  readonly incidents: Incidents;
  readonly brokerNames: readonly string[];
  readonly connections: () => readonly BrokerConnection[];
  readonly logger: Logger;
}

/** What time and brokers do to the fleet: once a second it looks who is silent, and each broker's fate is applied at once. */
export class PresenceWatch {
  readonly #parts: PresenceParts;
  /** Brokers whose devices wait to be what they were. */
  readonly #toRestore = new Set<string>();
  /** What is on record of what each broker has told. */
  readonly #kept = new Map<string, Uptime>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  /** Begins to look. */
  start(): void {
    this.#leaveBrokers();
    this.#timer = setInterval(() => {
      this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    }, LOOK_EVERY_MS);
  }

  /** Stops; a look that is under way is left to itself: what it would write may wait for PostgreSQL. */
  close(): void {
    clearInterval(this.#timer);
  }

  /** Takes what has become of a broker. */
  verdict(broker: string, verdict: BrokerVerdict): void {
    const { fleet, incidents, logger } = this.#parts;
    const nowMs = Date.now();
    if (verdict.kind === 'back') {
      this.#toRestore.add(broker);
      return;
    }
    this.#toRestore.delete(broker);
    const { count, done } = fleet.verdict(broker, verdict, nowMs);
    logger.warn({ broker, devices: count }, verdict.kind === 'lost' ? 'a broker is away' : 'a broker was started anew');
    Promise.all([done, incidents.begin(broker, verdict, count)]).catch((error: unknown) =>
      this.#failed(error, 'an incident was not recorded'),
    );
  }

  /** Brokers that are not configured any more: nobody listens there, and what their devices do is not known. */
  #leaveBrokers(): void {
    const { fleet, brokerNames, logger } = this.#parts;
    const nowMs = Date.now();
    for (const broker of fleet.brokers) {
      if (brokerNames.includes(broker)) continue;
      const { count, done } = fleet.verdict(broker, { kind: 'lost', fromMs: nowMs }, nowMs);
      if (count > 0) logger.warn({ broker, devices: count }, 'a broker with devices is not configured any more');
      done.catch((error: unknown) => this.#failed(error, 'what became of the devices of a broker was not recorded'));
    }
  }

  async #look(): Promise<void> {
    const { fleet, store, brokers } = this.#parts;
    const nowMs = Date.now();
    try {
      await this.#settle(nowMs);
      await this.#keepTold();
      const { activities, declared, attention } = await store.observe();
      fleet.declare(declared);
      await fleet.heard(activities, nowMs);
      const { conditions } = brokers;
      await fleet.look(nowMs, (broker) => hearingSinceMs(conditions, broker, nowMs), attention);
    } catch (error) {
      this.#failed(error, 'who is silent is not known at the moment');
    }
  }

  /** Brokers that are heard again: their devices are what they were; and incidents that are over. */
  async #settle(nowMs: number): Promise<void> {
    const { fleet, incidents, brokers, brokerNames, connections } = this.#parts;
    for (const broker of this.#toRestore) {
      const sinceMs = brokers.heardSinceMs(broker);
      if (sinceMs === undefined || nowMs - sinceMs < RESTORE_AFTER_MS) continue;
      const inHand = connections().find((connection) => connection.broker === broker)?.inHand ?? 0;
      if (inHand > 0 && nowMs - sinceMs < RESTORE_AT_LAST_MS) continue;
      this.#toRestore.delete(broker);
      await fleet.restore(broker, nowMs);
    }
    for (const [broker, { fromMs }] of incidents.open)
      if (!brokerNames.includes(broker) || (brokers.isHeard(broker) && fleet.interrupted(broker) === 0))
        await incidents.end(broker, fleet.lostSince(broker, fromMs), nowMs);
  }

  /** What brokers tell of their uptime is for the next process, which has to find out whether they were started anew. */
  async #keepTold(): Promise<void> {
    const { brokers, incidents } = this.#parts;
    for (const [broker, told] of brokers.told) {
      if (this.#kept.get(broker) === told) continue;
      await incidents.told(broker, told);
      this.#kept.set(broker, told);
    }
  }

  #failed(error: unknown, what: string): void {
    this.#parts.logger.warn({ err: error }, what);
  }
}
