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
  SubscriberConnection,
  whenEachWasTried,
  type BrokerTarget,
  type Delivery,
  type InboundMessage,
} from '@muster/broker';
import type { TombstoneSet } from '@muster/database';
import { logConnectionEvent, type Logger } from '@muster/service';
import { deviceOfLine, telemetryLine, type Influx, type Spool } from '@muster/telemetry';
import pRetry from 'p-retry';
import { canaryTopic, isCanaryTopic, type Canary } from './canary.ts';
import { clockOffsetAfter } from './clock-offset.ts';
import type { DeadLetterReplay } from './dead-letter-replay.ts';
import { keptWhereSomeIsStored, type DeadLetter } from './dead-letters.ts';
import type { Digest } from './digest.ts';
import { DurableWrites, settle, type OutgoingMessage } from './durable-writes.ts';
import { admittedReadings, Fleet, newFigures, type KnownDevice } from './fleet.ts';
import type { FleetStore } from './fleet-store.ts';
import { latenessOf } from './lateness.ts';
import { Listening } from './listening.ts';
import type { IngestionMetrics } from './metrics.ts';
import type { Quota } from './quota.ts';
import { readingTime } from './reading-time.ts';

/** A broker keeps what it could not deliver to ingestion for so long: a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
const STORE_INTERVAL_MS = 200;
const DRAIN_MS = 8_000;

/** A message as it came, and whom it is to be settled with. */
interface Received {
  readonly message: InboundMessage;
  readonly delivery: Delivery;
  readonly index: number;
  readonly listening: Listening | undefined;
}

/** What a dead letter says of its message. */
type LetterSource = Pick<DeadLetter, 'broker' | 'topic' | 'payload' | 'atMs'>;

/** What ingestion is made of. */
export interface IngestionParts {
  readonly topicMap: TopicMap;
  readonly store: FleetStore;
  readonly tombstones: TombstoneSet;
  readonly metrics: IngestionMetrics;
  readonly logger: Logger;
  readonly digest: Digest;
  readonly canary: Pick<Canary, 'lineOf'>;
  /** Of each device. */
  readonly quota: Quota;
  readonly influx: Influx;
  readonly spool: Spool;
  /** Reads dead letters again; it is started and ended with the rest. */
  readonly replay: DeadLetterReplay;
}

/** Telemetry from every broker into InfluxDB; a QoS 1 message is acknowledged when its readings are durable. */
export class Ingestion {
  readonly #parts: IngestionParts;
  readonly #fleet = new Fleet();
  readonly #writes: DurableWrites;
  #connections: readonly SubscriberConnection[] = [];
  /** Brokers that are listened to. */
  readonly #listening = new Map<string, Listening>();
  #storeTimer: NodeJS.Timeout | undefined;
  #storing: Promise<void> = Promise.resolve();
  readonly #abort = new AbortController();
  #closing = false;
  /** Devices that send more than their quota, with the broker at which they were heard. */
  readonly #runaways = new Map<DeviceId, string>();

