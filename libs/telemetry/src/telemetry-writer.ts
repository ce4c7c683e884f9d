import type { DeviceId, Telemetry } from '@muster/contract';
import type { WriteOutcome } from './influx.ts';
import { LineBlock } from './line-block.ts';
import { splitLines } from './line-protocol.ts';
import { SpoolError, SpoolFullError } from './spool-error.ts';
import type { SpoolChunk } from './spool.ts';
import type { StoredIn, TelemetryWriterOptions } from './telemetry-writer-options.ts';

/** Lines that are written together. */
export interface LineBatch {
  /** Not to be read any more when {@link LineBatch.stored} has resolved and whoever waits for it has been told. */
  readonly lines: LineBlock;
  /** Resolves when they are durable, or refused for ever; it rejects as {@link TelemetryWriter.write}. */
  readonly stored: Promise<StoredIn>;
}

interface Batch extends LineBatch {
  /** Bytes of its lines that are counted as held. */
  heldBytes: number;
  readonly resolve: (where: StoredIn) => void;
  readonly reject: (error: unknown) => void;
}

/** Lines with a line break between them: only where some are refused are they looked at one by one. */
interface Lines {
  readonly bytes: Buffer;
  readonly count: number;
}

interface Replay {
  readonly chunk: SpoolChunk;
  readonly count: number;
  /** What InfluxDB has not answered for. */
  readonly left: readonly Lines[];
}

type Refused = Extract<WriteOutcome, { kind: 'refused' | 'too-old' }>;
type Unavailable = Extract<WriteOutcome, { kind: 'unavailable' }>;

const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
/** Nobody is asked to wait longer, whatever `Retry-After` says. */
const MAX_RETRY_AFTER_MS = 60_000;
/** So many blocks that are done with are kept for the next lines: new ones would be garbage at once. */
const SPARE_BLOCKS = 3;
/** Full batches that wait in memory for a request to end, for each request; more go to the spool. */
const WAITING_PER_REQUEST = 2;

/**
 * Makes lines durable: in InfluxDB where it answers, else in the spool, at once. While InfluxDB is away one request at a
 * time tries the oldest of the spool; when it is back, live lines go to it directly and the spool is replayed beside
 * them, oldest first. Points carry the device's time and the same point twice is one, so neither order nor repetition
 * matters. Lines that InfluxDB refuses are told one by one and never cost their neighbours (mqtt-pitfalls B9).
 */
export class TelemetryWriter {
  readonly #options: TelemetryWriterOptions;
  readonly #abort = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  #gathering: Batch | undefined;
  readonly #spareBlocks: LineBlock[] = [];
  #gatherTimer: NodeJS.Timeout | undefined;
  #waiting: Batch[] = [];
  #requests = 0;
  #heldBytes = 0;
  #isAway = false;
  #failures = 0;
  #probeTimer: NodeJS.Timeout | undefined;
  #isReplaying = false;
  #replay: Replay | undefined;
  #isClosing = false;

