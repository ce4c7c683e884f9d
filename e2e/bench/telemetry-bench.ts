import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deviceId } from '@muster/contract';
import { discover, openDatabase } from '@muster/database';
import { freePort } from '@muster/engines';
import { ingestionFigures } from '../ingestion-figures.ts';
import { publish, StartedSystem, stateFolder } from '../system.ts';
import { say } from './figures.ts';
import { processorMs, residentBytes } from './processor.ts';
import {
  benchDevice,
  topicOf,
  type FromPublisher,
  type ToPublisher,
  type Traffic,
  type TrafficReport,
} from './traffic.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const PROBE_LIMIT_MS = 60_000;
const QUERY_LIMIT_MS = 60_000;
const POLL_MS = 100;
const STALLED_MS = 20_000;
/** InfluxDB has everything before PostgreSQL has the last readings of it: a process is done when it is nearly idle. */
const SETTLE_MS = 1_000;
const SETTLED_SHARE = 0.1;
const SETTLE_LIMIT_MS = 60_000;
const MEMORY_INTERVAL_MS = 100;
const IDLE_MS = 5_000;
/** Figures of the broker and of ingestion come every 10 s. */
const STATISTICS_MS = 21_000;
const AT_ONCE = 10_000;
/** A query for more telemetry than this at once would keep InfluxDB from what it is measured by. */
const COUNT_AT_ONCE_MS = 60_000;

/** Who takes telemetry from the broker into InfluxDB. */
export interface Consumer {
  readonly pid: number;
  /** The first level of the topics that only it reads. */
  readonly topicRoot: string;
  readonly measurement: string;
}

/** What one stretch of traffic has cost. */
export interface Phase {
  readonly sent: number;
  /** PUBACKs to the publishers; 0 at QoS 0. */
  readonly acknowledged: number;
  /** Points that InfluxDB has of it. */
  readonly stored: number;
  /** Whether all has arrived; where it has not, the figures do not count. */
  readonly isComplete: boolean;
  readonly offeredPerSecond: number;
  /** To the moment at which InfluxDB had the last point. */
  readonly reachedPerSecond: number;
  /** Microseconds of processor a message, of user and system, of each process. */
  readonly us: {
    readonly consumer: number;
    readonly broker: number;
    readonly influxdb: number;
    readonly publisher: number;
  };
  /** Processor of the consumer to that of the broker. */
  readonly toBroker: number;
  readonly peakResidentBytes: number;
  readonly lateMs: number;
}

/** The rate that benches of ingestion offer; `MUSTER_BENCH_RATE` sets another one. */
export function benchRate(): number {
  const rate = Number(process.env['MUSTER_BENCH_RATE'] ?? 20_000);
  if (Number.isInteger(rate) && rate > 0) return rate;
  throw new Error(
    `MUSTER_BENCH_RATE: expected messages a second, found ${JSON.stringify(process.env['MUSTER_BENCH_RATE'])}`,
  );
}

/** A started system under telemetry, and what its processes spend on it. */
export class TelemetryBench {
  private constructor(
    readonly system: StartedSystem,
    private readonly publisher: ChildProcess,
    private readonly metricsPort: number,
  ) {}

  /** Starts the system, whose ingestion knows so many devices when this resolves. */
  static async start(devices: number, tell: (line: string) => void = say): Promise<TelemetryBench> {
    // A thousand devices send what ten thousand would: their pace is not what is measured.
    process.env['MUSTER_DEVICE_MESSAGES_PER_SECOND'] = '1000000';
    tell('starting the system');
    const port = await freePort();
    const system = await StartedSystem.start(['--devices', '0', '--port', `ingestion=${port}`, '--dir', stateFolder()]);
    const jiti = path.join(ROOT, 'node_modules/jiti/lib/jiti-cli.mjs');
    const publisher = fork(jiti, [path.join(import.meta.dirname, 'publisher-process.ts')], { cwd: ROOT });
    const bench = new TelemetryBench(system, publisher, port);
    try {
      await bench.#acquaint(devices);
    } catch (error) {
      await bench.stop();
      throw error;
    }
    return bench;
  }

  /** Muster's own ingestion. */
  get ingestion(): Consumer {
    return { pid: this.system.pidOf('ingestion'), topicRoot: 'devices', measurement: 'telemetry' };
  }

