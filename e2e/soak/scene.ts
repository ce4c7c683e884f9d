import { setTimeout as delay } from 'node:timers/promises';
import { rounded } from '../bench/figures.ts';
import { residentBytes } from '../bench/processor.ts';
import { TelemetryBench } from '../bench/telemetry-bench.ts';
import type { Traffic, TrafficReport } from '../bench/traffic.ts';
import { memoryTrend, stretchesOf } from './memory-trend.ts';
import { OwnInfluxdb } from './own-influxdb.ts';
import type { Guarantee } from './report.ts';

const LOOK_EVERY_MS = 1_000;
const TELL_EVERY_MS = 10_000;
const EMPTY_POLL_MS = 250;
/** A sender that is behind its time by more than this is taken for one that hangs. */
const BEHIND_LIMIT_MS = 60_000;
/** What is stored is counted again for so long until it is all. */
const STORED_LIMIT_MS = 60_000;
const STORED_POLL_MS = 2_000;
const WATCHED = ['messages_total', 'spool_bytes', 'spool_age_seconds'] as const;

/** Ingestion at a moment, in milliseconds since 1970. */
export interface Observation {
  readonly atMs: number;
  readonly residentBytes: number;
  /** Messages that it has received since it was started. */
  readonly messages: number;
  readonly spoolBytes: number;
  readonly spoolAgeSeconds: number;
}

/** A guarantee had no chance to hold: something that a scenario waits for did not come. */
export class SoakError extends Error {
  override readonly name = 'SoakError';
  readonly code = 'soak';
}

/** Megabytes, for people. */
export function megabytes(bytes: number): number {
  return rounded(bytes / 1e6);
}

/** A number with its thousands apart. */
export function grouped(value: number): string {
  return value.toLocaleString('en');
}

/**
 * What a piece of work gives.
 * @throws SoakError where it takes longer
 */