  /** Begins to replay what an earlier process has left in the spool. */
  constructor(options: TelemetryWriterOptions) {
    this.#options = options;
    if (options.replayAfter === undefined) this.#startReplay();
    else void options.replayAfter.then(() => this.#startReplay());
  }

  /** Whether InfluxDB answered the last request. */
  get isAvailable(): boolean {
    return !this.#isAway;
  }

  /** Bytes of lines that are in memory and not durable yet. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Takes a line, without a line break at its end; answers the batch of which it is the last line now.
   * @throws SpoolFullError `memory-limit`: neither InfluxDB nor the spool keeps up
   * @throws SpoolError `closed`
   */
  add(line: string): LineBatch {
    const batch = this.#open(line.length);
    batch.lines.add(line);
    return this.#added(batch);
  }

  /**
   * Takes the line of a message, which has a reading; as {@link add} of its `telemetryLine`, and faster.
   * @throws SpoolError as {@link add}
   */
  addTelemetry(device: DeviceId, telemetry: Telemetry, epochMs: number): LineBatch {
    const batch = this.#open(0);
    batch.lines.addTelemetry(device, telemetry, epochMs);
    return this.#added(batch);
  }

  /**
   * Takes lines; resolves when they are durable, or refused for ever.
   * @throws SpoolFullError neither InfluxDB nor the spool has room
   * @throws SpoolError `disk-failed`, `closed`
   */
  async write(lines: readonly string[]): Promise<StoredIn> {
    const batches = new Set(lines.map((line) => this.add(line)));
    const stored = await Promise.all([...batches].map((batch) => batch.stored));
    return stored.find((where) => where === 'spool') ?? 'influxdb';
  }

  /**
   * Takes no more and writes what it has; what InfluxDB has not taken within `limitMs` goes to the spool. Resolves when
   * every write is settled.
   */
  async close(limitMs: number): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#probeTimer);
    this.#seal();
    const timer = setTimeout(() => {
      this.#abort.abort();
      this.#isAway = true;
      this.#pump();
    }, limitMs);
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    clearTimeout(timer);
  }

  /** The batch that is gathered, where so many more bytes find room in memory. */
  #open(bytes: number): Batch {
    const { maxHeldBytes } = this.#options;
    if (this.#isClosing) throw new SpoolError('closed', 'the writer is closed');
    if (this.#heldBytes + bytes > maxHeldBytes) {
      const message = `more than ${maxHeldBytes} bytes wait in memory for InfluxDB and the disk`;
      throw new SpoolFullError('memory-limit', message);
    }
    return (this.#gathering ??= newBatch(this.#spareBlocks.pop() ?? new LineBlock()));
  }

  #added(batch: Batch): Batch {
    const { maxBatchLines, maxBatchBytes, maxDelayMs } = this.#options;
    const { count, byteLength } = batch.lines;
    this.#heldBytes += byteLength - batch.heldBytes;
    batch.heldBytes = byteLength;
    if (count >= maxBatchLines || byteLength >= maxBatchBytes) this.#seal();
    else this.#gatherTimer ??= setTimeout(() => this.#seal(), maxDelayMs);
    return batch;
  }

  #seal(): void {
    clearTimeout(this.#gatherTimer);
    this.#gatherTimer = undefined;
    if (this.#gathering !== undefined) this.#waiting.push(this.#gathering);
    this.#gathering = undefined;
    this.#pump();
  }

  #pump(): void {
    const { maxRequests } = this.#options;
    for (let batch = this.#waiting[0]; batch !== undefined; batch = this.#waiting[0]) {
      if (!this.#isAway && this.#requests < maxRequests) this.#attend(this.#send(batch));
      else if (this.#isAway || this.#waiting.length > maxRequests * WAITING_PER_REQUEST) {
        this.#attend(this.#spool(batch, batch.lines.bytes, batch.lines.count));
      } else return;
      this.#waiting.shift();
    }
  }

  /** Keeps work under way in sight until its end, which it never makes by rejecting. */
  #attend(work: Promise<void>): void {
    const attended = work.finally(() => this.#underWay.delete(attended));
    this.#underWay.add(attended);
  }

  async #send(batch: Batch): Promise<void> {
    this.#requests += 1;
    try {
      const left = await this.#deliver([{ bytes: batch.lines.bytes, count: batch.lines.count }]);
      if (left.length === 0) this.#stored(batch, 'influxdb');
      else await this.#spool(batch, bytesOf(left), countOf(left));
    } catch (error) {
      // Whoever takes refused lines has failed: as long as that is so nothing is acknowledged.
      this.#rejected(batch, error);
    } finally {
      this.#requests -= 1;
      this.#pump();
    }
  }

