import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { BrokerTarget } from '@muster/broker';
import { migrate, openDatabase } from '@muster/database';
import {
  EngineError,
  lastWords,
  ManagedProcess,
  MAX_CONNECTIONS,
  MAX_QUEUED_MESSAGES,
  ProcessLedger,
  StateFolder,
  type Secrets,
} from '@muster/engines';
import {
  AccountStore,
  ensureAdminToken,
  SERVICE_NAMES,
  serviceUsername,
  SHARED_USERNAME,
  type ServiceName,
} from '@muster/security';
import type { InfluxTarget } from '@muster/telemetry';
import type { ApiTarget } from '../api-client.ts';
import { planEngines, type BrokerPlan, type EnginePlan } from './engines.ts';
import { choosePorts, type PortName, type UpOptions } from './settings.ts';
import { Supervisor, type SupervisorEvent } from './supervisor.ts';
import { HomeFleet, saveFirstRules } from './home-fleet.ts';
import { watchBuilds } from './watch.ts';

/** Where everything of a running system is, as `--json` prints it. */
export interface SystemAddress {
  readonly ready: true;
  /** An origin, and a token with full rights. */
  readonly api: { readonly url: string; readonly token: string };
  readonly console: { readonly url: string };
  readonly broker: {
    /** Where devices connect. */
    readonly urls: readonly string[];
    /** Where services connect, in the same order. */
    readonly serviceUrls: readonly string[];
    /** The account that devices may share; null where it was not asked for. */
    readonly username: string | null;
    readonly password: string | null;
    /** The file with the authority behind their certificates; null without TLS. */
    readonly ca: string | null;
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

/** The services; they start and stop together. */
const SERVICES = ['ingestion', 'presence', 'automation', 'alerting', 'registry'] as const;
type AppName = (typeof SERVICES)[number] | 'agent';

/** The engines, services and virtual devices of a system on this machine. */
export class LocalSystem {
  readonly #folder: StateFolder;
  readonly #supervisor: Supervisor;
  readonly #ledger: ProcessLedger;
  #fleet: HomeFleet | undefined;
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
    const { options } = this;
    const engines = await planEngines({ folder: this.#folder, ports, options, environment: process.env, onStep });
    if (engines.components.length > 0) onStep(`starting ${engines.components.map(({ name }) => name).join(', ')}`);
    await settleAll(engines.components.map((component) => this.#supervisor.start(component)));

    onStep('applying migrations');
    const applied = await migrate(engines.postgresUrl);
    if (applied.length > 0) onStep(`applied ${applied.join(', ')}`);

    const secrets = this.#folder.secrets();
    const fleet = new HomeFleet(options.devices, secrets);
    this.#fleet = fleet;
    await provision(engines.postgresUrl, secrets, options, fleet);

    onStep(`starting ${['agent', ...SERVICES].join(', ')}`);
    // At once: an agent changes nothing at a broker that was restarted before the services are back.
    await settleAll([
      ...(engines.brokers.accounts === 'agent'
        ? [
            this.#service('agent', ports.agent, {
              ...commonEnvironment(engines),
              MUSTER_AGENT_FOLDER: path.join(this.#folder.path, '{broker}'),
            }),
          ]
        : []),
      ...SERVICES.map((name) =>
        this.#service(
          name,
          name === 'registry' ? ports.api : ports[name],
          serviceEnvironment(name, engines, secrets, ports, this.#folder),
        ),
      ),
    ]);

    if (this.options.watch) {
      onStep('watching the sources; a service starts again when its build is new');
      this.#stopWatching = await watchBuilds({
        root: ROOT,
        services: SERVICES,
        logFile: (name) => this.#folder.logFile(name),
        onBuilt: (name) => this.#supervisor.restart(name),
      });
    }
    const origin = `http://127.0.0.1:${ports.api}`;
    if (fleet.hasRooms) await this.#firstRules(engines.postgresUrl, { url: origin, token: secrets.token });
    if (fleet.size > 0) {
      onStep(`starting ${fleet.size} virtual devices`);
      await fleet.start(engines.brokers);
    }
    return {
      ready: true,
      api: { url: origin, token: secrets.token },
      console: { url: origin },
      broker: {
        urls: engines.brokers.devices.map(({ url }) => url),
        serviceUrls: engines.brokers.services.map(({ url }) => url),
        ...sharedAccount(engines.brokers, secrets, options),
        ca: engines.brokers.caFile ?? null,
      },
      influxdb: engines.influxdb,
      postgres: { url: engines.postgresUrl },
      pids: this.#supervisor.pids,
    };
  }

  /** Stops in order: devices say goodbye, services drain, engines last. Safe at any moment of the start. */
  async stop(): Promise<void> {
    await this.#stopWatching();
    await this.#fleet?.stop();
    const brokers = Object.keys(this.#supervisor.pids).filter((name) => name.startsWith('mosquitto-'));
    await this.#supervisor.stop([[...SERVICES], ['agent'], brokers, ['influxdb', 'postgres']], STOP_LIMIT_MS);
    this.#folder.release();
  }

  async #firstRules(postgresUrl: string, api: ApiTarget): Promise<void> {
    const database = openDatabase(postgresUrl, 'up', 1);
    try {
      if (await saveFirstRules(database, api)) this.observer.onStep('saved the example rules: lights at motion, modes');
    } finally {
      await database.$disconnect();
    }
  }

  async #service(name: AppName, port: number, environment: Readonly<Record<string, string>>): Promise<void> {
    const logFile = this.#folder.logFile(name);
    const service = await this.#supervisor.start({
      name,
      start: () =>
        ManagedProcess.start({
          name,
          command: process.execPath,
          args: [path.join(ROOT, 'apps', name, 'dist/main.js')],
          cwd: this.#folder.path,
          // Each of its threads would keep memory of its own (mallopt(3)).
          env: { MALLOC_ARENA_MAX: '2', ...environment, MUSTER_HTTP_PORT: String(port) },
          logFile,
        }),
    });
    await waitUntilReady(name, service, port, logFile);
  }
}

