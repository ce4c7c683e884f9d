import { isDeepStrictEqual } from 'node:util';
import { DigestFollower, type BrokerTarget, type ConnectionEvent } from '@muster/broker';
import type { AlertRule } from '@muster/contract';
import {
  ChannelFollower,
  NOTICE_CHANNEL,
  PresenceFeed,
  type LastValue,
  type PresenceEvent,
  type PrismaClient,
  type TombstoneSet,
} from '@muster/database';
import type { Logger } from '@muster/service';
import type { StoredAlerts } from './alert-store.ts';
import { BrokerWatch } from './broker-watch.ts';
import { compile, concerns, presenceValue, type Condition } from './condition.ts';
import type { Engine } from './engine.ts';
import { RECENT_MS } from './evaluator.ts';
import { FleetStore } from './fleet-store.ts';
import type { Journal } from './journal.ts';
import { Probes } from './probes.ts';

/** Where what happens comes from. */
export interface InputOptions {
  readonly engine: Engine;
  readonly journal: Pick<Journal, 'figure'>;
  readonly database: PrismaClient;
  readonly postgresUrl: string;
  readonly brokers: readonly BrokerTarget[];
  readonly maxConnections: number;
  readonly ingestionUrls: readonly string[];
  readonly tombstones: TombstoneSet;
  readonly logger: Logger;
  readonly onEvent: (event: ConnectionEvent) => void;
}

const TOMBSTONE_CHECK_MS = 2_000;
const DEVICES_CHECK_MS = 60_000;
/** Several brokers are connected at the same time, and each would ask for all last values. */
const GAP_GATHER_MS = 200;
const READ_AGAIN_MS = 5_000;
/** Rows may be committed later than those with higher numbers; what was taken is not taken twice. */
const NOTICE_LOOK_BACK = 200n;

/** Brings what happens to the engine: readings, presence, brokers, and what has to be looked at. */
export class Inputs {
  readonly #options: InputOptions;
  readonly #store: FleetStore;
  readonly #digest: DigestFollower;
  readonly #watch: BrokerWatch;
  readonly #probes: Probes;
  readonly #presence: PresenceFeed;
  readonly #notices: ChannelFollower;
  /** As it was known at the last look, a minute ago at most. */
  #archived: ReadonlySet<string> = new Set();
  #noticePosition = 0n;
  #gapTimer: NodeJS.Timeout | undefined;
  #tombstoneTimer: NodeJS.Timeout | undefined;
  #devicesTimer: NodeJS.Timeout | undefined;