  async #spool(batch: Batch, bytes: Uint8Array, lines: number): Promise<void> {
    const { spool, onEvent } = this.#options;
    try {
      await spool.append(bytes);
      onEvent({ kind: 'spooled', lines });
      this.#stored(batch, 'spool');
    } catch (error) {
      if (error instanceof SpoolError) onEvent({ kind: 'rejected', lines, error });
      this.#rejected(batch, error);
    }
    if (!this.#isAway) this.#startReplay();
  }

  #stored(batch: Batch, where: StoredIn): void {
    this.#heldBytes -= batch.heldBytes;
    batch.resolve(where);
    // Whoever was told first may still ask for its lines.
    void batch.stored.then(() => {
      batch.lines.clear();
      if (this.#spareBlocks.length < SPARE_BLOCKS) this.#spareBlocks.push(batch.lines);
    });
  }

  #rejected(batch: Batch, error: unknown): void {
    this.#heldBytes -= batch.heldBytes;
    batch.reject(error);
  }

  /** Writes batches; answers what InfluxDB has not answered for because it is away, divided as it had come to be. */
  async #deliver(batches: readonly Lines[]): Promise<readonly Lines[]> {
    const left = [...batches];
    for (let lines = left[0]; lines !== undefined; lines = left[0]) {
      const startedAt = performance.now();
      const outcome = await this.#options.influx.write(lines.bytes, this.#abort.signal);
      if (outcome.kind === 'unavailable') {
        this.#failed(outcome);
        // Else it would be asked for the same again and again, and everything behind it wait.
        return outcome.isTimeout === true ? [...halvesOf(linesOf(lines)), ...left.slice(1)] : left;
      }
      this.#answered();
      if (outcome.kind === 'stored') {
        this.#options.onEvent({ kind: 'written', lines: lines.count, durationMs: performance.now() - startedAt });
        left.shift();
      } else {
        left.splice(0, 1, ...this.#divide(lines, outcome));
      }
    }
    return [];
  }

  /** Tells the lines that are known to be refused; answers the batches to write instead, to find the others. */
  #divide(lines: Lines, outcome: Refused): readonly Lines[] {
    const all = linesOf(lines);
    if (outcome.kind === 'too-old' && outcome.lines > 0) {
      // The others are stored, but lines that are no line protocol are not told of in the same answer.
      const oldestFirst = [...all].sort((left, right) => timeOf(left) - timeOf(right));
      this.#refuse(oldestFirst.slice(0, outcome.lines), outcome.reason);
      return outcome.lines >= all.length ? [] : [together(oldestFirst.slice(outcome.lines))];
    }
    if (all.length === 1 || (outcome.kind === 'refused' && outcome.dropped === all.length)) {
      this.#refuse(all, outcome.reason);
      return [];
    }
    return halvesOf(all);
  }

  #refuse(lines: readonly string[], reason: string): void {
    for (const line of lines) this.#options.onRefused(line, reason);
  }

  #answered(): void {
    if (this.#failures > 0) this.#options.onEvent({ kind: 'available' });
    this.#failures = 0;
    if (!this.#isAway) return;
    this.#isAway = this.#abort.signal.aborted;
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    this.#startReplay();
  }

  #failed({ reason, isMisconfigured = false, retryAfterMs = 0 }: Unavailable): void {
    this.#isAway = true;
    // Requests that were under way together fail together, and are one failure.
    if (this.#probeTimer !== undefined || this.#isClosing) return;
    this.#failures += 1;
    const backOffMs = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(this.#failures - 1, 10));
    const retryInMs = Math.max(backOffMs * (0.5 + Math.random() / 2), Math.min(retryAfterMs, MAX_RETRY_AFTER_MS));
    const attempt = this.#failures;
    this.#options.onEvent({ kind: 'unavailable', reason, attempt, isMisconfigured, retryInMs });
    this.#probeTimer = setTimeout(() => this.#probe(), retryInMs);
  }

  /** Tries the oldest of the spool; where the spool is empty, as after a full disk, the next live lines are the trial. */
  #probe(): void {
    this.#probeTimer = undefined;
    if (this.#options.spool.isEmpty) this.#isAway = false;
    else this.#startReplay();
  }

  #startReplay(): void {
    if (this.#isReplaying || this.#isClosing || this.#options.spool.isEmpty) return;
    this.#isReplaying = true;
    this.#attend(
      this.#replayAll()
        .catch((error: unknown) => this.#replayFailed(error))
        .finally(() => {
          this.#isReplaying = false;
          // Something may have come between the last look and now.
          if (this.#probeTimer === undefined) this.#startReplay();
        }),
    );
  }

  async #replayAll(): Promise<void> {
    const { spool, maxBatchBytes, onEvent } = this.#options;
    // What is kept from the last attempt must not keep its segment beyond the age limit.
    await spool.expire();
    do {
      const next = (this.#replay ??= await this.#nextReplay(maxBatchBytes));
      if (next === undefined) break;
      const replay = this.#wantedOf(next);
      const left = await this.#deliver(replay.left);
      if (left.length > 0) {
        this.#replay = { ...replay, left };
        return;
      }
      this.#replay = undefined;
      onEvent({ kind: 'replayed', lines: replay.count });
      await spool.commit(replay.chunk);
    } while (!this.#isClosing && !this.#isAway);
    // What could not be read had been the trial.
    if (this.#probeTimer === undefined && spool.isEmpty) this.#isAway = this.#abort.signal.aborted;
  }

  #wantedOf(replay: Replay): Replay {
    const { isWanted, onEvent } = this.#options;
    if (isWanted === undefined) return replay;
    const left = replay.left.map((lines) => together(linesOf(lines).filter(isWanted))).filter(({ count }) => count > 0);
    const leftOut = countOf(replay.left) - countOf(left);
    if (leftOut > 0) onEvent({ kind: 'left-out', lines: leftOut });
    return { ...replay, left, count: replay.count - leftOut };
  }

  async #nextReplay(maxBytes: number): Promise<Replay | undefined> {
    const chunk = await this.#options.spool.read(maxBytes);
    if (chunk === undefined) return undefined;
    const lines = chunk.records.flatMap((record) => splitLines(Buffer.from(record).toString()));
    return { chunk, count: lines.length, left: lines.length === 0 ? [] : [together(lines)] };
  }

  #replayFailed(error: unknown): void {
    this.#options.onEvent({
      kind: 'replay-failed',
      error: error instanceof Error ? error : new Error(String(error)),
    });
    if (!this.#isClosing) this.#probeTimer ??= setTimeout(() => this.#probe(), MAX_RETRY_MS);
  }
}

