import { BrokerConnection, BrokerError, type BrokerTarget, type ConnectionEvent } from '@muster/broker';
import type { Logger } from '@muster/service';
import {
  brokerAfter,
  unheard,
  type BrokerCondition,
  type BrokerEvent,
  type BrokerVerdict,
  type BrokerView,
  type Uptime,
} from './broker-condition.ts';

/** Where Mosquitto tells how long it runs (mosquitto(8), broker status). */
const UPTIME_TOPIC = '$SYS/broker/uptime';
const UPTIME = /^(\d{1,12})(?: seconds)?$/;
/** A broker that hangs is noticed within one and a half of it. */
const KEEP_ALIVE_SECONDS = 10;
/** A will is held for so long: the broker that publishes it may be about to end (mqtt-pitfalls P6). */
const HOLD_MS = 60;
/** More wills than this within the time of a hold are a storm, of a broker that ends or a network that fell. */
const STORM = 500;
/** So long after the last burst of a storm it is known whether the broker has ended. */
const STORM_HOLD_MS = 1_000;
const LONGEST_HOLD_MS = 3_000;

interface Watched {
  view: BrokerView;
  /** Messages that wait until it is known whether the broker was started anew. */
  gate: (() => void)[];
  readonly held: { readonly untilMs: number; readonly release: () => void }[];
  /** Wills since a moment. */
  burst: { readonly sinceMs: number; count: number };
  stormUntilMs: number;
  /** Since when its uptime is listened to; undefined while it is not, null where it never will be. */
  listeningSinceMs: number | null | undefined;
  stormSinceMs: number;
}

/** What is done with what becomes of brokers. */
export interface BrokersOptions {
  readonly targets: readonly BrokerTarget[];
  /** Called before the messages of a broker that is judged are let through. */
  readonly onVerdict: (broker: string, verdict: BrokerVerdict) => void;
  readonly logger: Logger;
}

/**
 * Every broker as presence knows it: whether it is heard, and whether it was started anew. Messages of a broker wait
 * until that is known, and wills a moment longer: what a broker says as it ends is no news of its devices.
 */
