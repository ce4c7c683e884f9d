import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deviceId } from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import { migrate } from '@muster/database';
import {
  EngineError,
  freePort,
  influxdbProgram,
  lastWords,
  ManagedProcess,
  mosquittoProgram,
  postgresUrl,
  ProcessLedger,
  startInfluxdb,
  startMosquitto,
  startPostgres,
  StateFolder,
} from '@muster/engines';
import { VirtualDevice } from '@muster/simulator';
import { choosePorts, type PortName, type UpOptions } from './settings.ts';
import { Supervisor, type SupervisorEvent } from './supervisor.ts';
import { watchBuilds } from './watch.ts';

/** Where everything of a running system is, as `--json` prints it. */
export interface SystemAddress {
  readonly ready: true;
  /** An origin; `token` is null where none is needed. */
  readonly api: { readonly url: string; readonly token: string | null };
  readonly console: { readonly url: string };
  readonly broker: { readonly urls: readonly string[]; readonly username: string; readonly password: string };
  readonly influxdb: {
    readonly url: string;
    readonly database: string;
    readonly username: string;
    readonly password: string;
  };
  readonly postgres: { readonly url: string };
  readonly pids: Readonly<Record<string, number>>;
}

/** Who is told what goes on. */
export interface SystemObserver {
  readonly onStep: (line: string) => void;
  readonly onEvent: (event: SupervisorEvent) => void;
}

const ACCOUNT = 'muster';
const DATABASE = 'muster';
/** This file is built to apps/cli/dist. */
const ROOT = path.join(import.meta.dirname, '../../..');
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 15_000;
const LEFTOVER_LIMIT_MS = 10_000;
const DEVICE_INTERVAL_MS = 5_000;

/** The services in the order in which they start; those of one layer start and stop together. */
const SERVICES = ['ingestion', 'presence', 'registry'] as const;
type ServiceName = (typeof SERVICES)[number];

/** The engines, services and virtual devices of a system on this machine. */
export class LocalSystem {
  readonly #folder: StateFolder;
  readonly #supervisor: Supervisor;
  readonly #ledger: ProcessLedger;
  #devices: readonly VirtualDevice[] = [];
  #stopWatching: () => Promise<void> = () => Promise.resolve();
  #ports: Readonly<Record<PortName, number>> | undefined;

  private constructor(
    private readonly options: UpOptions,
    private readonly observer: SystemObserver,
  ) {
    this.#folder = StateFolder.take(options.dir);
    this.#ledger = new ProcessLedger(this.#folder.path);
    this.#supervisor = new Supervisor(this.#ledger, observer.onEvent);
  }

  /**
   * Takes the state folder; nothing runs yet.
   * @throws EngineError `folder-in-use`
   */
  static prepare(options: UpOptions, observer: SystemObserver): LocalSystem {
    return new LocalSystem(options, observer);
  }

  /** URL of ingestion's metrics. */
  get ingestionMetricsUrl(): string {
    return `http://127.0.0.1:${this.#ports?.ingestion}/metrics`;
  }

  /**
   * Starts everything; resolves when every service is ready.
   * @throws EngineError, MigrationError; call stop() then too
   */
  async start(): Promise<SystemAddress> {
    const { onStep } = this.observer;
    const leftovers = await this.#ledger.endLeftovers(LEFTOVER_LIMIT_MS);
    if (leftovers.length > 0) onStep(`ended what an earlier start left running: ${leftovers.join(', ')}`);
    const ports = await choosePorts(this.options);
    this.#ports = ports;
    const secrets = this.#folder.secrets();
    const postgres = { port: ports.postgres, database: DATABASE, username: ACCOUNT, password: secrets.postgres };
    const influxdb = { port: ports.influxdb, database: DATABASE, username: ACCOUNT, password: secrets.influxdb };
    const brokerPorts = [ports.broker];
    while (brokerPorts.length < this.options.brokers) brokerPorts.push(await freePort());
    const brokers = brokerPorts.map((port, index): BrokerTarget => ({
      name: `mosquitto-${index}`,
      url: `mqtt://127.0.0.1:${port}`,
      username: ACCOUNT,
      password: secrets.broker,
    }));

    // One after the other: two package managers at once would wait for each other's lock.
    await mosquittoProgram(onStep);
    await influxdbProgram(onStep);
    onStep('starting PostgreSQL, InfluxDB and Mosquitto');
    await settleAll([
      this.#engine('postgres', (folder, logFile) => startPostgres({ ...postgres, folder, logFile }, onStep)),
      this.#engine('influxdb', (folder, logFile) => startInfluxdb({ ...influxdb, folder, logFile }, onStep)),
      ...brokers.map(({ name }, index) =>
        this.#engine(name, (folder, logFile) =>
          startMosquitto(
            { name, folder, logFile, port: brokerPorts[index] ?? 0, username: ACCOUNT, password: secrets.broker },
            onStep,
          ),
        ),
      ),
    ]);