export async function within<T>(work: Promise<T>, limitMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new SoakError(`${what} took longer than ${Math.round(limitMs / 1_000)} s`);
    timer = setTimeout(() => reject(error), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A started system under telemetry, with an InfluxDB that can be away; progress is told line by line. */
export class SoakScene {
  private constructor(
    readonly bench: TelemetryBench,
    readonly influxdb: OwnInfluxdb,
    private readonly onProgress: (line: string) => void,
    private readonly startedAtMs = Date.now(),
  ) {}

  /** Starts everything; ingestion knows so many devices. */
  static async start(devices: number, onProgress: (line: string) => void): Promise<SoakScene> {
    const influxdb = await OwnInfluxdb.start();
    try {
      return new SoakScene(await TelemetryBench.start(devices, onProgress), influxdb, onProgress);
    } catch (error) {
      await influxdb.stop();
      throw error;
    }
  }

  /** Tells of something that has happened, with the seconds since the start. */
  tell(line: string): void {
    const seconds = ((Date.now() - this.startedAtMs) / 1_000).toFixed(0);
    this.onProgress(`${seconds.padStart(6)} s  ${line}`);
  }

  /** Begins to send to ingestion at QoS 1; `sent` rejects where it takes a minute longer than it should. */
  async send(
    traffic: Pick<Traffic, 'devices' | 'perSecond' | 'durationMs'>,
  ): Promise<{ readonly startAtMs: number; readonly sent: Promise<TrafficReport> }> {
    const { topicRoot } = this.bench.ingestion;
    const { startAtMs, sent } = await this.bench.send({ ...traffic, topicRoot, qos: 1, framesAreMade: 'meanwhile' });
    const limitMs = startAtMs - Date.now() + traffic.durationMs + BEHIND_LIMIT_MS;
    return { startAtMs, sent: within(sent, limitMs, 'sending') };
  }

  /**
   * Looks at ingestion each second while some work goes on.
   * @throws Error where ingestion cannot be looked at any more
   */
  async observed<T>(work: Promise<T>): Promise<{ readonly result: T; readonly observations: readonly Observation[] }> {
    const observations: Observation[] = [];
    const end = new AbortController();
    const looking = this.#lookUntil(end.signal, observations);
    try {
      return { result: await Promise.race([work, looking.then(() => work)]), observations };
    } finally {
      end.abort();
      await looking;
    }
  }

  /** When nothing waited any more, neither in memory nor in the spool; undefined where something did until the end. */
  async emptyAtMs(limitMs: number): Promise<number | undefined> {
    return this.#allZeroAtMs(['spool_bytes', 'waiting_lines', 'in_hand'], limitMs);
  }

  /** When nothing waited in the spool any more, whatever goes on; undefined where something did until the end. */
  async spoolEmptyAtMs(limitMs: number): Promise<number | undefined> {
    return this.#allZeroAtMs(['spool_bytes'], limitMs);
  }

  /** Whether InfluxDB has every number of a time, as often as it was sent: once. */
  async expectAll(sent: number, time: Pick<TrafficReport, 'startAtMs' | 'endedAtMs'>): Promise<Guarantee> {
    const untilMs = Date.now() + STORED_LIMIT_MS;
    for (;;) {
      const { numbers, points } = await this.bench.storedOf(this.bench.ingestion, time);
      const holds = numbers === sent && points === sent;
      if (holds || Date.now() > untilMs) {
        const found = `${grouped(sent)} sent, ${grouped(numbers)} distinct numbers in ${grouped(points)} points`;
        return { promise: 'none that the broker took at QoS 1 is missing, none is there twice', found, holds };
      }
      await delay(STORED_POLL_MS);
    }
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    await this.bench.stop();
    await this.influxdb.stop();
  }

  async #lookUntil(end: AbortSignal, observations: Observation[]): Promise<void> {
    let toldAtMs = Date.now();
    while (!end.aborted) {
      const before = observations.at(-1);
      const now = await this.#look();
      observations.push(now);
      if (before !== undefined && now.atMs - toldAtMs >= TELL_EVERY_MS) {
        toldAtMs = now.atMs;
        const perSecond = ((now.messages - before.messages) * 1_000) / (now.atMs - before.atMs);
        this.tell(
          `ingestion ${megabytes(now.residentBytes)} MB, ${Math.round(perSecond)} messages/s, spool ${megabytes(now.spoolBytes)} MB, oldest ${Math.round(now.spoolAgeSeconds)} s`,
        );
      }
      await delay(LOOK_EVERY_MS);
    }
  }

  async #allZeroAtMs(names: readonly string[], limitMs: number): Promise<number | undefined> {
    const untilMs = Date.now() + limitMs;
    while (Date.now() < untilMs) {
      // Killed a moment ago, it does not answer before it has started again.
      const figures = await this.bench.figures(names).catch(() => undefined);
      if (figures !== undefined && Object.values(figures).every((value) => value === 0)) return Date.now();
      await delay(EMPTY_POLL_MS);
    }
    return undefined;
  }

  async #look(): Promise<Observation> {
    const figures = await this.bench.figures(WATCHED);
    return {
      atMs: Date.now(),
      residentBytes: residentBytes(this.bench.ingestion.pid),
      messages: figures.messages_total,
      spoolBytes: figures.spool_bytes,
      spoolAgeSeconds: figures.spool_age_seconds,
    };
  }
}

/** Whether memory stayed within a time, by its trend over stretches. */
export function expectFlat(
  observations: readonly Observation[],
  { fromMs, toMs, stretchMs, maxGrowthShare }: MemoryLimits,
): Guarantee {
  const samples = observations.map((one) => ({ atMs: one.atMs, value: one.residentBytes }));
  const trend = memoryTrend(stretchesOf(samples, fromMs, toMs, stretchMs));
  const percent = rounded(trend.growthShare * 100);
  return {
    promise: `ingestion's memory grows by ${maxGrowthShare * 100} % at most`,
    found: `${percent} % (${megabytes(trend.bytesPerMinute)} MB a minute), median ${megabytes(trend.medianBytes)} MB, at most ${megabytes(trend.mostBytes)} MB`,
    // Not a number where nothing was seen.
    holds: trend.growthShare <= maxGrowthShare,
  };
}

/** Over which time memory is judged, by medians of which stretches, and what it may grow by. */
export interface MemoryLimits {
  readonly fromMs: number;
  readonly toMs: number;
  readonly stretchMs: number;
  readonly maxGrowthShare: number;
}