  /** Resolves when a consumer is seen to read from the broker and to write to InfluxDB. */
  async whenReads({ topicRoot, measurement }: Consumer): Promise<void> {
    const startedAtMs = Date.now();
    // Another time in each message: what is told of the past is told of this start.
    while ((await this.#count(measurement, startedAtMs, Date.now())) === 0) {
      if (Date.now() - startedAtMs > PROBE_LIMIT_MS)
        throw new Error(`nothing of ${topicRoot}/# has come to ${measurement} within ${PROBE_LIMIT_MS} ms`);
      const payload = `{"temp":20,"ts":${Date.now()},"seq":1}`;
      await publish(this.system.address, '-t', topicOf(topicRoot, 0), '-m', payload, '-q', '1');
      await delay(POLL_MS);
    }
  }

  /** Bytes that a consumer has in memory when nothing is asked of it. */
  async idleBytes({ pid }: Consumer): Promise<number> {
    await delay(IDLE_MS);
    return residentBytes(pid);
  }

  /** Figures of ingestion's metrics as they stand, each the sum over its labels. */
  async figures<Name extends string>(names: readonly Name[]): Promise<Readonly<Record<Name, number>>> {
    return ingestionFigures(`http://127.0.0.1:${this.metricsPort}`, names);
  }

  /** Begins to send traffic as soon as the publisher is ready; when the broker has all of it, `sent` resolves. */
  async send(traffic: Traffic): Promise<{ readonly startAtMs: number; readonly sent: Promise<TrafficReport> }> {
    const { startAtMs } = await this.#tell(traffic);
    return { startAtMs, sent: this.#answer('sent').then(({ report }) => report) };
  }

  /** Points that InfluxDB has of some traffic, and how many numbers: of each device, each counts once. */
  async storedOf(
    { measurement }: Pick<Consumer, 'measurement'>,
    { startAtMs, endedAtMs }: Pick<TrafficReport, 'startAtMs' | 'endedAtMs'>,
  ): Promise<{ readonly numbers: number; readonly points: number }> {
    const total = { numbers: 0, points: 0 };
    for (let fromMs = startAtMs; fromMs <= endedAtMs; fromMs += COUNT_AT_ONCE_MS) {
      const toMs = Math.min(fromMs + COUNT_AT_ONCE_MS, endedAtMs + 1);
      const rows = await this.#query(
        `SELECT count(distinct("seq")), count("seq") FROM "${measurement}" WHERE time >= ${fromMs}ms AND time < ${toMs}ms GROUP BY "device"`,
      );
      for (const [, numbers = 0, points = 0] of rows) {
        total.numbers += numbers;
        total.points += points;
      }
    }
    return total;
  }

  /** Sends traffic and waits until InfluxDB has all of it, or gets no more. */
  async phase(consumer: Consumer, traffic: Omit<Traffic, 'topicRoot' | 'framesAreMade'>): Promise<Phase> {
    const pids = {
      consumer: consumer.pid,
      broker: this.system.pidOf('mosquitto-0'),
      influxdb: this.system.pidOf('influxdb'),
      publisher: this.publisher.pid ?? 0,
    };
    const used = (): Phase['us'] => ({
      consumer: processorMs(pids.consumer),
      broker: processorMs(pids.broker),
      influxdb: processorMs(pids.influxdb),
      publisher: processorMs(pids.publisher),
    });
    let peakResidentBytes = 0;
    const memory = setInterval(() => {
      peakResidentBytes = Math.max(peakResidentBytes, residentBytes(consumer.pid));
    }, MEMORY_INTERVAL_MS);
    try {
      const { sent } = await this.send({ ...traffic, topicRoot: consumer.topicRoot, framesAreMade: 'before' });
      const before = used();
      const report = await sent;
      const { stored, storedAtMs } = await this.whenStored(consumer, report);
      await whenIdle(consumer.pid);
      const after = used();
      const us = (name: keyof Phase['us']): number => ((after[name] - before[name]) * 1_000) / report.count;
      const { count, acknowledged, startAtMs, lateMs } = report;
      return {
        ...{ sent: count, acknowledged, stored, peakResidentBytes, lateMs },
        isComplete: stored === count && (traffic.qos === 0 || acknowledged === count),
        offeredPerSecond: traffic.perSecond,
        reachedPerSecond: (count * 1_000) / (storedAtMs - startAtMs),
        us: { consumer: us('consumer'), broker: us('broker'), influxdb: us('influxdb'), publisher: us('publisher') },
        toBroker: us('consumer') / us('broker'),
      };
    } finally {
      clearInterval(memory);
    }
  }

  /** Waits until InfluxDB has all points of some traffic, or gets no more; answers how many, and since when. */
  async whenStored(
    { measurement }: Pick<Consumer, 'measurement'>,
    report: TrafficReport,
  ): Promise<{ readonly stored: number; readonly storedAtMs: number }> {
    let stored = 0;
    let changedAtMs = Date.now();
    for (;;) {
      const now = await this.#count(measurement, report.startAtMs, report.endedAtMs + 1);
      if (now !== stored) changedAtMs = Date.now();
      stored = now;
      if (stored >= report.count || Date.now() - changedAtMs > STALLED_MS) return { stored, storedAtMs: changedAtMs };
      await delay(POLL_MS);
    }
  }

  /** What ingestion and the broker have counted by themselves of what they dropped or refused, since they started. */
  async drops(): Promise<string> {
    await delay(STATISTICS_MS);
    const last = async (measurement: string, field: string): Promise<number> =>
      (await this.#value(`SELECT last("${field}") FROM "${measurement}" WHERE time > now() - 1m`)) ?? 0;
    const [received, dropped, overQuota, refused, byBroker] = await Promise.all([
      ...['messages', 'dropped', 'over_quota', 'refused_total'].map((field) => last('ingestion', field)),
      last('broker', 'publish_dropped'),
    ]);
    return `ingestion has received ${received} in all, dropped ${dropped} of QoS 0 because too many were in hand, ${overQuota} beyond the quota, refused ${refused}; the broker has dropped ${byBroker}`;
  }

  async stop(): Promise<void> {
    if (this.publisher.connected) this.publisher.disconnect();
    await this.system.stop();
  }

  /** Ingestion makes a thousand new devices a minute; those that are known when it starts are not new. */
  async #acquaint(devices: number): Promise<void> {
    const database = openDatabase(this.system.address.postgres.url, 'bench', 1);
    const ids = Array.from({ length: devices }, (_, index) => deviceId(benchDevice(index)));
    for (let from = 0; from < devices; from += AT_ONCE) await discover(database, ids.slice(from, from + AT_ONCE));
    await database.$disconnect();
    const before = this.system.pidOf('ingestion');
    process.kill(before, 'SIGTERM');
    while (this.system.pidOf('ingestion') === before) await delay(POLL_MS);
    await this.whenReads(this.ingestion);
  }

  /** Resolves when the publisher is ready, before it sends the first message. */
  async #tell(traffic: Traffic): Promise<{ readonly startAtMs: number }> {
    const { broker } = this.system.address;
    const { hostname: host, port } = new URL(broker.urls[0] ?? '');
    const { username, password } = broker;
    const message: ToPublisher = { broker: { host, port: Number(port), username, password }, traffic };
    this.publisher.send(message);
    return this.#answer('built');
  }

