import type { Delivery } from '@muster/broker';
import type { DeviceId, Reading } from '@muster/contract';
import type { TombstoneSet } from '@muster/database';
import type { Logger } from '@muster/service';
import {
  deviceOfLine,
  SpoolError,
  TelemetryWriter,
  type Influx,
  type Spool,
  type WriterEvent,
} from '@muster/telemetry';
import type { Listening } from './listening.ts';
import type { IngestionMetrics } from './metrics.ts';

/** A message with its line, on its way to where it is durable. */
export interface OutgoingMessage {
  readonly device: DeviceId;
  readonly topic: string;
  readonly qos: 0 | 1;
  /** Of its payload. */
  readonly bytes: number;
  readonly readings: readonly Reading[];
  readonly line: string;
  readonly epochMs: number;
  /** See `StoredMessage`. */
  readonly heardAtMs: number | undefined;
  readonly delivery: Delivery;
  readonly index: number;
  readonly listening: Listening | undefined;
}

/** The messages of a batch by their lines, as it was with so many. */
interface BatchIndex {
  readonly length: number;
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
  /** Takes a message that is durable: it is acknowledged next. */
  readonly onDurable: (message: OutgoingMessage) => void;
  /** Takes a line that InfluxDB will never take, with its message where that is still known. */
  readonly onRefused: (line: string, reason: string, message: OutgoingMessage | undefined) => void;
}

const MAX_BATCH_LINES = 5_000;
const MAX_BATCH_LENGTH = 1_000_000;
const MAX_BATCH_DELAY_MS = 200;
const MAX_REQUESTS = 2;
const MAX_HELD_LENGTH = 64_000_000;
/** So often it is looked whether there is room again, with so many messages at once. */
const RETRY_MS = 500;
const RETRIED_AT_ONCE = 1_000;

/**
 * Messages on their way to InfluxDB or the spool; each is settled when it is durable in one of them. Where neither has
 * room, messages at QoS 1 are held without an acknowledgement, so that the broker keeps them and sends no more than the
 * window takes; messages at QoS 0 are dropped and counted.
 */
export class DurableWrites {
  readonly #parts: DurableWritesParts;
  readonly #writer: TelemetryWriter;
  /** Messages by the batch that they are in, of which the writer gives one promise. */
  readonly #batches = new Map<Promise<unknown>, OutgoingMessage[]>();
  readonly #indexes = new WeakMap<readonly OutgoingMessage[], BatchIndex>();
  #underWay = 0;
  #held: OutgoingMessage[] = [];
  #retryTimer: NodeJS.Timeout | undefined;
  #isClosing = false;

  constructor(parts: DurableWritesParts) {
    this.#parts = parts;
    this.#writer = new TelemetryWriter({
      ...{ influx: parts.influx, spool: parts.spool },
      ...{ maxBatchLines: MAX_BATCH_LINES, maxBatchLength: MAX_BATCH_LENGTH, maxDelayMs: MAX_BATCH_DELAY_MS },
      ...{ maxRequests: MAX_REQUESTS, maxHeldLength: MAX_HELD_LENGTH },
      isWanted: (line) => !parts.tombstones.has(deviceOfLine(line) ?? ''),
      replayAfter: parts.tombstones.whenKnown,
      onRefused: (line, reason) => parts.onRefused(line, reason, this.#messageOf(line)),
      onEvent: (event) => this.#tell(event),
    });
  }

  /** Messages that are not durable yet. */
  get depth(): number {
    return this.#underWay + this.#held.length;
  }

  /** Takes a message. */
  write(message: OutgoingMessage): void {
    // What came before has found no room: nobody overtakes it.
    if (this.#held.length > 0 && message.qos > 0) this.#held.push(message);
    else this.#write(message);
  }

  /** Writes a line that belongs to no message; resolves when it is durable. */
  async writeLine(line: string): Promise<void> {
    await this.#writer.write([line]);
  }

  /** Takes no more; what InfluxDB has not taken within `limitMs` goes to the spool. What has no room stays with the broker. */
  async close(limitMs: number): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#retryTimer);
    for (const message of this.#held.splice(0)) settle(message, 'leave');
    await this.#writer.close(limitMs);
  }

  #write(message: OutgoingMessage): void {
    const stored = this.#writer.write([message.line]);
    this.#underWay += 1;
    const batch = this.#batches.get(stored);
    if (batch !== undefined) {
      batch.push(message);
      return;
    }
    this.#batches.set(stored, [message]);
    stored.then(
      () => {
        for (const done of this.#take(stored)) {
          this.#parts.onDurable(done);
          settle(done, 'acknowledge');
        }
        if (this.#held.length > 0) this.#retry();
      },
      (error: unknown) => this.#failed(this.#take(stored), error),
    );
  }

  #take(stored: Promise<unknown>): readonly OutgoingMessage[] {
    const batch = this.#batches.get(stored) ?? [];
    this.#batches.delete(stored);
    this.#underWay -= batch.length;
    return batch;
  }

  #failed(messages: readonly OutgoingMessage[], error: unknown): void {
    if (!(error instanceof SpoolError)) this.#parts.logger.error({ err: error }, 'messages could not be made durable');
    for (const message of messages) {
      if (this.#isClosing) settle(message, 'leave');
      else if (message.qos > 0) this.#held.push(message);
      else {
        this.#parts.metrics.noRoom.inc({ broker: message.delivery.broker });
        settle(message, 'leave');
      }
    }
    if (this.#held.length > 0 && !this.#isClosing) this.#retryTimer ??= setTimeout(() => this.#retry(), RETRY_MS);
  }

  /** Tries some of those that found no room; those whose connection is gone come again from the broker. */
  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#held = this.#held.filter(({ delivery }) => !delivery.isLost);
    const { tombstones, metrics } = this.#parts;
    for (const message of this.#held.splice(0, RETRIED_AT_ONCE)) {
      if (!tombstones.has(message.device)) this.#write(message);
      else {
        metrics.tombstoned.inc({ broker: message.delivery.broker });
        settle(message, 'acknowledge');
      }
    }
    // Where none of them was written, nothing else would come back here.
    if (this.#held.length > 0 && this.#underWay === 0) this.#retryTimer = setTimeout(() => this.#retry(), RETRY_MS);
  }

  /** The message of a line that is under way; batches get an index when something of them is refused, which is rare. */
  #messageOf(line: string): OutgoingMessage | undefined {
    for (const batch of this.#batches.values()) {
      let index = this.#indexes.get(batch);
      if (index?.length !== batch.length) {
        index = { length: batch.length, byLine: new Map(batch.map((message) => [message.line, message])) };
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

/** Lets go of a message. */
export function settle(
  { delivery, index, listening }: Pick<OutgoingMessage, 'delivery' | 'index' | 'listening'>,
  settlement: 'acknowledge' | 'leave',
): void {
  listening?.settled();
  delivery.settle(index, settlement);
}