  constructor(options: InputOptions) {
    this.#options = options;
    const { engine, database, postgresUrl, brokers, logger, onEvent } = options;
    const failed =
      (what: string) =>
      (error: Error): void =>
        logger.warn({ reason: error.message }, what);
    this.#store = new FleetStore(database);
    this.#digest = new DigestFollower({
      consumer: 'alerting',
      brokers,
      onReadings: (readings) =>
        engine.run((nowMs) =>
          engine.evaluator.readings(
            readings.filter(({ device }) => !this.#isGone(device)),
            nowMs,
          ),
        ),
      onGap: () => this.#readPastSoon(),
      onEvent,
      onRefused: ({ broker }, error) => logger.warn({ broker, reason: error.message }, 'not a digest'),
    });
    this.#watch = new BrokerWatch({
      brokers,
      maxConnections: options.maxConnections,
      onCondition: (broker, condition) => {
        engine.run((nowMs) => engine.evaluator.broker(broker, condition, nowMs));
        // How many stand behind it is told when it has been away for long enough.
        if (condition.kind === 'away' && this.#devicesTimer !== undefined) void this.#readDevices();
      },
      onMeasurement: (measurement) => engine.run((nowMs) => engine.evaluator.measure(measurement, nowMs)),
      onIngestion: (broker, isListening, sinceMs) =>
        engine.run((nowMs) => engine.evaluator.ingestion(broker, isListening, Math.min(sinceMs, nowMs), nowMs)),
      onFigure: (figure) => options.journal.figure(figure),
      onEvent: () => undefined,
      logger,
    });
    this.#probes = new Probes({
      store: this.#store,
      brokers,
      ingestionUrls: options.ingestionUrls,
      uses: (source) => engine.evaluator.uses(source),
      onMeasurement: (measurement) => engine.run((nowMs) => engine.evaluator.measure(measurement, nowMs)),
      onHeard: (heard, untilMs) =>
        engine.run((nowMs) => {
          for (const { device, heardMs } of heard) engine.evaluator.heard(device, Math.min(heardMs, nowMs), nowMs);
          engine.evaluator.looked(untilMs, nowMs);
        }),
      logger,
    });
    this.#presence = new PresenceFeed(
      database,
      postgresUrl,
      (changes) => this.#presenceChanged(changes),
      failed('changes of presence could not be read'),
    );
    this.#notices = new ChannelFollower({
      url: postgresUrl,
      channel: NOTICE_CHANNEL,
      refresh: () => this.#readNotices(),
      onError: failed('notices could not be read'),
    });
  }

  /** Whether every broker is connected. */
  get ready(): boolean {
    return this.#digest.ready;
  }

  /** Looks at everything as it stands, then follows what changes; the engine is opened in between. */
  async start(
    connectTimeoutMs: number,
    { noticePosition, figures }: Pick<StoredAlerts, 'noticePosition' | 'figures'>,
  ): Promise<void> {
    const { engine } = this.#options;
    const position = await this.#store.presencePosition();
    const devices = await this.#store.devices();
    this.#archived = await this.#store.archived();
    // Losses are judged when it is known of each broker whether it has ended.
    this.#watch.start(figures);
    await this.#readLosses();
    engine.run((nowMs) => {
      for (const [device, facts] of devices) engine.evaluator.device(device, facts, nowMs);
    });
    await this.#readLastValues();
    await this.#probes.start();
    engine.open();
    await this.#presence.start(position);
    this.#digest.want(engine.evaluator.metrics);
    await this.#digest.start(connectTimeoutMs);
    this.#noticePosition = noticePosition;
    await this.#notices.start();
    this.#notices.refresh();
    this.#tombstoneTimer = setInterval(() => {
      const alerted = [...engine.book.open].flatMap(({ device }) => device ?? []);
      const gone = new Set([...engine.fleet.devices.keys(), ...alerted].filter((device) => this.#isGone(device)));
      if (gone.size > 0) engine.run((nowMs) => gone.forEach((device) => engine.evaluator.forget(device, nowMs)));
    }, TOMBSTONE_CHECK_MS);
    this.#devicesTimer = setInterval(() => void this.#readDevices(), DEVICES_CHECK_MS);
  }

  /** Rules are others now: what they look at is looked at. */
  setRules(conditions: readonly Condition[]): void {
    const { engine, logger } = this.#options;
    engine.run((nowMs) => {
      engine.evaluator.setRules(conditions, nowMs);
      for (const [device, facts] of engine.fleet.devices) engine.evaluator.device(device, facts, nowMs);
    });
    this.#digest.want(engine.evaluator.metrics);
    this.#readPastSoon();
    this.#watch.again();
    this.#probes.again().catch((error: unknown) => {
      // Each of them is tried again in its time, which tells what is wrong.
      logger.debug({ err: error }, 'something that new rules look at cannot be looked at now');
    });
  }

  /** By name, for how many devices rules hold by what is known now; without those of which only time can tell. */
  async breachingOf(rules: readonly AlertRule[]): Promise<ReadonlyMap<string, number>> {
    const devices = [...this.#options.engine.fleet.devices];
    const metrics = new Set(rules.flatMap((rule) => (rule.kind === 'threshold' ? [rule.metric] : [])));
    const nowMs = Date.now();
    const valuesOf = new Map<string, LastValue[]>([...metrics].map((metric) => [metric, []]));
    for (const value of await this.#store.lastValues([...metrics]))
      if (typeof value.value !== 'string' && Math.abs(nowMs - value.atMs) < RECENT_MS)
        valuesOf.get(value.metric)?.push(value);
    return new Map(
      rules.flatMap((rule): readonly (readonly [string, number])[] => {
        const condition = compile(rule, 0);
        if (rule.kind === 'presence') {
          const isSo = devices.filter(([, { state }]) => presenceValue(rule, state) > 0);
          return [[rule.name, isSo.filter(([device]) => concerns(condition, device)).length]];
        }
        if (rule.kind !== 'threshold') return [];
        const isSo = (valuesOf.get(rule.metric) ?? []).filter(
          ({ value }) => condition.verdict(Number(value)) === 'breached',
        );
        return [[rule.name, isSo.filter(({ device }) => concerns(condition, device)).length]];
      }),
    );
  }

  /** Stops. */
  async close(): Promise<void> {
    clearTimeout(this.#gapTimer);
    clearInterval(this.#tombstoneTimer);
    clearInterval(this.#devicesTimer);
    this.#probes.close();
    await Promise.all([this.#notices.close(), this.#presence.close(), this.#digest.close(), this.#watch.close()]);
  }

  #readPastSoon(delayMs = GAP_GATHER_MS): void {
    this.#gapTimer ??= setTimeout(() => {
      this.#gapTimer = undefined;
      Promise.all([this.#readLastValues(), this.#readLosses()]).catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        this.#options.logger.warn({ reason }, 'last values and losses could not be read; they are tried again');
        this.#readPastSoon(READ_AGAIN_MS);
      });
    }, delayMs);
  }

  async #readLastValues(): Promise<void> {
    const { engine } = this.#options;
    const values = await this.#store.lastValues([...engine.evaluator.metrics]);
    engine.run((nowMs) =>
      engine.evaluator.lastValues(
        values.filter(({ device }) => !this.#isGone(device)),
        nowMs,
      ),
    );
  }

  async #readLosses(): Promise<void> {
    const { engine } = this.#options;
    const withinMs = engine.evaluator.lossesToReadMs;
    if (withinMs === undefined) return;
    const losses = await this.#store.lossesSince(new Date(Date.now() - withinMs));
    engine.run((nowMs) => engine.evaluator.lossHistory(losses, withinMs, nowMs));
  }

  #presenceChanged(changes: readonly PresenceEvent[]): void {
    const { engine } = this.#options;
    const newest = new Map(changes.map((change) => [change.device, change]));
    engine.run((nowMs) => {
      engine.evaluator.losses(
        changes.flatMap(({ id, to, device, atMs, evidence: { broker, retained } }) =>
          to === 'lost' && !this.#isGone(device) ? [{ id, device, atMs, broker, isReplay: retained }] : [],
        ),
        nowMs,
      );
      for (const { device, to, atMs, evidence } of newest.values()) {
        if (this.#isGone(device)) continue;
        const facts = { state: to, sinceMs: atMs, broker: evidence.broker, wakeExpectedMs: null };
        engine.evaluator.device(device, facts, nowMs);
      }
    });
    const sleepers = [...newest.values()].filter(({ to }) => to === 'asleep').map(({ device }) => device);
    if (sleepers.length > 0) void this.#readDevices(sleepers);
  }

  /** Adds what changes of presence do not tell: devices without any, and when sleepers want to wake. */
  async #readDevices(only?: readonly string[]): Promise<void> {
    const { engine, logger } = this.#options;
    try {
      this.#archived = await this.#store.archived();
      const devices = await this.#store.devices(only);
      engine.run((nowMs) => {
        for (const [device, facts] of devices) {
          const known = engine.fleet.devices.get(device);
          const isNews = known === undefined || (known.state === facts.state && !isDeepStrictEqual(known, facts));
          if (isNews && !this.#isGone(device)) engine.evaluator.device(device, facts, nowMs);
        }
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      logger.warn({ reason }, 'devices could not be read; they are read again in a minute');
    }
  }

  /** Whether a device is out of service, or put away. */
  #isGone(device: string): boolean {
    return this.#options.tombstones.has(device) || this.#archived.has(device);
  }

  async #readNotices(): Promise<void> {
    const { engine } = this.#options;
    const from = this.#noticePosition > NOTICE_LOOK_BACK ? this.#noticePosition - NOTICE_LOOK_BACK : 0n;
    const notices = await this.#store.noticesAfter(from);
    engine.run((nowMs) => engine.book.notices(notices, nowMs));
    const newest = notices.at(-1)?.id ?? this.#noticePosition;
    if (newest > this.#noticePosition) {
      this.#noticePosition = newest;
      this.#notices.refresh();
    }
  }
}