/** One half where there is a single line. */
function halvesOf(lines: readonly string[]): readonly Lines[] {
  const middle = Math.ceil(lines.length / 2);
  return lines.length > 1 ? [together(lines.slice(0, middle)), together(lines.slice(middle))] : [together(lines)];
}

function together(lines: readonly string[]): Lines {
  return { bytes: Buffer.from(lines.join('\n')), count: lines.length };
}

function linesOf({ bytes }: Lines): readonly string[] {
  return splitLines(bytes.toString());
}

function bytesOf(parts: readonly Lines[]): Buffer {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first.bytes : Buffer.from(parts.flatMap(linesOf).join('\n'));
}

function countOf(parts: readonly Lines[]): number {
  return parts.reduce((sum, { count }) => sum + count, 0);
}

function newBatch(lines: LineBlock): Batch {
  let resolve: Batch['resolve'] = () => undefined;
  let reject: Batch['reject'] = () => undefined;
  const stored = new Promise<StoredIn>((onStored, onFailed) => {
    resolve = onStored;
    reject = onFailed;
  });
  // Whoever wants to know is told; that nobody does is no fault.
  stored.catch(() => undefined);
  return { lines, heldBytes: 0, stored, resolve, reject };
}

/** The timestamp at the end of a line of line protocol. */
function timeOf(line: string): number {
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}
