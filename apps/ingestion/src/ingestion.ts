import {
  ContractError,
  decodeTelemetry,
  type DeviceId,
  type Reading,
  type Telemetry,
  type TelemetryEntry,
  type TopicMap,
} from '@muster/contract';
import {
  BrokerConnection,
  whenEachWasTried,
  type BrokerTarget,
  type ReceivedMessage,
  type Settlement,
} from '@muster/broker';
import type { TombstoneSet } from '@muster/database';
import { logConnectionEvent, type Logger } from '@muster/service';
import { BatchWriter, telemetryLine, type Influx } from '@muster/telemetry';
import pRetry from 'p-retry';
import { canaryTopic, isCanaryTopic, type Canary } from './canary.ts';
import { clockOffsetAfter } from './clock-offset.ts';
import type { Digest } from './digest.ts';
import { admittedReadings, Fleet, newFigures, type KnownDevice } from './fleet.ts';
import type { FleetStore } from './fleet-store.ts';
import { latenessOf } from './lateness.ts';
import { Listening } from './listening.ts';
import type { IngestionMetrics } from './metrics.ts';
import type { Quota } from './quota.ts';
import { readingTime } from './reading-time.ts';

/** A broker keeps what it could not deliver to ingestion for so long: a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
const MAX_BATCH_LINES = 5_000;
const MAX_BATCH_DELAY_MS = 200;
const WRITES_UNDER_WAY = 2;
const STORE_INTERVAL_MS = 200;
const DRAIN_MS = 8_000;

type LetterSource = Pick<ReceivedMessage, 'broker' | 'topic' | 'payload' | 'receivedAtMs'>;
type Settle = (settlement: Settlement) => void;

/** Telemetry from every broker into InfluxDB; a QoS 1 message is acknowledged when InfluxDB has its readings. */
export class Ingestion {
  readonly #fleet = new Fleet();
  readonly #writer: BatchWriter;
  #connections: readonly BrokerConnection[] = [];
  /** Brokers that are listened to. */
  readonly #listening = new Map<string, Listening>();
  #storeTimer: NodeJS.Timeout | undefined;
  #storing: Promise<void> = Promise.resolve();
  readonly #abort = new AbortController();
  #closing = false;
  /** Devices that send more than their quota, with the broker at which they were heard. */
  readonly #runaways = new Map<DeviceId, string>();

