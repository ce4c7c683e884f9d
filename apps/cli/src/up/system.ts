import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deviceId } from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import { migrate } from '@muster/database';
import { EngineError, lastWords, ManagedProcess, ProcessLedger, StateFolder } from '@muster/engines';
import type { InfluxTarget } from '@muster/telemetry';
import { VirtualDevice } from '@muster/simulator';
import { planEngines, type EnginePlan } from './engines.ts';
import { choosePorts, type PortName, type UpOptions } from './settings.ts';
import { Supervisor, type SupervisorEvent } from './supervisor.ts';
import { watchBuilds } from './watch.ts';

/** Where everything of a running system is, as `--json` prints it. */
export interface SystemAddress {
  readonly ready: true;
  /** An origin; `token` is null where none is needed. */
  readonly api: { readonly url: string; readonly token: string | null };
  readonly console: { readonly url: string };
  readonly broker: {
    readonly urls: readonly string[];
    readonly username: string | null;
    readonly password: string | null;
  };
  readonly influxdb: InfluxTarget;
  readonly postgres: { readonly url: string };
  readonly pids: Readonly<Record<string, number>>;
}

/** Who is told what goes on. */
export interface SystemObserver {
  readonly onStep: (line: string) => void;
  readonly onEvent: (event: SupervisorEvent) => void;
}

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
    const engines = await planEngines({
      folder: this.#folder,
      ports,
      brokers: this.options.brokers,
      way: this.options.engines,
      environment: process.env,
      onStep,
    });
    if (engines.components.length > 0) onStep(`starting ${engines.components.map(({ name }) => name).join(', ')}`);
    await settleAll(engines.components.map((component) => this.#supervisor.start(component)));

    onStep('applying migrations');
    const applied = await migrate(engines.postgresUrl);
    if (applied.length > 0) onStep(`applied ${applied.join(', ')}`);

    onStep(`starting ${SERVICES.join(', ')}`);
    const environment = serviceEnvironment(engines);
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
      this.#startDevices(engines.brokers);
    }
    const origin = `http://127.0.0.1:${ports.api}`;
    return {
      ready: true,
      api: { url: origin, token: null },
      console: { url: origin },
      broker: {
        urls: engines.brokers.map(({ url }) => url),
        username: engines.brokers[0]?.username ?? null,
        password: engines.brokers[0]?.password ?? null,
      },
      influxdb: engines.influxdb,
      postgres: { url: engines.postgresUrl },
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

  async #service(name: ServiceName, port: number, environment: Readonly<Record<string, string>>): Promise<void> {
    const logFile = this.#folder.logFile(name);
    const service = await this.#supervisor.start({
      name,
      start: () =>
        ManagedProcess.start({
          name,
          command: process.execPath,
          args: [path.join(ROOT, 'apps', name, 'dist/main.js')],
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

/** What the services are told, in the variables that they take. */
function serviceEnvironment({ postgresUrl, influxdb, brokers }: EnginePlan): Readonly<Record<string, string>> {
  const [{ username, password } = { username: undefined, password: undefined }] = brokers;
  const topicMap = process.env['MUSTER_TOPIC_MAP'];
  return {
    MUSTER_HTTP_HOST: '127.0.0.1',
    MUSTER_POSTGRES_URL: postgresUrl,
    MUSTER_BROKERS: brokers.map(({ name, url }) => `${name}=${url}`).join(','),
    ...(username === undefined ? {} : { MUSTER_BROKER_USERNAME: username }),
    ...(password === undefined ? {} : { MUSTER_BROKER_PASSWORD: password }),
    MUSTER_INFLUXDB_URL: influxdb.url,
    MUSTER_INFLUXDB_DATABASE: influxdb.database,
    MUSTER_INFLUXDB_USERNAME: influxdb.username,
    MUSTER_INFLUXDB_PASSWORD: influxdb.password,
    // Services run in the state folder, and the path was given from here.
    ...(topicMap === undefined ? {} : { MUSTER_TOPIC_MAP: path.resolve(topicMap) }),
  };
}

/** Waits for all, also when one fails: what has been started must be known before anything is stopped. */
async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
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