/** Accounts of services and virtual devices, and the token of whoever starts the system. */
async function provision(postgresUrl: string, secrets: Secrets, options: UpOptions, fleet: HomeFleet): Promise<void> {
  const database = openDatabase(postgresUrl, 'up', 1);
  try {
    const shared = { kind: 'shared', username: SHARED_USERNAME, password: secrets.shared } as const;
    await new AccountStore(database).ensure(
      [
        ...SERVICE_NAMES.map((service) => ({
          kind: 'service' as const,
          username: serviceUsername(service),
          password: secrets[service],
        })),
        ...(options.sharedAccount ? [shared] : []),
        ...fleet.accounts,
      ],
      options.sharedAccount ? [] : [SHARED_USERNAME],
    );
    await ensureAdminToken(database, 'muster up', secrets.token);
  } finally {
    await database.$disconnect();
  }
}

/** The account to show: of the brokers that the environment names, or the one that devices share. */
function sharedAccount(
  brokers: BrokerPlan,
  secrets: Secrets,
  options: UpOptions,
): { readonly username: string | null; readonly password: string | null } {
  if (brokers.accounts === 'external') {
    const [{ username, password } = { username: undefined, password: undefined }] = brokers.devices;
    return { username: username ?? null, password: password ?? null };
  }
  return options.sharedAccount
    ? { username: SHARED_USERNAME, password: secrets.shared }
    : { username: null, password: null };
}

function brokerList(targets: readonly BrokerTarget[]): string {
  return targets.map(({ name, url }) => `${name}=${url}`).join(',');
}

/** What every process is told, in the variables that it takes. */
function commonEnvironment({ postgresUrl, brokers }: EnginePlan): Readonly<Record<string, string>> {
  const { MUSTER_TOPIC_MAP: topicMap, MUSTER_RETENTION_DAYS: retentionDays } = process.env;
  return {
    MUSTER_HTTP_HOST: '127.0.0.1',
    MUSTER_POSTGRES_URL: postgresUrl,
    MUSTER_BROKERS: brokerList(brokers.services),
    ...(brokers.caFile === undefined ? {} : { MUSTER_BROKER_CA: path.resolve(brokers.caFile) }),
    // Services run in the state folder, and the path was given from here.
    ...(topicMap === undefined ? {} : { MUSTER_TOPIC_MAP: path.resolve(topicMap) }),
    ...(retentionDays === undefined ? {} : { MUSTER_RETENTION_DAYS: retentionDays }),
  };
}

