import type { DeviceId, Telemetry, TopicMap } from '@muster/contract';
import {
  SubscriberConnection,
  whenEachWasTried,
  type BrokerTarget,
  type Delivery,
  type InboundMessage,
} from '@muster/broker';
import type { TombstoneSet } from '@muster/database';
import { logConnectionEvent, type Logger } from '@muster/service';
import { deviceOfLine, type Influx, type Spool } from '@muster/telemetry';
import pRetry from 'p-retry';
import { canaryTopic, type Canary } from './canary.ts';
import type { DeadLetterReplay } from './dead-letter-replay.ts';
import { keptWhereSomeIsStored, type DeadLetter } from './dead-letters.ts';
import type { Digest } from './digest.ts';
import { DurableWrites, type OutgoingMessage } from './durable-writes.ts';
import { admittedReadings, Fleet, type KnownDevice } from './fleet.ts';
import type { FleetStore } from './fleet-store.ts';
import { Listening } from './listening.ts';
import type { IngestionMetrics } from './metrics.ts';
import type { Quota } from './quota.ts';
import { believedTimeMs, claimedTimeMs, receiptTimeMs } from './reading-time.ts';
import { Reception, type Received } from './reception.ts';
import { readMessage, refusedParts, type Refusal } from './telemetry-message.ts';
import { deviceOf, TopicRoutes, type Route } from './topic-routes.ts';

/** A broker keeps what it could not deliver to ingestion for so long: a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
/** Last readings are written so often; and the more rows they are, the more wait for each other, so that fewer are written. */
const STORE_INTERVAL_MS = 200;
const LONGEST_STORE_INTERVAL_MS = 700;
/** What a device has done, and when it was heard, is judged in seconds. */
const ACTIVITY_INTERVAL_MS = 2_000;
const DRAIN_MS = 8_000;

/** What a dead letter says of its message. */
type LetterSource = Pick<DeadLetter, 'broker' | 'topic' | 'payload' | 'atMs'>;

