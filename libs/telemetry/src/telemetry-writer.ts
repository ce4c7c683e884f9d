import type { Influx, WriteOutcome } from './influx.ts';
import { splitLines } from './line-protocol.ts';
import { SpoolError, SpoolFullError } from './spool-error.ts';
import type { Spool, SpoolChunk } from './spool.ts';

/** Where lines are durable now. */
export type StoredIn = 'influxdb' | 'spool';

/** What a writer tells of; nothing that it needs an answer to. */
export type WriterEvent =
  /** InfluxDB has answered for so many lines, live or from the spool. */
  | { readonly kind: 'written'; readonly lines: number; readonly durationMs: number }
  /** InfluxDB takes nothing at the moment; told for the first failure and for each further attempt. */
  | {
      readonly kind: 'unavailable';
      readonly reason: string;
      readonly attempt: number;
      /** It will not until somebody mends account, database or address. */
      readonly isMisconfigured: boolean;
      readonly retryInMs: number;
    }
  /** InfluxDB takes lines again. */
  | { readonly kind: 'available' }
  | { readonly kind: 'spooled'; readonly lines: number }
  /** Lines from the spool that are not wanted any more were left out. */
  | { readonly kind: 'left-out'; readonly lines: number }
  /** Lines from the spool are in InfluxDB. */
  | { readonly kind: 'replayed'; readonly lines: number }
  /** Neither InfluxDB nor the spool took these lines; whoever wrote them was told by the same error. */
  | { readonly kind: 'rejected'; readonly lines: number; readonly error: SpoolError }
  /** The spool could not be read, or a delivered part not be deleted; it is tried again. */
  | { readonly kind: 'replay-failed'; readonly error: Error };

/** How telemetry is gathered and written. */
export interface TelemetryWriterOptions {
  readonly influx: Pick<Influx, 'write'>;
  /** Opened by the caller, who closes it after the writer. */
  readonly spool: Spool;
  /** A batch with so many lines, or so many characters, waits for no more. */
  readonly maxBatchLines: number;
  readonly maxBatchLength: number;
  /** A line waits at most so long for others. */
  readonly maxDelayMs: number;
  /** Live requests under way at once; the replay has one more. */
  readonly maxRequests: number;
  /** Characters of lines in memory; more are rejected. */
  readonly maxHeldLength: number;
  /** Whether a line from the spool is still wanted; asked before each attempt to write it. */
  readonly isWanted?: (line: string) => boolean;
  /** What an earlier process has left is not replayed before: until then `isWanted` has no answer. */
  readonly replayAfter?: Promise<unknown>;
  /** Takes a line that InfluxDB will never take. Told again where the process is killed during a replay. */
  readonly onRefused: (line: string, reason: string) => void;
  readonly onEvent: (event: WriterEvent) => void;
}

interface Batch {
  readonly lines: string[];
  length: number;
  readonly stored: Promise<StoredIn>;
  readonly resolve: (where: StoredIn) => void;
  readonly reject: (error: unknown) => void;
}

type Lines = readonly string[];

interface Replay {
  readonly chunk: SpoolChunk;
  readonly lines: number;
  /** What InfluxDB has not answered for. */
  readonly left: readonly Lines[];
}

type Refused = Extract<WriteOutcome, { kind: 'refused' | 'too-old' }>;
type Unavailable = Extract<WriteOutcome, { kind: 'unavailable' }>;

