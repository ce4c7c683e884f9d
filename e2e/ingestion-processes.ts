import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { migrate } from '@muster/database';
import {
  freePort,
  influxdbSource,
  postgresSource,
  postgresUrl,
  startInfluxdb,
  startPostgres,
  type ManagedProcess,
} from '@muster/engines';
import { Influx, type InfluxTarget } from '@muster/telemetry';
import { Client } from 'pg';
import { expect, vi } from 'vitest';
import { LoneBroker } from './lone-broker.ts';

const MAIN = path.join(import.meta.dirname, '../apps/ingestion/dist/main.js');
const account = { username: 'muster', password: 'end-to-end-tests-only' };
const START_LIMIT_MS = 60_000;
const STORED_LIMIT_MS = 60_000;

/** Which of the ingestion processes one is, of how many. */
export interface Place {
  readonly ordinal: number;
  readonly replicas: number;
  /** Its spool; that of an earlier process is its successor's, as the volume of a StatefulSet is. */
  readonly spool: string;
  /** What else its environment says. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** One process of ingestion, as Kubernetes would run it: nobody starts it again. */
export class IngestionProcess {
  readonly log: Readonly<Record<string, unknown>>[] = [];
  readonly #child: ChildProcess;
  readonly #url: string;
  readonly #ended: Promise<number | null>;

  constructor(environment: Readonly<Record<string, string>>, port: number) {
    this.#url = `http://127.0.0.1:${port}`;
    this.#child = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env['PATH'], ...environment, MUSTER_HTTP_PORT: String(port) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { stdout } = this.#child;
    if (stdout !== null)
      createInterface(stdout).on('line', (line) => this.log.push(JSON.parse(line) as Record<string, unknown>));
    this.#ended = new Promise((resolve) => this.#child.once('close', (code) => resolve(code)));
  }

  /** How often it has said something. */
  said(message: string): number {
    return this.log.filter(({ msg }) => msg === message).length;
  }