/** How long to wait before last readings are written again, after so many rows: any is seen within a second. */
export function storeIntervalMs(rows: number): number {
  return Math.min(LONGEST_STORE_INTERVAL_MS, STORE_INTERVAL_MS + rows / 2);
}

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
      store: parts.store,
      onRefused: (line, reason, outgoing) => this.#refused(line, reason, outgoing),
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
    this.#connections = brokers.map((broker) => {
      const routes = new TopicRoutes(topicMap);
      return new SubscriberConnection({
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
        onMessages: (messages, delivery) => this.#receive(messages, delivery, routes),
        onEvent: (event) => {
          if (event.kind === 'dropped') metrics.dropped.inc({ broker: event.broker });
          if (event.kind === 'connected') this.#listening.set(event.broker, new Listening(Date.now()));
          if (event.kind === 'disconnected') this.#listening.delete(event.broker);
          log(event);
        },
      });
    });
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

  #receive(messages: readonly InboundMessage[], delivery: Delivery, routes: TopicRoutes): void {
    const { metrics } = this.#parts;
    const { broker } = delivery;
    const listening = this.#listening.get(broker);
    listening?.received(messages.length);
    const reception = new Reception(delivery, listening);
    let [count, bytes] = [0, 0];
    let index = -1;
    for (const message of messages) {
      index += 1;
      const received = { message, reception, index };
      const route = routes.of(message);
      if (route.isCanary) {
        this.#takeCanary(received);
        continue;
      }
      count += 1;
      bytes += message.payloadBytes;
      this.#take(received, route);
    }
    metrics.messages.inc({ broker }, count);
    metrics.bytes.inc({ broker }, bytes);
  }

  /** It takes the way of telemetry, but is none: neither counted nor told. */
  #takeCanary({ message, reception, index }: Received): void {
    const line = this.#parts.canary.lineOf({ broker: reception.delivery.broker, payload: message.payload });
    const done = (): void => reception.settle(index, 'acknowledge');
    if (line === undefined) done();
    // What finds no room is missing, and the next one comes soon.
    else this.#writes.writeLine(line).then(done, done);
  }

  #take(received: Received, route: Route): void {
    const { tombstones, metrics } = this.#parts;
    const { message, reception, index } = received;
    const read = readMessage(route.match, message.payload, tombstones);
    switch (read.kind) {
      case 'refused':
        this.#reject(read.refusal, received);
        return;
      case 'tombstoned':
        metrics.tombstoned.inc({ broker: reception.delivery.broker });
        reception.settle(index, 'acknowledge');
        return;
      case 'telemetry':
        this.#takeTelemetry(read.device, read.telemetry, received, route);
    }
  }

  #takeTelemetry(id: DeviceId, telemetry: Telemetry, received: Received, route: Route): void {
    const { message, reception, index } = received;
    const { receivedAtMs } = reception.delivery;
    const device = deviceOf(route, id, this.#fleet) ?? this.#meet(id, receivedAtMs);
    if (device === undefined) {
      const detail = 'more new devices this minute than are taken in';
      this.#reject({ device: id, reason: 'too-many-new-devices', detail }, received);
      return;
    }
    const { time, session, seq } = telemetry;
    // Also of what is dropped next: it has come, and is not lost.
    if (seq !== undefined) device.sequence.take(session, seq, message.duplicate);
    if (!this.#isWithinQuota(device, received)) {
      reception.settle(index, 'acknowledge');
      return;
    }
    const { admitted, excess } = admittedReadings(device, telemetry.readings);
    for (const refusal of refusedParts(id, telemetry, excess))
      this.#letter(refusal, sourceOf(received), keptWhereSomeIsStored(telemetry, receivedAtMs));
    if (admitted.length === 0) {
      reception.settle(index, 'acknowledge');
      return;
    }
    const taken = excess.length === 0 ? telemetry : { ...telemetry, readings: admitted };
    if (time.kind === 'uptime' && session !== undefined)
      this.#writeByBoot(device, taken, received, { session, claimedMs: receivedAtMs - time.uptimeMs });
    else this.#write(device, taken, received, undefined);
  }

  #meet(id: DeviceId, nowMs: number): KnownDevice | undefined {
    const device = this.#fleet.meet(id, nowMs);
    if (device !== undefined) this.#parts.store.heard(id);
    return device;
  }

  #writeByBoot(
    device: KnownDevice,
    telemetry: Telemetry,
    received: Received,
    { session, claimedMs }: { readonly session: number; readonly claimedMs: number },
  ): void {
    if (device.boot?.session === session) {
      this.#write(device, telemetry, received, device.boot.bootedAtMs);
      return;
    }
    this.#bootTime(device, session, claimedMs).then(
      (bootedAtMs) => this.#write(device, telemetry, received, bootedAtMs),
      () => received.reception.settle(received.index, 'leave'),
    );
  }

  /** Whether a device may send so much. What had waited at the broker says nothing of its pace. */
  #isWithinQuota(device: KnownDevice, { message, reception }: Received): boolean {
    const { broker, receivedAtMs, isBacklog } = reception.delivery;
    if (isBacklog || message.duplicate) return true;
    const { quota, metrics, store } = this.#parts;
    const { isTaken, change } = device.quota.take(quota, receivedAtMs);
    if (change !== undefined) this.#runawayChanged(device, broker, change);
    if (isTaken) return true;
    metrics.overQuota.inc({ broker });
    store.active(device, broker);
    return false;
  }

  #runawayChanged(device: KnownDevice, broker: string, change: 'begun' | 'ended'): void {
    const { id, quota } = device;
    if (change === 'begun') this.#runaways.set(id, broker);
    else this.#runaways.delete(id);
    this.#parts.store.active(device, broker);
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

  #write(device: KnownDevice, telemetry: Telemetry, received: Received, bootedAtMs: number | undefined): void {
    const { metrics, digest } = this.#parts;
    const { readings } = telemetry;
    const { message, reception } = received;
    const { broker, receivedAtMs, isBacklog } = reception.delivery;
    const { duplicate } = message;
    const believedMs = believedTimeMs(telemetry.time, receivedAtMs, bootedAtMs);
    const epochMs = believedMs ?? receiptTimeMs(receivedAtMs, device.lastReceiptMs);
    if (believedMs === undefined) {
      device.lastReceiptMs = epochMs;
      if (duplicate) metrics.unstampedDuplicates.inc({ broker });
      if (claimedTimeMs(telemetry.time, bootedAtMs) !== undefined) this.#tellBadTime(device, received);
    }
    if (telemetry.time.kind === 'clock') device.clock.take(telemetry.time.epochMs, receivedAtMs);
    const isLate = device.usualAge.take(receivedAtMs - epochMs, receivedAtMs);
    // What had waited at the broker says when it was said, not that the device is there now.
    const wasWaiting = isBacklog || duplicate || isLate;
    // Told before it is stored: whoever acts on a reading need not wait for InfluxDB.
    if (digest.isWanted(broker))
      digest.add(broker, device.id, readings, { atMs: epochMs, qos: message.qos, late: wasWaiting });
    device.learn(readings, epochMs);
    const waitedHeardAtMs = believedMs === undefined ? 0 : Math.min(receivedAtMs, epochMs);
    const heardAtMs = wasWaiting ? waitedHeardAtMs : receivedAtMs;
    this.#writes.write(received, device, telemetry, epochMs, heardAtMs);
  }

  #tellBadTime(device: KnownDevice, received: Received): void {
    const detail = 'the time is off by more than a day';
    this.#letter({ device: device.id, reason: 'bad-time', detail }, sourceOf(received), 'sample');
  }

  #refused(line: string, reason: string, outgoing: OutgoingMessage | undefined): void {
    if (outgoing === undefined && this.#parts.replay.refused(line, reason)) return;
    const delivery = outgoing?.reception.delivery;
    const source = {
      broker: delivery?.broker ?? '',
      topic: outgoing?.message.topic ?? '',
      payload: Buffer.from(line),
      atMs: delivery?.receivedAtMs ?? Date.now(),
    };
    const refusal: Refusal = { device: deviceOfLine(line) ?? '', reason: 'refused-by-influxdb', detail: reason };
    this.#letter(refusal, source, 'sample');
  }

  #letter(refusal: Refusal, source: LetterSource, kept: DeadLetter['kept']): void {
    this.#parts.metrics.deadLetters.inc({ broker: source.broker, reason: refusal.reason });
    this.#parts.store.deadLetter({ ...refusal, ...source, kept });
  }

  #reject(refusal: Refusal, received: Received): void {
    this.#letter(refusal, sourceOf(received), 'message');
    received.reception.settle(received.index, 'acknowledge');
  }

  #scheduleStore(afterMs = STORE_INTERVAL_MS): void {
    if (this.#closing) return;
    this.#storeTimer = setTimeout(() => {
      this.#storing = this.#flushStore().then((rows) => this.#scheduleStore(storeIntervalMs(rows)));
    }, afterMs);
  }

  /** Answers how many rows were written. */
  async #flushStore(): Promise<number> {
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
      const { rows, tombstoned } = await store.flush(nowMs, this.#closing ? 0 : ACTIVITY_INTERVAL_MS);
      for (const device of tombstoned) this.#fleet.forget(device);
      return rows;
    } catch (error) {
      metrics.postgresFailures.inc();
      logger.warn({ err: error }, 'PostgreSQL did not take last readings; they are kept for the next time');
      return 0;
    }
  }
}

function sourceOf({ message, reception: { delivery } }: Received): LetterSource {
  const { topic, payload } = message;
  return { broker: delivery.broker, topic, payload, atMs: delivery.receivedAtMs };
}
