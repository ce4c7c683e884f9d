import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, BrokerError, type BrokerTarget, type ReceivedMessage } from '@muster/broker';
import { isDeviceId, ownableTopics, type DeviceId, type TopicMap } from '@muster/contract';
import { logConnectionEvent, type Logger } from '@muster/service';
import type { Counter } from 'prom-client';
import type { BrokerReport } from './broker-report.ts';
import { clearAndLook } from './clear-topics.ts';
import { appeared, FIRST_PACE, isForgotten, likelyCause, tried, type ClearingPace } from './ghosts.ts';
import { isLedgerTopic } from './retained-ledger.ts';
import type { GhostRecord, RetainedStore, WatchedDevice } from './retained-store.ts';

interface GhostState {
  readonly device: DeviceId;
  readonly topic: string;
  bytes: number;
  sha256: string;
  firstSeenMs: number;
  lastSeenMs: number;
  /** How often it has appeared since it was last put on record. */
  times: number;
  isChanged: boolean;
  isReplay: boolean;
  /** Whether nobody in service owned it when that was last looked up. */
  isJudged: boolean;
  isSeenAgain: boolean;
  clearSinceMs: number;
  clearedMs: number | null;
  pace: ClearingPace;
}

/** What a device still sends that is not retained, since the watch began. */
export interface RefusedTraffic {
  readonly messages: number;
  readonly lastAtMs: number;
}

/** What the watch over one broker is made of. */
export interface BrokerGhostsOptions {
  readonly broker: BrokerTarget;
  readonly report: BrokerReport | undefined;
  readonly store: RetainedStore;
  readonly topicMap: TopicMap;
  readonly watched: ReadonlyMap<string, WatchedDevice>;
  readonly refused: Map<string, RefusedTraffic>;
  readonly seen: Counter<'broker' | 'cause'>;
  readonly zombie: Counter<'broker'>;
  readonly logger: Logger;
}

const TURN_MS = 250;
const A_TURN = 200;
const RECORD_EVERY_MS = 1_000;
const CLOSE_LIMIT_MS = 3_000;
const EVIDENCE_LIMIT_MS = 15_000;
const ROUND_TRIP_LIMIT_MS = 30_000;
/** Of more ghosts at a time those that come later are left to the next look. */
const MAX_GHOSTS = 20_000;

/**
 * The watch over one broker: one connection that subscribes to all that decommissioned devices may have retained. They are
 * silent, so it costs nothing; what comes is a ghost. At every connection the broker replays what it retains there, so a
 * start and a restart are looked through without a sweep of their own (at QoS 0: mqtt-pitfalls R5).
 */
export class BrokerGhosts {
  readonly #options: BrokerGhostsOptions;
  readonly #connection: BrokerConnection;
  readonly #states = new Map<string, GhostState>();
  readonly #timer: NodeJS.Timeout;
  /** Topics by which a device is known, other than by its subtrees. */
  readonly #exact = new Map<string, DeviceId>();
  readonly #filters = new Map<string, readonly string[]>();
  /** While it is above 0, what comes may have been there before. */
  #replays = 1;
  #isConnected = false;
  /** Until then nothing could have come unseen. */
  #listenedUntilMs = 0;
  #recordedAtMs = 0;
  #hasOverflown = false;
  #turn: Promise<void> | undefined;

  constructor(options: BrokerGhostsOptions) {
    this.#options = options;
    for (const device of options.watched.values()) this.#know(device);
    const log = logConnectionEvent(options.logger);
    this.#connection = new BrokerConnection({
      broker: options.broker,
      clientId: `muster-registry-tombstones-${options.broker.name}`,
      sessionExpirySeconds: 0,
      subscriptions: [...new Set([...this.#filters.values()].flat())].map(subscription),
      onMessage: (message, settle) => {
        this.#take(message);
        settle('acknowledge');
      },
      onEvent: (event) => {
        log(event);
        if (event.kind === 'connected') {
          this.#isConnected = true;
          void this.#passReplay();
        }
        if (event.kind === 'disconnected') {
          // An attempt that fails is no further connection.
          if (!this.#isConnected) return;
          this.#isConnected = false;
          this.#replays += 1;
          this.#listenedUntilMs = Date.now();
        }
      },
    });
    this.#timer = setInterval(() => {
      this.#turn ??= this.#work().finally(() => (this.#turn = undefined));
    }, TURN_MS);
  }