export class Brokers {
  readonly #watched = new Map<string, Watched>();
  readonly #options: BrokersOptions;
  #connections: readonly BrokerConnection[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: BrokersOptions) {
    this.#options = options;
  }

  /**
   * Begins to watch; returns at once.
   * @param told what each broker has told of its uptime, as it is on record
   */
  start(told: ReadonlyMap<string, Uptime>): void {
    const nowMs = Date.now();
    for (const { name } of this.#options.targets) {
      this.#watched.set(name, {
        view: unheard(nowMs, told.get(name) ?? null),
        listeningSinceMs: undefined,
        ...{ gate: [], held: [], burst: { sinceMs: 0, count: 0 }, stormUntilMs: 0, stormSinceMs: 0 },
      });
    }
    this.#connections = this.#options.targets.map((broker) => this.#watchUptime(broker));
    this.#timer = setInterval(() => this.#tick(), HOLD_MS / 2);
  }

  /** Stops; whoever waits goes on. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const watched of this.#watched.values()) this.#letThrough(watched, Number.POSITIVE_INFINITY);
    await Promise.all(this.#connections.map((connection) => connection.close(0)));
  }

  /** Takes what happened to the connection over which the devices of a broker are heard. */
  connection(event: ConnectionEvent): void {
    if (event.kind === 'connected') this.#take(event.broker, { kind: 'connected', hasSession: event.sessionPresent });
    if (event.kind === 'disconnected') this.#take(event.broker, { kind: 'disconnected' });
  }

  /** Whether a broker is heard, and known to be the one of before. */
  isHeard(broker: string): boolean {
    return this.#watched.get(broker)?.view.condition.kind === 'heard';
  }

  /** What each broker has told of its uptime. */
  get told(): ReadonlyMap<string, Uptime> {
    return new Map([...this.#watched].flatMap(([name, { view }]) => (view.told === null ? [] : [[name, view.told]])));
  }

  /** Since when a broker is heard; undefined while it is not. */
  heardSinceMs(broker: string): number | undefined {
    const condition = this.#watched.get(broker)?.view.condition;
    return condition?.kind === 'heard' ? condition.sinceMs : undefined;
  }

  /** How each broker stands. */
  get conditions(): ReadonlyMap<string, BrokerCondition> {
    return new Map([...this.#watched].map(([name, { view }]) => [name, view.condition]));
  }

  /** Resolves when it is known whether a broker was started anew; at once, most of the time. */
  async whenJudged(broker: string): Promise<void> {
    const watched = this.#watched.get(broker);
    if (watched === undefined || watched.view.condition.kind === 'heard') return;
    await new Promise<void>((resolve) => watched.gate.push(resolve));
  }

  /**
   * Resolves when a will may be believed: the broker has published it and not ended.
   * @param receivedAtMs when it came, by this machine's clock
   */
  async whenBelieved(broker: string, receivedAtMs: number): Promise<void> {
    const watched = this.#watched.get(broker);
    if (watched === undefined) return;
    const nowMs = steadyMs();
    const waitedMs = Math.min(HOLD_MS, Math.max(0, Date.now() - receivedAtMs));
    if (nowMs - watched.burst.sinceMs > HOLD_MS) watched.burst = { sinceMs: nowMs, count: 0 };
    watched.burst.count += 1;
    if (watched.burst.count > STORM) {
      if (nowMs > watched.stormUntilMs) watched.stormSinceMs = nowMs;
      watched.stormUntilMs = Math.min(nowMs + STORM_HOLD_MS, watched.stormSinceMs + LONGEST_HOLD_MS);
    }
    await new Promise<void>((release) => watched.held.push({ untilMs: nowMs + HOLD_MS - waitedMs, release }));
    await this.whenJudged(broker);
  }

  #take(broker: string, event: BrokerEvent): void {
    const watched = this.#watched.get(broker);
    if (watched === undefined) return;
    const { view, verdict } = brokerAfter(watched.view, event, Date.now());
    watched.view = view;
    // Whoever holds a will goes on to wait for the judgement.
    if (event.kind === 'disconnected') for (const { release } of watched.held.splice(0)) release();
    if (verdict !== undefined) this.#options.onVerdict(broker, verdict);
    if (view.condition.kind === 'heard') for (const open of watched.gate.splice(0)) open();
  }

  #tick(): void {
    const nowMs = steadyMs();
    for (const [broker, watched] of this.#watched) {
      this.#take(broker, { kind: 'tick', listeningSinceMs: watched.listeningSinceMs });
      if (nowMs >= watched.stormUntilMs) this.#letThrough(watched, nowMs);
    }
  }

  #letThrough({ held, gate }: Watched, nowMs: number): void {
    let due = 0;
    while (due < held.length && (held[due]?.untilMs ?? 0) <= nowMs) due += 1;
    for (const { release } of held.splice(0, due)) release();
    if (nowMs === Number.POSITIVE_INFINITY) for (const open of gate.splice(0)) open();
  }

  /** A connection of its own: a broker that tells no uptime, or refuses it, must not cost presence its status topics. */
  #watchUptime(broker: BrokerTarget): BrokerConnection {
    const connection: BrokerConnection = new BrokerConnection({
      broker,
      clientId: `muster-presence-uptime-${broker.name}`,
      ...{ sessionExpirySeconds: 0, keepAliveSeconds: KEEP_ALIVE_SECONDS },
      subscriptions: [{ filter: UPTIME_TOPIC, qos: 0 }],
      onMessage: ({ payload }, settle) => {
        const seconds = UPTIME.exec(Buffer.from(payload.subarray(0, 40)).toString())?.[1];
        if (seconds !== undefined)
          this.#take(broker.name, {
            kind: 'uptime',
            uptime: { uptimeMs: Number(seconds) * 1000, toldAtMs: steadyMs() },
          });
        settle('acknowledge');
      },
      onEvent: (event) => {
        const watched = this.#watched.get(broker.name);
        if (watched !== undefined && event.kind === 'connected') watched.listeningSinceMs = Date.now();
        if (watched !== undefined && event.kind === 'disconnected') watched.listeningSinceMs = undefined;
        if (event.kind !== 'failed' || !(event.error instanceof BrokerError)) return;
        if (event.error.code !== 'subscription-refused') return;
        this.#options.logger.warn(
          { broker: broker.name, reason: event.error.message },
          `whether the broker was started anew is known by its sessions alone; let the account read ${UPTIME_TOPIC}`,
        );
        if (watched !== undefined) watched.listeningSinceMs = null;
        void connection.close(0);
      },
    });
    return connection;
  }
}

/** Milliseconds since 1970 by the clock that brokers count their uptime with, which stands still while a laptop sleeps. */
function steadyMs(): number {
  return performance.timeOrigin + performance.now();
}