  constructor(parts: IngestionParts) {
    this.#parts = parts;
    const { influx, spool, tombstones, metrics, logger } = parts;
    this.#writes = new DurableWrites({
      ...{ influx, spool, tombstones, metrics, logger },
      onDurable: (message) => this.#durable(message),
      onRefused: (line, reason, message) => this.#refused(line, reason, message),
    });
    metrics.observe(() => ({
      waiting: this.#writes.depth,
      devices: this.#fleet.size,
      runaways: this.#runaways.size,
      spool: { ...spool.depth, isFull: spool.isFull },
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
    const { topicMap, store, metrics, logger } = this.#parts;
    for (const known of await store.knownMetrics()) this.#fleet.restore(known.device, known.metrics);
    this.#scheduleStore();
    const filters = topicMap.filters('telemetry');
    const log = logConnectionEvent(logger);
    for (const { name } of brokers) metrics.addBroker(name);
    this.#connections = brokers.map(
      (broker) =>
        new SubscriberConnection({
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
          onMessages: (messages, delivery) => this.#receive(messages, delivery),
          onEvent: (event) => {
            if (event.kind === 'dropped') metrics.dropped.inc({ broker: event.broker });
            if (event.kind === 'connected') this.#listening.set(event.broker, new Listening(Date.now()));
            if (event.kind === 'disconnected') this.#listening.delete(event.broker);
            log(event);
          },
        }),
    );
    await whenEachWasTried(this.#connections, connectTimeoutMs);
    await this.#parts.replay.start(this.#fleet, this.#writes);
  }

  /** Takes no more, writes what it has, and leaves the brokers. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#storeTimer);
    await this.#parts.replay.close();
    // The connections wait for their messages, and those for the writes.
    await Promise.all([
      this.#writes.close(DRAIN_MS),
      ...this.#connections.map((connection) => connection.close(DRAIN_MS)),
    ]);
    this.#abort.abort();
    await this.#storing;
    await this.#flushStore();
  }

  #receive(messages: readonly InboundMessage[], delivery: Delivery): void {
    const { metrics } = this.#parts;
    const { broker } = delivery;
    const listening = this.#listening.get(broker);
    listening?.received(messages.length);
    let [count, bytes] = [0, 0];
    for (const [index, message] of messages.entries()) {
      const received = { message, delivery, index, listening };
      if (isCanaryTopic(message.topic)) {
        this.#takeCanary(received);
        continue;
      }
      count += 1;
      bytes += message.payloadBytes;
      this.#take(received);
    }
    metrics.messages.inc({ broker }, count);
    metrics.bytes.inc({ broker }, bytes);
  }

  #take(received: Received): void {
    const { topicMap, tombstones, metrics } = this.#parts;
    const match = topicMap.match(received.message.topic);
    if (match === undefined || match.entry.role !== 'telemetry') {
      // A subscription of an earlier topic map that the broker still has.
      this.#reject('', 'not-in-topic-map', 'no telemetry entry of the topic map matches', received);
    } else if (!match.device.valid) {
      const text = JSON.stringify(match.device.text.slice(0, 100));
      this.#reject('', 'invalid-device-id', `not a device id: ${text}`, received);
    } else if (tombstones.has(match.device.id)) {
      metrics.tombstoned.inc({ broker: received.delivery.broker });
      settle(received, 'acknowledge');
    } else {
      this.#decode(match.device.id, match.entry, received);
    }
  }

  /** It takes the way of telemetry, but is none: neither counted nor told. */
  #takeCanary(received: Received): void {
    const { message, delivery } = received;
    const line = this.#parts.canary.lineOf({ broker: delivery.broker, payload: message.payload });
    const done = (): void => settle(received, 'acknowledge');
    if (line === undefined) done();
    // What finds no room is missing, and the next one comes soon.
    else this.#writes.writeLine(line).then(done, done);
  }

  #decode(id: DeviceId, entry: TelemetryEntry, received: Received): void {
    const { receivedAtMs } = received.delivery;
    let telemetry: Telemetry;
    try {
      telemetry = decodeTelemetry(received.message.payload, entry);
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.#reject(id, error.code, error.message, received);
      return;
    }
    for (const reason of new Set(telemetry.rejected.map((rejected) => rejected.reason))) {
      const fields = telemetry.rejected.filter((rejected) => rejected.reason === reason).map(({ field }) => field);
      const detail = `fields ${fields.slice(0, 20).join(', ')}`;
      this.#letter(id, reason, detail, sourceOf(received), keptWhereSomeIsStored(telemetry, receivedAtMs));
    }
    const found = this.#fleet.device(id, receivedAtMs);
    if (found === undefined) {
      this.#reject(id, 'too-many-new-devices', 'more new devices this minute than are taken in', received);
      return;
    }
    const { device } = found;
    if (found.isNew) this.#parts.store.heard(id);
    if (!this.#isWithinQuota(device, received)) {
      settle(received, 'acknowledge');
      return;
    }
    const { admitted, excess } = admittedReadings(device, telemetry.readings);
    if (excess.length > 0) {
      const kept = keptWhereSomeIsStored(telemetry, receivedAtMs);
      this.#letter(id, 'too-many-metrics', `metrics ${excess.join(', ')}`, sourceOf(received), kept);
    }
    if (admitted.length === 0) {
      settle(received, 'acknowledge');
      return;
    }
    const { time, session } = telemetry;
    const isByBoot = time.kind === 'uptime' && session !== undefined;
    if (!isByBoot || device.boot?.session === session) {
      this.#write(device, telemetry, admitted, received, isByBoot ? device.boot?.bootedAtMs : undefined);
      return;
    }
    this.#bootTime(device, session, receivedAtMs - time.uptimeMs).then(
      (bootedAtMs) => this.#write(device, telemetry, admitted, received, bootedAtMs),
      () => settle(received, 'leave'),
    );
  }

  /** Whether a device may send so much. What had waited at the broker says nothing of its pace. */
  #isWithinQuota(device: KnownDevice, { message, delivery }: Received): boolean {
    const { broker, receivedAtMs, isBacklog } = delivery;
    if (isBacklog || message.duplicate) return true;
    const { quota, metrics, store } = this.#parts;
    const { isTaken, change } = device.quota.take(quota, receivedAtMs);
    if (change !== undefined) this.#runawayChanged(device, broker, change);
    if (isTaken) return true;
    metrics.overQuota.inc({ broker });
    store.active(device.id, broker);
    return false;
  }

  #runawayChanged({ id, quota }: KnownDevice, broker: string, change: 'begun' | 'ended'): void {
    if (change === 'begun') this.#runaways.set(id, broker);
    else this.#runaways.delete(id);
    this.#parts.store.active(id, broker);
    this.#parts.logger.warn(
      { device: id, broker, perSecond: this.#parts.quota.perSecond, dropped: quota.dropped },
      change === 'begun'
        ? 'a device sends more than its quota: the excess is dropped'
        : 'a device keeps to its quota again',
    );
  }

  /** The boot time of a session, asked for once, though a whole outbox waits for it. */
  #bootTime(device: KnownDevice, session: number, claimedMs: number): Promise<number> {
    if (device.booting?.session === session) return device.booting.bootedAtMs;
    const bootedAtMs = this.#fixBootTime(device, session, claimedMs).finally(() => {
      if (device.booting?.bootedAtMs === bootedAtMs) device.booting = undefined;
    });
    device.booting = { session, bootedAtMs };
    return bootedAtMs;
  }

  /** Waits for as long as PostgreSQL is away; rejects only at the end. */
  async #fixBootTime(device: KnownDevice, session: number, claimedMs: number): Promise<number> {
    const bootedAtMs = await pRetry(() => this.#parts.store.bootTime(device.id, session, claimedMs), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 100,
      maxTimeout: 5_000,
      randomize: true,
      signal: this.#abort.signal,
      onFailedAttempt: ({ error }) =>
        this.#parts.logger.warn(
          { reason: error.message, device: device.id },
          'boot time not fixed yet; it is tried again',
        ),
    });
    if ((device.boot?.session ?? -1) < session) device.boot = { session, bootedAtMs };
    return bootedAtMs;
  }

  #write(
    device: KnownDevice,
    telemetry: Telemetry,
    readings: readonly Reading[],
    received: Received,
    bootedAtMs: number | undefined,
  ): void {
    const { metrics, digest } = this.#parts;
    const { message, delivery, index, listening } = received;
    const { broker, receivedAtMs, isBacklog } = delivery;
    const { topic, qos, duplicate, payloadBytes: bytes } = message;
    const { lastReceiptMs } = device;
    const time = readingTime(telemetry.time, { receivedAtMs, bootedAtMs, lastReceiptMs });
    if (time.clockRefused)
      this.#letter(device.id, 'bad-time', 'the time is off by more than a day', sourceOf(received), 'sample');
    if (time.source === 'receipt') {
      device.lastReceiptMs = time.epochMs;
      if (duplicate) metrics.unstampedDuplicates.inc({ broker });
    }
    const { time: claimed, session, seq } = telemetry;
    if (claimed.kind === 'clock') device.clock = clockOffsetAfter(device.clock, claimed.epochMs, receivedAtMs);
    if (seq !== undefined) device.sequence.take(session, seq, duplicate);
    const { isLate, usual } = latenessOf(device.usualAge, receivedAtMs - time.epochMs, receivedAtMs);
    device.usualAge = usual;
    // What had waited at the broker says when it was said, not that the device is there now.
    const wasWaiting = isBacklog || duplicate || isLate;
    // Told before it is stored: whoever acts on a reading need not wait for InfluxDB.
    digest.add(broker, device.id, readings, { atMs: time.epochMs, qos, late: wasWaiting });
    const line = telemetryLine(device.id, { ...telemetry, readings }, time.epochMs);
    if (line === undefined) {
      settle(received, 'acknowledge');
      return;
    }
    const waitedHeardAtMs = time.source === 'receipt' ? undefined : Math.min(receivedAtMs, time.epochMs);
    // Not the message itself, whose payload would stay in memory for as long as InfluxDB and the disk have no room.
    this.#writes.write({
      ...{ device: device.id, topic, qos, bytes, readings, line, epochMs: time.epochMs },
      ...{ heardAtMs: wasWaiting ? waitedHeardAtMs : receivedAtMs, delivery, index, listening },
    });
  }

  #durable({ device, bytes, readings, epochMs, heardAtMs, delivery: { broker } }: OutgoingMessage): void {
    this.#parts.metrics.readings.inc({ broker }, readings.length);
    this.#parts.store.stored({ device, broker, bytes, readings, epochMs, heardAtMs });
  }

  #refused(line: string, reason: string, message: OutgoingMessage | undefined): void {
    if (message === undefined && this.#parts.replay.refused(line, reason)) return;
    const source = {
      broker: message?.delivery.broker ?? '',
      topic: message?.topic ?? '',
      payload: Buffer.from(line),
      atMs: message?.delivery.receivedAtMs ?? Date.now(),
    };
    this.#letter(deviceOfLine(line) ?? '', 'refused-by-influxdb', reason, source, 'sample');
  }

  #letter(device: DeviceId | '', reason: string, detail: string, source: LetterSource, kept: DeadLetter['kept']): void {
    this.#parts.metrics.deadLetters.inc({ broker: source.broker, reason });
    this.#parts.store.deadLetter({ device, reason, detail, ...source, kept });
  }

  #reject(device: DeviceId | '', reason: string, detail: string, received: Received): void {
    this.#letter(device, reason, detail, sourceOf(received), 'message');
    settle(received, 'acknowledge');
  }

  #scheduleStore(): void {
    if (this.#closing) return;
    this.#storeTimer = setTimeout(() => {
      this.#storing = this.#flushStore().finally(() => this.#scheduleStore());
    }, STORE_INTERVAL_MS);
  }

  async #flushStore(): Promise<void> {
    const { store, metrics, logger, quota } = this.#parts;
    for (const [broker, listening] of this.#listening) store.attend(broker, listening.attention(Date.now()));
    const nowMs = Date.now();
    for (const [id, broker] of this.#runaways) {
      const device = this.#fleet.known(id);
      if (device === undefined) this.#runaways.delete(id);
      // Who has fallen silent is no runaway any more, and no message would tell.
      else if (device.quota.look(quota, nowMs) === 'ended') this.#runawayChanged(device, broker, 'ended');
    }
    try {
      const tombstoned = await store.flush((id) => {
        const device = this.#fleet.known(id);
        return device === undefined ? undefined : newFigures(device, nowMs);
      });
      for (const device of tombstoned) this.#fleet.forget(device);
    } catch (error) {
      metrics.postgresFailures.inc();
      logger.warn({ err: error }, 'PostgreSQL did not take last readings; they are kept for the next time');
    }
  }
}

function sourceOf({ message, delivery }: Received): LetterSource {
  const { topic, payload } = message;
  return { broker: delivery.broker, topic, payload, atMs: delivery.receivedAtMs };
}
