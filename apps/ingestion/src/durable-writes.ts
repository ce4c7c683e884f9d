import type { InboundMessage } from '@muster/broker';
import type { Telemetry } from '@muster/contract';
import type { TombstoneSet } from '@muster/database';
import type { Logger } from '@muster/service';
import {
  deviceOfLine,
  NumberColumn,
  SpoolError,
  telemetryLine,
  TelemetryWriter,
  type Influx,
  type LineBatch,
  type Spool,
  type WriterEvent,
} from '@muster/telemetry';
import type { KnownDevice } from './fleet.ts';
import type { FleetStore } from './fleet-store.ts';
import type { IngestionMetrics } from './metrics.ts';
import type { Received, Reception } from './reception.ts';

/** What is needed of a message until it is durable; not its payload, which would keep the memory of many others. */
type KeptMessage = Pick<InboundMessage, 'topic' | 'qos' | 'payloadBytes'>;

/** A message on its way to where it is durable. */
export interface OutgoingMessage extends Received<KeptMessage> {
  readonly device: KnownDevice;
  /** How many readings are in its line. */
  readonly readings: number;
  /** See {@link FleetStore.stored}. */
  readonly heardAtMs: number;
  readonly line: string;
}

/**
 * The messages of a batch, in columns: they wait for InfluxDB for a while, and an object each would be copied by the
 * garbage collector more than once. The columns are written over by the next batch that this is used for: they are old
 * enough that the garbage collector leaves them where they are.
 */
class MessageBatch {
  #batch: LineBatch;
  #count = 0;
  /** Neighbours are nearly always of one reception: each with the place from which on they are. */
  #receptions: { readonly reception: Reception; readonly from: number }[] = [];
  readonly #topics: string[] = [];
  readonly #devices: KnownDevice[] = [];
  readonly #heardAtMs: number[] = [];
  /** Of each message: its place in its reception, its QoS, its readings, its bytes, and the number of its line. */
  readonly #indexes = new NumberColumn();
  readonly #qos = new NumberColumn();
  readonly #readings = new NumberColumn();
  readonly #bytes = new NumberColumn();
  readonly #lines = new NumberColumn();
  #latest: Reception | undefined;

  constructor(batch: LineBatch) {
    this.#batch = batch;
  }

  get batch(): LineBatch {
    return this.#batch;
  }

  get count(): number {
    return this.#count;
  }