function serviceEnvironment(
  service: ServiceName,
  engines: EnginePlan,
  secrets: Secrets,
  ports: Readonly<Record<PortName, number>>,
  folder: StateFolder,
): Readonly<Record<string, string>> {
  const { brokers, influxdb } = engines;
  const [{ username, password } = { username: undefined, password: undefined }] = brokers.services;
  return {
    ...commonEnvironment(engines),
    ...(brokers.accounts === 'agent'
      ? { MUSTER_BROKER_USERNAME: serviceUsername(service), MUSTER_BROKER_PASSWORD: secrets[service] }
      : {
          ...(username === undefined ? {} : { MUSTER_BROKER_USERNAME: username }),
          ...(password === undefined ? {} : { MUSTER_BROKER_PASSWORD: password }),
        }),
    ...(service === 'registry'
      ? {
          MUSTER_BROKER_ACCOUNTS: brokers.accounts,
          MUSTER_DEVICE_BROKERS: brokerList(brokers.devices),
          MUSTER_AUTOMATION_URL: `http://127.0.0.1:${ports.automation}`,
          MUSTER_ALERTING_URL: `http://127.0.0.1:${ports.alerting}`,
          MUSTER_SIGNING_KEY: process.env['MUSTER_SIGNING_KEY'] ?? secrets.signing,
        }
      : {}),
    ...(service === 'registry' || service === 'automation' || service === 'alerting'
      ? { MUSTER_INTERNAL_TOKEN: secrets.internal }
      : {}),
    ...(service === 'alerting' ? alertingEnvironment(ports) : {}),
    ...(service === 'ingestion' ? ingestionEnvironment(folder) : {}),
    // The registry deletes histories.
    ...(service === 'ingestion' || service === 'registry'
      ? {
          MUSTER_INFLUXDB_URL: influxdb.url,
          MUSTER_INFLUXDB_DATABASE: influxdb.database,
          MUSTER_INFLUXDB_USERNAME: influxdb.username,
          MUSTER_INFLUXDB_PASSWORD: influxdb.password,
        }
      : {}),
  };
}

function ingestionEnvironment(folder: StateFolder): Readonly<Record<string, string>> {
  const { MUSTER_DEVICE_MESSAGES_PER_SECOND: quota, MUSTER_BROKER_MAX_QUEUED_BYTES: queuedBytes } = process.env;
  return {
    // Nothing of a message outlives its batch: a larger young generation is only memory (docs/performance.md).
    NODE_OPTIONS: `--max-semi-space-size=8 ${process.env['NODE_OPTIONS'] ?? ''}`,
    MUSTER_SPOOL_FOLDER: folder.folder('spool'),
    // Brokers that the environment names have limits of their own.
    MUSTER_BROKER_MAX_QUEUED_MESSAGES: process.env['MUSTER_BROKER_MAX_QUEUED_MESSAGES'] ?? String(MAX_QUEUED_MESSAGES),
    ...(queuedBytes === undefined ? {} : { MUSTER_BROKER_MAX_QUEUED_BYTES: queuedBytes }),
    ...(quota === undefined ? {} : { MUSTER_DEVICE_MESSAGES_PER_SECOND: quota }),
  };
}

function alertingEnvironment(ports: Readonly<Record<PortName, number>>): Readonly<Record<string, string>> {
  const receivers = process.env['MUSTER_ALERTING_RECEIVERS'];
  return {
    MUSTER_INGESTION_METRICS: `http://127.0.0.1:${ports.ingestion}/metrics`,
    // Brokers that the environment names have a limit of their own.
    MUSTER_BROKER_MAX_CONNECTIONS: process.env['MUSTER_BROKER_MAX_CONNECTIONS'] ?? String(MAX_CONNECTIONS),
    ...(receivers === undefined ? {} : { MUSTER_ALERTING_RECEIVERS: path.resolve(receivers) }),
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