  /** Resolves when all brokers that are its own let it in. */
  async whenReady(): Promise<void> {
    const deadlineMs = Date.now() + START_LIMIT_MS;
    for (;;) {
      const answer = await fetch(`${this.#url}/readyz`).catch(() => undefined);
      if (answer?.status === 200) return;
      if (this.#child.exitCode !== null || Date.now() > deadlineMs)
        throw new Error(`ingestion is not ready: ${JSON.stringify(this.log)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** A figure of its metrics by broker, or under the empty name where it is kept by none. */
  async figures(name: string): Promise<Readonly<Record<string, number>>> {
    const text = await (await fetch(`${this.#url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`muster_ingestion_${name}`));
    return Object.fromEntries(
      lines.map((line) => [/broker="([^"]*)"/.exec(line)?.[1] ?? '', Number(line.slice(line.lastIndexOf(' ') + 1))]),
    );
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGTERM; answers its exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return this.#ended;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

/**
 * Brokers, InfluxDB and PostgreSQL for processes of ingestion that a test starts and ends itself. No system stands
 * behind them: its supervisor would start again whatever is ended, and take the sessions back.
 */
export class IngestionEngines {
  readonly #stops: (() => Promise<unknown>)[] = [];
  readonly #influx: Influx;
  readonly #processes: IngestionProcess[] = [];

  private constructor(
    readonly brokers: readonly LoneBroker[],
    readonly influxdb: InfluxTarget,
    readonly postgresUrl: string,
    engines: readonly ManagedProcess[],
  ) {
    this.#influx = new Influx(influxdb);
    for (const broker of brokers) this.#stops.push(() => broker.stop());
    for (const engine of engines) this.#stops.push(() => engine.stop(10_000));
  }

  /** Starts them, with so many brokers. */
  static async start(brokerCount: number): Promise<IngestionEngines> {
    const say = (line: string): void => void process.stderr.write(`${line}\n`);
    const plan = async (name: string): Promise<{ folder: string; logFile: string; port: number } & typeof account> => {
      const folder = mkdtempSync(path.join(tmpdir(), `muster-${name}-`));
      return {
        folder: path.join(folder, 'data'),
        logFile: path.join(folder, 'log'),
        port: await freePort(),
        ...account,
      };
    };
    const influxPlan = { ...(await plan('influxdb')), database: 'muster' };
    const postgresPlan = { ...(await plan('postgres')), database: 'muster' };
    const influxd = await startInfluxdb(influxPlan, await influxdbSource('auto', say));
    const postgres = await startPostgres(postgresPlan, postgresSource('auto'), say);
    const brokers: LoneBroker[] = [];
    for (let index = 0; index < brokerCount; index += 1) brokers.push(await LoneBroker.start());
    const url = postgresUrl(postgresPlan);
    await migrate(url);
    const influxdb = { url: `http://127.0.0.1:${influxPlan.port}`, database: 'muster', ...account };
    return new IngestionEngines(brokers, influxdb, url, [influxd, postgres]);
  }

  /** A folder for the spool of one ordinal. */
  newSpool(): string {
    return mkdtempSync(path.join(tmpdir(), 'muster-spool-'));
  }

  /** A broker by its place in the list. */
  broker(index: number): LoneBroker {
    const broker = this.brokers[index];
    if (broker === undefined) throw new Error(`there is no broker ${index}`);
    return broker;
  }

  /** Starts a process and does not wait for it. */
  async launch({ ordinal, replicas, spool, environment = {} }: Place): Promise<IngestionProcess> {
    const { username, password } = this.broker(0).account;
    const launched = new IngestionProcess(
      {
        MUSTER_BROKERS: this.brokers.map(({ url }, index) => `mosquitto-${index}=${url}`).join(','),
        MUSTER_BROKER_USERNAME: username,
        MUSTER_BROKER_PASSWORD: password,
        MUSTER_POSTGRES_URL: this.postgresUrl,
        MUSTER_INFLUXDB_URL: this.influxdb.url,
        MUSTER_INFLUXDB_USERNAME: this.influxdb.username,
        MUSTER_INFLUXDB_PASSWORD: this.influxdb.password,
        // One device sends what a fleet does.
        MUSTER_DEVICE_MESSAGES_PER_SECOND: '100000',
        MUSTER_SPOOL_FOLDER: spool,
        MUSTER_INGESTION_ORDINAL: String(ordinal),
        MUSTER_INGESTION_REPLICAS: String(replicas),
        ...environment,
      },
      await freePort(),
    );
    this.#processes.push(launched);
    return launched;
  }

  /** Starts a process and waits until its brokers let it in. */
  async run(place: Place): Promise<IngestionProcess> {
    const launched = await this.launch(place);
    await launched.whenReady();
    return launched;
  }

  /** Resolves when InfluxDB has every number of a device, from 1 to the last, and each once. */
  async expectAll(device: string, sent: number): Promise<void> {
    await vi.waitFor(
      async () => {
        const [row] = await this.#influx.query(
          `SELECT count(distinct(seq)) AS numbers, count(seq) AS points, max(seq) AS newest FROM telemetry WHERE device = '${device}' AND time > now() - 2h`,
        );
        expect(row).toMatchObject({ numbers: sent, points: sent, newest: sent });
      },
      { timeout: STORED_LIMIT_MS, interval: 250 },
    );
  }

  /** The rows of an InfluxQL query. */
  async influxql(query: string): ReturnType<Influx['query']> {
    return this.#influx.query(query);
  }

  /** Writes lines past ingestion. */
  async writeLines(...lines: readonly string[]): ReturnType<Influx['write']> {
    return this.#influx.write(lines.join('\n'));
  }

  /** The rows of a query to PostgreSQL. */
  async sql(query: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const client = new Client({ connectionString: this.postgresUrl });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(query)).rows;
    } finally {
      await client.end();
    }
  }

  /** Ends the processes that were started. */
  async endProcesses(): Promise<void> {
    await Promise.all(this.#processes.splice(0).map((one) => one.stop()));
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    await this.endProcesses();
    await Promise.all(this.#stops.map((stop) => stop()));
  }
}