  /** Forgets its messages, and takes those of another batch. */
  reuse(batch: LineBatch): this {
    this.#batch = batch;
    this.#count = 0;
    this.#receptions = [];
    this.#latest = undefined;
    for (const column of [this.#indexes, this.#qos, this.#readings, this.#bytes, this.#lines]) column.clear();
    return this;
  }

  /** Adds the message of the line that was added last. */
  add(
    { message, reception, index }: Received<KeptMessage>,
    device: KnownDevice,
    readings: number,
    heardAtMs: number,
  ): void {
    const place = this.#count;
    if (reception !== this.#latest) {
      this.#latest = reception;
      this.#receptions.push({ reception, from: place });
    }
    this.#topics[place] = message.topic;
    this.#devices[place] = device;
    this.#heardAtMs[place] = heardAtMs;
    this.#bytes.push(message.payloadBytes);
    this.#indexes.push(index);
    this.#qos.push(message.qos);
    this.#readings.push(readings);
    this.#lines.push(this.#batch.lines.count - 1);
    this.#count = place + 1;
  }

  /** Tells and settles every message; answers how many readings they had, by broker. */
  acknowledge(store: DurableWritesParts['store']): ReadonlyMap<string, number> {
    const sums = new Map<string, number>();
    this.#each((reception, from, to) => {
      const { broker } = reception.delivery;
      let sum = sums.get(broker) ?? 0;
      for (let at = from; at < to; at += 1) {
        const device = this.#devices[at];
        if (device !== undefined) store.stored(device, broker, this.#bytes.at(at), this.#heardAtMs[at] ?? 0);
        reception.settle(this.#indexes.at(at), 'acknowledge');
        sum += this.#readings.at(at);
      }
      sums.set(broker, sum);
    });
    return sums;
  }

  /** Every message with its line. */
  messages(): readonly OutgoingMessage[] {
    const messages: OutgoingMessage[] = [];
    this.#each((reception, from, to) => {
      for (let at = from; at < to; at += 1) {
        const device = this.#devices[at];
        if (device === undefined) continue;
        messages.push({
          ...{ reception, index: this.#indexes.at(at), device },
          ...{ readings: this.#readings.at(at), heardAtMs: this.#heardAtMs[at] ?? 0 },
          message: {
            topic: this.#topics[at] ?? '',
            qos: this.#qos.at(at) === 0 ? 0 : 1,
            payloadBytes: this.#bytes.at(at),
          },
          line: this.#batch.lines.line(this.#lines.at(at)),
        });
      }
    });
    return messages;
  }

  #each(run: (reception: Reception, from: number, to: number) => void): void {
    for (const [at, { reception, from }] of this.#receptions.entries())
      run(reception, from, this.#receptions[at + 1]?.from ?? this.count);
  }
}

/** The messages of a batch by their lines, as it was with so many. */
interface BatchIndex {
  readonly count: number;
  readonly byLine: ReadonlyMap<string, OutgoingMessage>;
}

/** What durable writes are made of. */
export interface DurableWritesParts {
  readonly influx: Influx;
  readonly spool: Spool;
  /** What waits of a device that is decommissioned meanwhile is not stored any more. */
  readonly tombstones: Pick<TombstoneSet, 'has' | 'whenKnown'>;
  readonly metrics: IngestionMetrics;
  readonly logger: Logger;
  /** Told of each message that is durable, before it is acknowledged. */
  readonly store: Pick<FleetStore, 'stored'>;
  /** Takes a line that InfluxDB will never take, with its message where that is still known. */
  readonly onRefused: (line: string, reason: string, outgoing: OutgoingMessage | undefined) => void;
}

const MAX_BATCH_LINES = 5_000;
const MAX_BATCH_BYTES = 1_000_000;
const MAX_BATCH_DELAY_MS = 200;
const MAX_REQUESTS = 2;
const MAX_HELD_BYTES = 64_000_000;
/** So often it is looked whether there is room again, with so many messages at once. */
const RETRY_MS = 500;
const RETRIED_AT_ONCE = 1_000;
/** So many batches that are done with are kept for the next messages. */
const SPARE_BATCHES = 3;

/**
 * Messages on their way to InfluxDB or the spool; each is settled when it is durable in one of them. Where neither has
 * room, messages at QoS 1 are held without an acknowledgement, so that the broker keeps them and sends no more than the
 * window takes; messages at QoS 0 are dropped and counted.
 */
export class DurableWrites {
  readonly #parts: DurableWritesParts;
  readonly #writer: TelemetryWriter;
  /** Batches that are not durable yet; the last of them is the one that is gathered. */
  readonly #batches = new Set<MessageBatch>();
  #latest: MessageBatch | undefined;
  readonly #spare: MessageBatch[] = [];
  readonly #indexes = new WeakMap<MessageBatch, BatchIndex>();
  #underWay = 0;
  #held: OutgoingMessage[] = [];
  #retryTimer: NodeJS.Timeout | undefined;
  #isClosing = false;

  constructor(parts: DurableWritesParts) {
    this.#parts = parts;
    this.#writer = new TelemetryWriter({
      ...{ influx: parts.influx, spool: parts.spool },
      ...{ maxBatchLines: MAX_BATCH_LINES, maxBatchBytes: MAX_BATCH_BYTES, maxDelayMs: MAX_BATCH_DELAY_MS },
      ...{ maxRequests: MAX_REQUESTS, maxHeldBytes: MAX_HELD_BYTES },
      isWanted: (line) => !this.#isTombstoned(line),
      replayAfter: parts.tombstones.whenKnown,
      onRefused: (line, reason) => parts.onRefused(line, reason, this.#messageOf(line)),
      onEvent: (event) => this.#tell(event),
    });
  }

  /** Messages that are not durable yet. */
  get depth(): number {
    return this.#underWay + this.#held.length;
  }

  /**
   * Takes a message, which has a reading, with what it says and when that was.
   * @param heardAtMs see {@link FleetStore.stored}
   */
  write(
    received: Received<KeptMessage>,
    device: KnownDevice,
    telemetry: Telemetry,
    epochMs: number,
    heardAtMs: number,
  ): void {
    // What came before has found no room: nobody overtakes it.
    if (this.#held.length > 0 && received.message.qos > 0) {
      this.#held.push(outgoing(received, device, telemetry, epochMs, heardAtMs));
      return;
    }
    try {
      const batch = this.#writer.addTelemetry(device.id, telemetry, epochMs);
      this.#batchOf(batch).add(received, device, telemetry.readings.length, heardAtMs);
    } catch (error) {
      this.#failed([outgoing(received, device, telemetry, epochMs, heardAtMs)], error);
    }
  }

  /** Writes a line that belongs to no message; resolves when it is durable. */
  async writeLine(line: string): Promise<void> {
    await this.#writer.write([line]);
  }

  /** Takes no more; what InfluxDB has not taken within `limitMs` goes to the spool. What has no room stays with the broker. */
  async close(limitMs: number): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#retryTimer);
    for (const { reception, index } of this.#held.splice(0)) reception.settle(index, 'leave');
    await this.#writer.close(limitMs);
  }

  /** The messages of a batch, to which one more is added next. */
  #batchOf(batch: LineBatch): MessageBatch {
    this.#underWay += 1;
    if (this.#latest?.batch !== batch) this.#latest = this.#begin(batch);
    return this.#latest;
  }

  #begin(batch: LineBatch): MessageBatch {
    const messages = this.#spare.pop()?.reuse(batch) ?? new MessageBatch(batch);
    this.#batches.add(messages);
    batch.stored.then(
      () => {
        this.#end(messages);
        for (const [broker, readings] of messages.acknowledge(this.#parts.store))
          this.#parts.metrics.readings.inc({ broker }, readings);
        if (this.#spare.length < SPARE_BATCHES) this.#spare.push(messages);
        if (this.#held.length > 0) this.#retry();
      },
      (error: unknown) => {
        this.#end(messages);
        this.#failed(messages.messages(), error);
      },
    );
    return messages;
  }

  #end(messages: MessageBatch): void {
    this.#batches.delete(messages);
    this.#indexes.delete(messages);
    this.#underWay -= messages.count;
    if (this.#latest === messages) this.#latest = undefined;
  }

  #failed(messages: readonly OutgoingMessage[], error: unknown): void {
    if (!(error instanceof SpoolError)) this.#parts.logger.error({ err: error }, 'messages could not be made durable');
    for (const one of messages) {
      const { message, reception, index } = one;
      if (this.#isClosing) reception.settle(index, 'leave');
      else if (message.qos > 0) this.#held.push(one);
      else {
        this.#parts.metrics.noRoom.inc({ broker: reception.delivery.broker });
        reception.settle(index, 'leave');
      }
    }
    if (this.#held.length > 0 && !this.#isClosing) this.#retryTimer ??= setTimeout(() => this.#retry(), RETRY_MS);
  }

  /** Tries some of those that found no room; those whose connection is gone come again from the broker. */
  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#held = this.#held.filter(({ reception }) => !reception.delivery.isLost);
    for (const message of this.#held.splice(0, RETRIED_AT_ONCE)) this.#tryAgain(message);
    // Where none of them was written, nothing else would come back here.
    if (this.#held.length > 0 && this.#underWay === 0) this.#retryTimer ??= setTimeout(() => this.#retry(), RETRY_MS);
  }

  #tryAgain(message: OutgoingMessage): void {
    const { reception, index, device, readings, heardAtMs, line } = message;
    if (this.#isTombstoned(line)) {
      this.#parts.metrics.tombstoned.inc({ broker: reception.delivery.broker });
      reception.settle(index, 'acknowledge');
      return;
    }
    try {
      this.#batchOf(this.#writer.add(line)).add(message, device, readings, heardAtMs);
    } catch (error) {
      this.#failed([message], error);
    }
  }

  #isTombstoned(line: string): boolean {
    return this.#parts.tombstones.has(deviceOfLine(line) ?? '');
  }

  /** The message of a line that is under way; batches get an index when something of them is refused, which is rare. */
  #messageOf(line: string): OutgoingMessage | undefined {
    for (const batch of this.#batches) {
      let index = this.#indexes.get(batch);
      if (index?.count !== batch.count) {
        const byLine = new Map(batch.messages().map((message) => [message.line, message]));
        index = { count: batch.count, byLine };
        this.#indexes.set(batch, index);
      }
      const found = index.byLine.get(line);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #tell(event: WriterEvent): void {
    const { metrics, logger } = this.#parts;
    switch (event.kind) {
      case 'written':
        metrics.linesWritten.inc(event.lines);
        metrics.writeSeconds.observe(event.durationMs / 1000);
        return;
      case 'unavailable':
        metrics.influxFailures.inc();
        logger.warn(
          { attempt: event.attempt, reason: event.reason, retryInMs: Math.round(event.retryInMs) },
          event.isMisconfigured
            ? 'InfluxDB refuses its account, database or address; telemetry goes to the spool until that is mended'
            : 'InfluxDB does not take telemetry; it goes to the spool',
        );
        return;
      case 'available':
        logger.info('InfluxDB takes telemetry again');
        return;
      case 'spooled':
        metrics.linesSpooled.inc(event.lines);
        return;
      case 'left-out':
        metrics.linesTombstoned.inc(event.lines);
        return;
      case 'replayed':
        metrics.linesReplayed.inc(event.lines);
        return;
      case 'rejected':
        logger.warn(
          { lines: event.lines, code: event.error.code, reason: event.error.message },
          'neither InfluxDB nor the spool has room: QoS 1 waits unacknowledged with the broker, QoS 0 is dropped',
        );
        return;
      case 'replay-failed':
        logger.warn({ err: event.error }, 'the spool could not be read or cleared; it is tried again');
    }
  }
}

function outgoing(
  { message: { topic, qos, payloadBytes }, reception, index }: Received<KeptMessage>,
  device: KnownDevice,
  telemetry: Telemetry,
  epochMs: number,
  heardAtMs: number,
): OutgoingMessage {
  const line = telemetryLine(device.id, telemetry, epochMs) ?? '';
  const readings = telemetry.readings.length;
  return { message: { topic, qos, payloadBytes }, reception, index, device, readings, heardAtMs, line };
}