    onStep('applying migrations');
    const databaseUrl = postgresUrl(postgres);
    const applied = await migrate(databaseUrl);
    if (applied.length > 0)
      onStep(`applied ${applied.length === 1 ? 'one migration' : `${applied.length} migrations`}`);

    onStep(`starting ${SERVICES.join(', ')}`);
    const environment = {
      MUSTER_HTTP_HOST: '127.0.0.1',
      MUSTER_POSTGRES_URL: databaseUrl,
      MUSTER_BROKERS: brokers.map(({ name, url }) => `${name}=${url}`).join(','),
      MUSTER_BROKER_USERNAME: ACCOUNT,
      MUSTER_BROKER_PASSWORD: secrets.broker,
      MUSTER_INFLUXDB_URL: `http://127.0.0.1:${ports.influxdb}`,
      MUSTER_INFLUXDB_DATABASE: DATABASE,
      MUSTER_INFLUXDB_USERNAME: ACCOUNT,
      MUSTER_INFLUXDB_PASSWORD: secrets.influxdb,
    };
    await settleAll(
      SERVICES.map((name) => this.#service(name, name === 'registry' ? ports.api : ports[name], environment)),
    );

    if (this.options.watch) {
      onStep('watching the sources; a service starts again when its build is new');
      this.#stopWatching = await watchBuilds({
        root: ROOT,
        services: SERVICES,
        logFile: (name) => this.#folder.logFile(name),
        onBuilt: (name) => this.#supervisor.restart(name),
      });
    }
    if (this.options.devices > 0) {
      onStep(`starting ${this.options.devices} virtual devices`);
      this.#startDevices(brokers);
    }
    const origin = `http://127.0.0.1:${ports.api}`;
    return {
      ready: true,
      api: { url: origin, token: null },
      console: { url: origin },
      broker: { urls: brokers.map(({ url }) => url), username: ACCOUNT, password: secrets.broker },
      influxdb: {
        url: environment.MUSTER_INFLUXDB_URL,
        database: DATABASE,
        username: ACCOUNT,
        password: secrets.influxdb,
      },
      postgres: { url: databaseUrl },
      pids: this.#supervisor.pids,
    };
  }

  /** Stops in order: devices say goodbye, services drain, engines last. Safe at any moment of the start. */
  async stop(): Promise<void> {
    await this.#stopWatching();
    const farewell = Promise.allSettled(this.#devices.map((device) => device.stop('shutdown')));
    await Promise.race([farewell, delay(5_000, undefined, { ref: false })]);
    const brokers = Object.keys(this.#supervisor.pids).filter((name) => name.startsWith('mosquitto-'));
    await this.#supervisor.stop([[...SERVICES], brokers, ['influxdb', 'postgres']], STOP_LIMIT_MS);
    this.#folder.release();
  }

  async #engine(name: string, start: (folder: string, logFile: string) => Promise<ManagedProcess>): Promise<void> {
    await this.#supervisor.start({ name, start: () => start(this.#folder.folder(name), this.#folder.logFile(name)) });
  }

  async #service(name: ServiceName, port: number, environment: Readonly<Record<string, string>>): Promise<void> {
    const logFile = this.#folder.logFile(name);
    const service = await this.#supervisor.start({
      name,
      start: () =>
        ManagedProcess.start({
          name,
          command: process.execPath,
          args: ['--enable-source-maps', path.join(ROOT, 'apps', name, 'dist/main.js')],
          cwd: this.#folder.path,
          env: { ...environment, MUSTER_HTTP_PORT: String(port) },
          logFile,
        }),
    });
    await waitUntilReady(name, service, port, logFile);
  }

  #startDevices(brokers: readonly BrokerTarget[]): void {
    const width = String(this.options.devices).length;
    this.#devices = Array.from({ length: this.options.devices }, (_, index) => {
      const broker = brokers[index % brokers.length];
      if (broker === undefined) throw new Error('a system has at least one broker');
      const id = deviceId(`virtual-${String(index + 1).padStart(width, '0')}`);
      return new VirtualDevice({ id, broker, intervalMs: DEVICE_INTERVAL_MS, onError: () => undefined });
    });
    for (const device of this.#devices) device.start();
  }
}

/** Waits for all, also when one fails: what has been started must be known before anything is stopped. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function waitUntilReady(name: string, service: ManagedProcess, port: number, logFile: string): Promise<void> {
  const deadline = Date.now() + READY_LIMIT_MS;
  let state = 'no answer';
  while (Date.now() < deadline) {
    if (service.end !== undefined)
      throw new EngineError('did-not-start', `${name} ended at its start; ${lastWords(logFile)}`);
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(3_000) });
      if (answer.ok) return;
      state = JSON.stringify(((await answer.json()) as { checks?: unknown }).checks);
    } catch {
      // It does not listen yet; the deadline bounds the waiting.
    }
    await delay(50);
  }
  throw new EngineError(
    'did-not-start',
    `${name} was not ready within ${READY_LIMIT_MS / 1000} s (${state}); ${lastWords(logFile)}`,
  );
}