const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
/** Nobody is asked to wait longer, whatever `Retry-After` says. */
const MAX_RETRY_AFTER_MS = 60_000;
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
  #gatherTimer: NodeJS.Timeout | undefined;
  #waiting: Batch[] = [];
  #requests = 0;
  #heldLength = 0;
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

  /** Characters of lines that are in memory and not durable yet. */
  get heldLength(): number {
    return this.#heldLength;
  }

  /**
   * Takes lines of one message or of many, without line breaks at their ends; resolves when they are durable, or refused
   * for ever. Writes that share a batch get the same promise, so a caller may know them by it.
   * @throws SpoolFullError neither InfluxDB nor the spool has room
   * @throws SpoolError `disk-failed`, `closed`
   */
  write(lines: readonly string[]): Promise<StoredIn> {
    const { maxHeldLength, maxBatchLines, maxBatchLength, maxDelayMs } = this.#options;
    if (this.#isClosing) return Promise.reject(new SpoolError('closed', 'the writer is closed'));
    if (lines.length === 0) return Promise.resolve('influxdb');
    const length = lines.reduce((sum, line) => sum + line.length + 1, 0);
    if (this.#heldLength + length > maxHeldLength) {
      const message = `more than ${maxHeldLength} characters wait in memory for InfluxDB and the disk`;
      return Promise.reject(new SpoolFullError('memory-limit', message));
    }
    const batch = (this.#gathering ??= newBatch());
    for (const line of lines) batch.lines.push(line);
    batch.length += length;
    this.#heldLength += length;
    if (batch.lines.length >= maxBatchLines || batch.length >= maxBatchLength) this.#seal();
    else this.#gatherTimer ??= setTimeout(() => this.#seal(), maxDelayMs);
    return batch.stored;
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
        this.#attend(this.#spool(batch, batch.lines));
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
      const left = await this.#deliver([batch.lines]);
      if (left.length === 0) this.#settle(batch, () => batch.resolve('influxdb'));
      else await this.#spool(batch, left.flat());
    } catch (error) {
      // Whoever takes refused lines has failed: as long as that is so nothing is acknowledged.
      this.#settle(batch, () => batch.reject(error));
    } finally {
      this.#requests -= 1;
      this.#pump();
    }
  }

  async #spool(batch: Batch, lines: Lines): Promise<void> {
    const { spool, onEvent } = this.#options;
    try {
      await spool.append(Buffer.from(lines.join('\n')));
      onEvent({ kind: 'spooled', lines: lines.length });
      this.#settle(batch, () => batch.resolve('spool'));
    } catch (error) {
      if (error instanceof SpoolError) onEvent({ kind: 'rejected', lines: lines.length, error });
      this.#settle(batch, () => batch.reject(error));
    }
    if (!this.#isAway) this.#startReplay();
  }

  #settle(batch: Batch, settle: () => void): void {
    this.#heldLength -= batch.length;
    settle();
  }

  /** Writes batches; answers what InfluxDB has not answered for because it is away, divided as it had come to be. */
  async #deliver(batches: readonly Lines[]): Promise<readonly Lines[]> {
    const left = [...batches];
    for (let lines = left[0]; lines !== undefined; lines = left[0]) {
      const startedAt = performance.now();
      const outcome = await this.#options.influx.write(lines, this.#abort.signal);
      if (outcome.kind === 'unavailable') {
        this.#failed(outcome);
        // Else it would be asked for the same again and again, and everything behind it wait.
        return outcome.isTimeout === true ? [...halvesOf(lines), ...left.slice(1)] : left;
      }
      this.#answered();
      if (outcome.kind === 'stored') {
        this.#options.onEvent({ kind: 'written', lines: lines.length, durationMs: performance.now() - startedAt });
        left.shift();
      } else {
        left.splice(0, 1, ...this.#divide(lines, outcome));
      }
    }
    return [];
  }

  /** Tells the lines that are known to be refused; answers the batches to write instead, to find the others. */
  #divide(lines: Lines, outcome: Refused): readonly Lines[] {
    if (outcome.kind === 'too-old' && outcome.lines > 0) {
      // The others are stored, but lines that are no line protocol are not told of in the same answer.
      const oldestFirst = [...lines].sort((left, right) => timeOf(left) - timeOf(right));
      this.#refuse(oldestFirst.slice(0, outcome.lines), outcome.reason);
      return outcome.lines >= lines.length ? [] : [oldestFirst.slice(outcome.lines)];
    }
    if (lines.length === 1 || (outcome.kind === 'refused' && outcome.dropped === lines.length)) {
      this.#refuse(lines, outcome.reason);
      return [];
    }
    return halvesOf(lines);
  }

  #refuse(lines: Lines, reason: string): void {
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
    const { spool, maxBatchLength, onEvent } = this.#options;
    // What is kept from the last attempt must not keep its segment beyond the age limit.
    await spool.expire();
    do {
      const next = (this.#replay ??= await this.#nextReplay(maxBatchLength));
      if (next === undefined) break;
      const replay = this.#wantedOf(next);
      const left = await this.#deliver(replay.left);
      if (left.length > 0) {
        this.#replay = { ...replay, left };
        return;
      }
      this.#replay = undefined;
      onEvent({ kind: 'replayed', lines: replay.lines });
      await spool.commit(replay.chunk);
    } while (!this.#isClosing && !this.#isAway);
    // What could not be read had been the trial.
    if (this.#probeTimer === undefined && spool.isEmpty) this.#isAway = this.#abort.signal.aborted;
  }

  #wantedOf(replay: Replay): Replay {
    const { isWanted, onEvent } = this.#options;
    if (isWanted === undefined) return replay;
    const left = replay.left.map((lines) => lines.filter(isWanted)).filter((lines) => lines.length > 0);
    const leftOut = replay.left.flat().length - left.flat().length;
    if (leftOut > 0) onEvent({ kind: 'left-out', lines: leftOut });
    return { ...replay, left, lines: replay.lines - leftOut };
  }

  async #nextReplay(maxBytes: number): Promise<Replay | undefined> {
    const chunk = await this.#options.spool.read(maxBytes);
    if (chunk === undefined) return undefined;
    const lines = chunk.records.flatMap((record) => splitLines(Buffer.from(record).toString()));
    return { chunk, lines: lines.length, left: [lines] };
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
function halvesOf(lines: Lines): readonly Lines[] {
  const middle = Math.ceil(lines.length / 2);
  return lines.length > 1 ? [lines.slice(0, middle), lines.slice(middle)] : [lines];
}

function newBatch(): Batch {
  let resolve: Batch['resolve'] = () => undefined;
  let reject: Batch['reject'] = () => undefined;
  const stored = new Promise<StoredIn>((onStored, onFailed) => {
    resolve = onStored;
    reject = onFailed;
  });
  return { lines: [], length: 0, stored, resolve, reject };
}

/** The timestamp at the end of a line of line protocol. */
function timeOf(line: string): number {
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}