  constructor(
    private readonly topicMap: TopicMap,
    private readonly store: FleetStore,
    private readonly tombstones: TombstoneSet,
    private readonly metrics: IngestionMetrics,
    private readonly logger: Logger,
    private readonly digest: Digest,
    private readonly quota: Quota,
    private readonly canary: Pick<Canary, 'lineOf'>,
    influx: Influx,
  ) {
    this.#writer = new BatchWriter({
      write: (lines) => influx.write(lines),
      maxLines: MAX_BATCH_LINES,
      maxDelayMs: MAX_BATCH_DELAY_MS,
      concurrency: WRITES_UNDER_WAY,
      onUnavailable: (reason, attempt) => {
        metrics.influxFailures.inc();
        logger.warn(
          { attempt, reason },
          'InfluxDB did not take a batch; telemetry waits unacknowledged with the broker',
        );
      },
      onWritten: (lines, durationMs) => {
        metrics.linesWritten.inc(lines);
        metrics.writeSeconds.observe(durationMs / 1000);
      },
    });
    metrics.observe(() => ({
      waiting: this.#writer.depth,
      devices: this.#fleet.size,
      runaways: this.#runaways.size,
      inHand: new Map(this.#connections.map(({ broker, inHand }) => [broker, inHand])),
    }));
  }

  /** Whether every broker is connected. */
  get ready(): boolean {
    return this.#connections.length > 0 && this.#connections.every((connection) => connection.ready);
  }

  /**
   * Loads what is known, then subscribes; resolves when every broker has been tried.
   * @throws BrokerError `subscription-refused`
   */
  async start(brokers: readonly BrokerTarget[], connectTimeoutMs: number): Promise<void> {
    for (const { device, metrics } of await this.store.knownMetrics()) this.#fleet.restore(device, metrics);
    this.#scheduleStore();
    const filters = this.topicMap.filters('telemetry');
    const log = logConnectionEvent(this.logger);
    for (const { name } of brokers) this.metrics.addBroker(name);
    this.#connections = brokers.map(
      (broker) =>
        new BrokerConnection({
          broker,
          clientId: `muster-ingestion-${broker.name}`,
          sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
          statusTopic: 'muster/services/ingestion',
          // Retained telemetry is old: what was live when it was published has come through the session.
          subscriptions: [...filters, canaryTopic(broker.name)].map((filter) => ({
            filter,
            qos: 1,
            retainHandling: 2,
          })),
          onMessage: (message, settle) => this.#receive(message, this.#attending(message.broker, settle)),
          onEvent: (event) => {
            if (event.kind === 'dropped') this.metrics.dropped.inc({ broker: event.broker });
            if (event.kind === 'connected') this.#listening.set(event.broker, new Listening(Date.now()));
            if (event.kind === 'disconnected') this.#listening.delete(event.broker);
            log(event);
          },
        }),
    );
    await whenEachWasTried(this.#connections, connectTimeoutMs);
  }

  /** Takes no more, writes what it has, and leaves the brokers. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#storeTimer);
    // The connections wait for their messages, and those for the writer.
    const [left] = await Promise.all([
      this.#writer.close(DRAIN_MS),
      ...this.#connections.map((connection) => connection.close(DRAIN_MS)),
    ]);
    this.#abort.abort();
    if (left > 0)
      this.logger.warn({ lines: left }, 'not written before the end; the broker delivers their messages again');
    await this.#storing;
    await this.#flushStore();
  }

  /** Counts a message until it is settled. */
  #attending(broker: string, settle: Settle): Settle {
    const listening = this.#listening.get(broker);
    listening?.received();
    return (settlement) => {
      listening?.settled();
      settle(settlement);
    };
  }

  #receive(message: ReceivedMessage, settle: Settle): void {
    const { broker } = message;
    if (isCanaryTopic(message.topic)) {
      this.#receiveCanary(message, settle);
      return;
    }
    this.metrics.messages.inc({ broker });
    this.metrics.bytes.inc({ broker }, message.payload.length);
    const match = this.topicMap.match(message.topic);
    if (match === undefined || match.entry.role !== 'telemetry') {
      // A subscription of an earlier topic map that the broker still has.
      this.#reject('', 'not-in-topic-map', 'no telemetry entry of the topic map matches', message, settle);
    } else if (!match.device.valid) {
      this.#reject(
        '',
        'invalid-device-id',
        `not a device id: ${JSON.stringify(match.device.text.slice(0, 100))}`,
        message,
        settle,
      );
    } else if (this.tombstones.has(match.device.id)) {
      this.metrics.tombstoned.inc({ broker });
      settle('acknowledge');
    } else {
      this.#decode(match.device.id, match.entry, message, settle);
    }
  }

  /** It takes the way of telemetry, but is none: neither counted nor told. */
  #receiveCanary(message: ReceivedMessage, settle: Settle): void {
    const line = this.canary.lineOf(message);
    const { connection } = message;
    if (line === undefined) settle('acknowledge');
    else this.#writer.add({ line, isObsolete: () => connection.isLost, done: () => settle('acknowledge') });
  }

  #decode(id: DeviceId, entry: TelemetryEntry, message: ReceivedMessage, settle: Settle): void {
    let telemetry: Telemetry;
    try {
      telemetry = decodeTelemetry(message.payload, entry);
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.#reject(id, error.code, error.message, message, settle);
      return;
    }
    for (const reason of new Set(telemetry.rejected.map((rejected) => rejected.reason))) {
      const fields = telemetry.rejected.filter((rejected) => rejected.reason === reason).map(({ field }) => field);
      this.#letter(id, reason, `fields ${fields.slice(0, 20).join(', ')}`, message);
    }
    const found = this.#fleet.device(id, message.receivedAtMs);
    if (found === undefined) {
      this.#reject(id, 'too-many-new-devices', 'more new devices this minute than are taken in', message, settle);
      return;
    }
    if (found.isNew) this.store.heard(id);
    if (!this.#isWithinQuota(found.device, message)) {
      settle('acknowledge');
      return;
    }
    const { admitted, excess } = admittedReadings(found.device, telemetry.readings);
    if (excess.length > 0) this.#letter(id, 'too-many-metrics', `metrics ${excess.join(', ')}`, message);
    if (admitted.length === 0) {
      settle('acknowledge');
      return;
    }
    const { time, session } = telemetry;
    if (time.kind !== 'uptime' || session === undefined) {
      this.#write(found.device, telemetry, admitted, message, undefined, settle);
      return;
    }
    const { boot } = found.device;
    if (boot?.session === session) {
      this.#write(found.device, telemetry, admitted, message, boot.bootedAtMs, settle);
      return;
    }
    this.#bootTime(found.device, session, message.receivedAtMs - time.uptimeMs).then(
      (bootedAtMs) => this.#write(found.device, telemetry, admitted, message, bootedAtMs, settle),
      () => settle('leave'),
    );
  }

  /** Whether a device may send so much. What had waited at the broker says nothing of its pace. */
  #isWithinQuota(device: KnownDevice, { broker, isBacklog, duplicate, receivedAtMs }: ReceivedMessage): boolean {
    if (isBacklog || duplicate) return true;
    const { isTaken, change } = device.quota.take(this.quota, receivedAtMs);
    if (change !== undefined) this.#runawayChanged(device, broker, change);
    if (isTaken) return true;
    this.metrics.overQuota.inc({ broker });
    this.store.active(device.id, broker);
    return false;
  }

  #runawayChanged({ id, quota }: KnownDevice, broker: string, change: 'begun' | 'ended'): void {
    if (change === 'begun') this.#runaways.set(id, broker);
    else this.#runaways.delete(id);
    this.store.active(id, broker);
    this.logger.warn(
      { device: id, broker, perSecond: this.quota.perSecond, dropped: quota.dropped },
      change === 'begun'
        ? 'a device sends more than its quota: the excess is dropped'
        : 'a device keeps to its quota again',
    );
  }

  /** The boot time of a session, waited for as long as PostgreSQL is away; rejects only at the end. */
  async #bootTime(device: KnownDevice, session: number, claimedMs: number): Promise<number> {
    const bootedAtMs = await pRetry(() => this.store.bootTime(device.id, session, claimedMs), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 100,
      maxTimeout: 5_000,
      randomize: true,
      signal: this.#abort.signal,
      onFailedAttempt: ({ error }) =>
        this.logger.warn({ reason: error.message, device: device.id }, 'boot time not fixed yet; it is tried again'),
    });
    if ((device.boot?.session ?? -1) < session) device.boot = { session, bootedAtMs };
    return bootedAtMs;
  }

  #write(
    device: KnownDevice,
    telemetry: Telemetry,
    readings: readonly Reading[],
    message: ReceivedMessage,
    bootedAtMs: number | undefined,
    settle: Settle,
  ): void {
    const time = readingTime(telemetry.time, {
      receivedAtMs: message.receivedAtMs,
      bootedAtMs,
      lastReceiptMs: device.lastReceiptMs,
    });
    if (time.clockRefused) this.#letter(device.id, 'bad-time', 'the time is off by more than a day', message);
    if (time.source === 'receipt') {
      device.lastReceiptMs = time.epochMs;
      if (message.duplicate) this.metrics.unstampedDuplicates.inc({ broker: message.broker });
    }
    const { time: claimed, session, seq } = telemetry;
    if (claimed.kind === 'clock') device.clock = clockOffsetAfter(device.clock, claimed.epochMs, message.receivedAtMs);
    if (seq !== undefined) device.sequence.take(session, seq, message.duplicate);
    const { isLate, usual } = latenessOf(device.usualAge, message.receivedAtMs - time.epochMs, message.receivedAtMs);
    device.usualAge = usual;
    // Told before it is stored: whoever acts on a reading need not wait for InfluxDB.
    this.digest.add(message.broker, device.id, readings, {
      atMs: time.epochMs,
      qos: message.qos,
      late: message.duplicate || message.isBacklog || isLate,
    });
    const line = telemetryLine(device.id, { ...telemetry, readings }, time.epochMs);
    if (line === undefined) {
      settle('acknowledge');
      return;
    }
    // Not the message itself: while InfluxDB is away its payload would stay in memory as well.
    const { topic, broker, receivedAtMs, connection } = message;
    const bytes = message.payload.length;
    // What had waited at the broker says when it was said, not that the device is there now.
    const wasWaiting = message.isBacklog || message.duplicate || isLate;
    const heardAtMs = !wasWaiting
      ? receivedAtMs
      : time.source === 'receipt'
        ? undefined
        : Math.min(receivedAtMs, time.epochMs);
    const isRedeliverable = message.qos > 0;
    this.#writer.add({
      line,
      isObsolete: () => isRedeliverable && connection.isLost,
      done: (refusal) => {
        if (refusal === undefined) {
          this.metrics.readings.inc({ broker }, readings.length);
          this.store.stored({ device: device.id, broker, bytes, readings, epochMs: time.epochMs, heardAtMs });
        } else {
          this.#letter(device.id, 'refused-by-influxdb', refusal, {
            broker,
            topic,
            receivedAtMs,
            payload: Buffer.from(line),
          });
        }
        settle('acknowledge');
      },
    });
  }

  #letter(device: DeviceId | '', reason: string, detail: string, message: LetterSource): void {
    this.metrics.deadLetters.inc({ broker: message.broker, reason });
    this.store.deadLetter({
      device,
      reason,
      detail,
      topic: message.topic,
      payload: message.payload,
      atMs: message.receivedAtMs,
    });
  }

  #reject(device: DeviceId | '', reason: string, detail: string, message: ReceivedMessage, settle: Settle): void {
    this.#letter(device, reason, detail, message);
    settle('acknowledge');
  }

  #scheduleStore(): void {
    if (this.#closing) return;
    this.#storeTimer = setTimeout(() => {
      this.#storing = this.#flushStore().finally(() => this.#scheduleStore());
    }, STORE_INTERVAL_MS);
  }

  async #flushStore(): Promise<void> {
    for (const [broker, listening] of this.#listening) this.store.attend(broker, listening.attention(Date.now()));
    const nowMs = Date.now();
    for (const [id, broker] of this.#runaways) {
      const device = this.#fleet.known(id);
      if (device === undefined) this.#runaways.delete(id);
      // Who has fallen silent is no runaway any more, and no message would tell.
      else if (device.quota.look(this.quota, nowMs) === 'ended') this.#runawayChanged(device, broker, 'ended');
    }
    try {
      const tombstoned = await this.store.flush((id) => {
        const device = this.#fleet.known(id);
        return device === undefined ? undefined : newFigures(device, nowMs);
      });
      for (const device of tombstoned) this.#fleet.forget(device);
    } catch (error) {
      this.metrics.postgresFailures.inc();
      this.logger.warn({ err: error }, 'PostgreSQL did not take last readings; they are kept for the next time');
    }
  }
}