  /**
   * Looks after these devices from now on, and no longer after those.
   * @throws BrokerError `subscription-refused`; then it does not look after the new ones
   */
  async change(added: readonly WatchedDevice[], removed: readonly string[]): Promise<void> {
    const before = new Set([...this.#filters.values()].flat());
    for (const device of removed) this.#forget(device);
    for (const device of added) this.#know(device);
    const now = new Set([...this.#filters.values()].flat());
    this.#replays += 1;
    try {
      await this.#connection.subscribe([...now].filter((filter) => !before.has(filter)).map(subscription));
      await this.#connection.unsubscribe([...before].filter((filter) => !now.has(filter)));
    } catch (error) {
      for (const { device } of added) this.#forget(device);
      throw error;
    } finally {
      await this.#passReplay();
    }
  }

  /** Stops watching, and puts on record what was seen. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#connection.close(0);
    // A broker that hangs is not waited for; what is not clear is found again by the next process.
    await Promise.race([this.#turn, delay(CLOSE_LIMIT_MS, undefined, { ref: false })]);
    await this.#record(() => true);
  }

  #know(watched: WatchedDevice): void {
    const { topicMap } = this.#options;
    const { device } = watched;
    const own = topicMap.deviceFilters(device);
    const claimed = ownableTopics(device, watched.topics, topicMap).filter(
      (topic) => topicMap.subtreeOwner(topic) !== device,
    );
    this.#filters.set(device, [...own, ...claimed]);
    for (const topic of claimed) this.#exact.set(topic, device);
  }

  #forget(device: string): void {
    this.#filters.delete(device);
    for (const [topic, owner] of this.#exact) if (owner === device) this.#exact.delete(topic);
    for (const [topic, state] of this.#states) if (state.device === device) this.#states.delete(topic);
  }

  #deviceOf(topic: string): DeviceId | undefined {
    const { topicMap } = this.#options;
    const exact = this.#exact.get(topic);
    if (exact !== undefined) return exact;
    const match = topicMap.match(topic)?.device;
    const names = [topicMap.subtreeOwner(topic), match?.valid === true ? match.id : undefined];
    return names.find((name): name is DeviceId => name !== undefined && isDeviceId(name) && this.#filters.has(name));
  }

  /** What was there before has come when the broker answers. */
  async #passReplay(): Promise<void> {
    try {
      if (this.#connection.ready) await this.#connection.roundTrip(ROUND_TRIP_LIMIT_MS);
    } catch (error) {
      // The connection was lost: the next one replays anew.
      if (!(error instanceof BrokerError)) throw error;
    } finally {
      this.#replays = Math.max(0, this.#replays - 1);
    }
  }

  #take({ topic, payload, retain, receivedAtMs }: ReceivedMessage): void {
    const { refused, watched, zombie } = this.#options;
    const device = this.#deviceOf(topic);
    if (device === undefined) return;
    if (!retain) {
      const { messages = 0 } = refused.get(device) ?? {};
      refused.set(device, { messages: messages + 1, lastAtMs: receivedAtMs });
      zombie.inc({ broker: this.#options.broker.name });
      return;
    }
    // Somebody has cleared it, ourselves mostly; whether it is clear is seen by looking.
    if (payload.length === 0) return;
    const known = this.#states.get(topic);
    if (known === undefined && this.#states.size >= MAX_GHOSTS) {
      this.#hasOverflown = true;
      return;
    }
    const state: GhostState = known ?? {
      ...{ device, topic, bytes: 0, sha256: '', firstSeenMs: receivedAtMs, lastSeenMs: receivedAtMs, times: 0 },
      ...{ isChanged: true, isReplay: true, isJudged: false, isSeenAgain: true, clearedMs: null },
      pace: FIRST_PACE,
      clearSinceMs: Math.max(watched.get(device)?.verifiedAtMs ?? 0, this.#listenedUntilMs),
    };
    if (state.pace.dueMs === undefined) state.isReplay = this.#replays > 0;
    state.isSeenAgain = true;
    state.bytes = payload.length;
    state.sha256 = createHash('sha256').update(payload).digest('hex');
    state.lastSeenMs = receivedAtMs;
    state.times += 1;
    state.isChanged = true;
    state.pace = appeared(state.pace, receivedAtMs);
    this.#states.set(topic, state);
  }

  async #work(): Promise<void> {
    const { logger, broker } = this.#options;
    try {
      await this.#clearDue();
      if (Date.now() - this.#recordedAtMs >= RECORD_EVERY_MS) await this.#record((state) => this.#hasEvidence(state));
    } catch (error) {
      logger.warn(
        { err: error, broker: broker.name },
        'ghosts could not be cleared or put on record; it is tried again',
      );
    }
  }

  async #clearDue(): Promise<void> {
    const { broker, store } = this.#options;
    const nowMs = Date.now();
    const due: GhostState[] = [];
    for (const [topic, state] of this.#states) {
      if (isForgotten(state.pace, nowMs) && !state.isChanged) this.#states.delete(topic);
      else if (state.pace.dueMs !== undefined && state.pace.dueMs <= nowMs && due.length < A_TURN) due.push(state);
    }
    if (due.length > 0 && this.#connection.ready) {
      const owners = await store.ownersInService(due.map(({ topic }) => topic));
      const tombstoned = await store.watchedAmong(due.map(({ device }) => device));
      const isGhost = ({ device, topic }: GhostState): boolean => tombstoned.has(device) && !owners.has(topic);
      const toClear = due.filter(isGhost);
      for (const state of due) {
        if (isGhost(state)) continue;
        // Another's, or its decommissioning was undone: no ghost. It is judged anew when it appears again.
        state.pace = tried(state.pace, Date.now(), true);
        state.times = 0;
        state.isChanged = false;
        state.isJudged = false;
      }
      for (const state of toClear) {
        state.isJudged = true;
        state.isSeenAgain = false;
      }
      const outcome = await clearAndLook(
        broker,
        toClear.map(({ topic }) => topic),
      );
      for (const state of toClear) {
        const isClear = outcome.get(state.topic)?.isClear === true;
        // What came meanwhile may have come behind the look.
        state.pace = tried(state.pace, Date.now(), isClear && !state.isSeenAgain);
        state.isChanged = true;
        if (isClear) state.clearedMs = Date.now();
      }
    }
    if (due.length === 0 && this.#hasOverflown && this.#states.size < MAX_GHOSTS) await this.#lookAgain();
  }

  /** What there was no room for is replayed by a new subscription. */
  async #lookAgain(): Promise<void> {
    this.#hasOverflown = false;
    this.#replays += 1;
    try {
      await this.#connection.subscribe([...new Set([...this.#filters.values()].flat())].map(subscription));
    } finally {
      await this.#passReplay();
    }
  }

  /** A broker that was restarted tells its uptime over another connection, and a little later. */
  #hasEvidence({ isReplay, lastSeenMs }: GhostState): boolean {
    return !isReplay || this.#options.report?.bootedAtMs !== undefined || Date.now() - lastSeenMs >= EVIDENCE_LIMIT_MS;
  }

  async #record(isReady: (state: GhostState) => boolean): Promise<void> {
    const { broker, report, store, seen } = this.#options;
    this.#recordedAtMs = Date.now();
    const changed: GhostState[] = [];
    for (const state of this.#states.values()) {
      if (!state.isChanged) continue;
      // Cleared all the same.
      if (!isLedgerTopic(state.topic)) state.isChanged = false;
      // Before it was judged it may be another's.
      else if (state.isJudged && isReady(state)) changed.push(state);
    }
    if (changed.length === 0) return;
    const { bootedAtMs, bridges = [] } = report ?? {};
    const records = changed.map((state): GhostRecord => {
      const { device, topic, bytes, sha256, firstSeenMs, lastSeenMs, times, clearedMs, pace } = state;
      const { isReplay, clearSinceMs } = state;
      return {
        ...{ device, topic, bytes, sha256, firstSeenMs, lastSeenMs, times, clearedMs, broker: broker.name },
        ...likelyCause({ isReplay, seenAtMs: lastSeenMs, clearSinceMs, bootedAtMs, bridges }),
        nextClearMs: pace.dueMs ?? null,
      };
    });
    for (const state of changed) {
      state.times = 0;
      state.isChanged = false;
    }
    try {
      await store.recordGhosts(records);
    } catch (error) {
      for (const [index, state] of changed.entries()) {
        state.times += records[index]?.times ?? 0;
        state.isChanged = true;
      }
      throw error;
    }
    for (const { cause, times } of records) seen.inc({ broker: broker.name, cause }, times);
    for (const state of changed) if (state.clearedMs !== null) state.clearSinceMs = state.clearedMs;
  }
}

function subscription(filter: string): { readonly filter: string; readonly qos: 0; readonly retainAsPublished: true } {
  return { filter, qos: 0, retainAsPublished: true };
}