  async #answer<Kind extends FromPublisher['kind']>(kind: Kind): Promise<Extract<FromPublisher, { kind: Kind }>> {
    const abort = new AbortController();
    try {
      const [message] = (await Promise.race([
        once(this.publisher, 'message', { signal: abort.signal }),
        once(this.publisher, 'exit', { signal: abort.signal }).then(() => [undefined]),
      ])) as [FromPublisher | undefined];
      if (message?.kind !== kind) throw new Error(`the publisher did not answer ${kind}: ${JSON.stringify(message)}`);
      return message as Extract<FromPublisher, { kind: Kind }>;
    } finally {
      abort.abort();
    }
  }

  /** Points with device times between two moments. */
  async #count(measurement: string, fromMs: number, toMs: number): Promise<number> {
    return (
      (await this.#value(
        `SELECT count("seq") FROM "${measurement}" WHERE time >= ${fromMs}ms AND time <= ${toMs}ms`,
      )) ?? 0
    );
  }

  /** The one value that a query gives; undefined where it gives none. */
  async #value(query: string): Promise<number | undefined> {
    const [row] = await this.#query(query);
    return row?.[1];
  }

  /** The rows that a query gives, of all series: each a time and its values. */
  async #query(query: string): Promise<readonly (readonly number[])[]> {
    const { url, database, username, password } = this.system.address.influxdb;
    const answer = await fetch(`${url}/query?db=${database}&epoch=ms&q=${encodeURIComponent(query)}`, {
      headers: { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` },
      signal: AbortSignal.timeout(QUERY_LIMIT_MS),
    });
    const { results } = (await answer.json()) as {
      readonly results: readonly { readonly series?: readonly { readonly values: readonly number[][] }[] }[];
    };
    return (results[0]?.series ?? []).flatMap(({ values }) => values);
  }
}

/** Resolves when a process has next to nothing to do, or does not come to that within a minute. */
export async function whenIdle(pid: number): Promise<void> {
  const deadlineMs = Date.now() + SETTLE_LIMIT_MS;
  for (let usedMs = SETTLE_MS; usedMs > SETTLE_MS * SETTLED_SHARE && Date.now() < deadlineMs;) {
    const before = processorMs(pid);
    await delay(SETTLE_MS);
    usedMs = processorMs(pid) - before;
  }
}
