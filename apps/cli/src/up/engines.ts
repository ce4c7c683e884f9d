import path from 'node:path';
import type { BrokerTarget } from '@muster/broker';
import {
  freePort,
  influxdbSource,
  mosquittoSource,
  postgresSource,
  postgresUrl,
  startInfluxdb,
  startMosquitto,
  startPostgres,
  type BrokerTls,
  type MosquittoPlan,
  type Progress,
  type StateFolder,
} from '@muster/engines';
import { CertificateFolder, localHosts } from '@muster/security';
import {
  brokerTargets,
  brokerVariables,
  influxTarget,
  influxVariables,
  postgresVariables,
  readConfiguration,
} from '@muster/service';
import type { InfluxTarget } from '@muster/telemetry';
import { z } from 'zod';
import type { PortName, UpOptions } from './settings.ts';
import type { Component } from './supervisor.ts';

/** Brokers, and who looks after their accounts. */
export interface BrokerPlan {
  /** `agent`: ours, where each service has its own account; `external`: an operator's, with one account for all. */
  readonly accounts: 'agent' | 'external';
  /** Where services connect. */
  readonly services: readonly BrokerTarget[];
  /** Where devices connect, in the same order. */
  readonly devices: readonly BrokerTarget[];
  /** The file with the authority behind their certificates. */
  readonly caFile: string | undefined;
}

/** Where the engines of a system are, and those of them that are to be started here. */
export interface EnginePlan {
  readonly postgresUrl: string;
  readonly influxdb: InfluxTarget;
  readonly brokers: BrokerPlan;
  readonly components: readonly Component[];
}

/** What engines are planned from. */
export interface EnginePlanInput {
  readonly folder: StateFolder;
  readonly ports: Readonly<Record<PortName, number>>;
  readonly options: Pick<UpOptions, 'brokers' | 'engines' | 'tls' | 'sharedAccount'>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly onStep: Progress;
}

const ACCOUNT = 'muster';
const DATABASE = 'muster';

/**
 * The engines that the environment names (with the variables that services take), and a plan for each of the others.
 * @throws ConfigurationError for a variable that cannot be read; EngineError when an engine cannot be had
 */
export async function planEngines(input: EnginePlanInput): Promise<EnginePlan> {
  const postgres = planPostgres(input);
  const influxdb = await planInfluxdb(input);
  const brokers = await planBrokers(input);
  return {
    postgresUrl: postgres.url,
    influxdb: influxdb.target,
    brokers: brokers.plan,
    components: [...postgres.components, ...influxdb.components, ...brokers.components],
  };
}

function planPostgres({ folder, ports, environment, options, onStep }: EnginePlanInput): {
  url: string;
  components: readonly Component[];
} {
  if (environment['MUSTER_POSTGRES_URL'] !== undefined) {
    const { MUSTER_POSTGRES_URL } = readConfiguration(z.object(postgresVariables), environment);
    return { url: MUSTER_POSTGRES_URL, components: [] };
  }
  const plan = {
    folder: folder.folder('postgres'),
    logFile: folder.logFile('postgres'),
    port: ports.postgres,
    database: DATABASE,
    username: ACCOUNT,
    password: folder.secrets().postgres,
  };
  const source = postgresSource(options.engines);
  return {
    url: postgresUrl(plan),
    components: [{ name: 'postgres', start: () => startPostgres(plan, source, onStep) }],
  };
}

async function planInfluxdb({
  folder,
  ports,
  environment,
  options,
  onStep,
}: EnginePlanInput): Promise<{ target: InfluxTarget; components: readonly Component[] }> {
  if (environment['MUSTER_INFLUXDB_URL'] !== undefined) {
    return { target: influxTarget(readConfiguration(z.object(influxVariables), environment)), components: [] };
  }
  const source = await influxdbSource(options.engines, onStep);
  const account = { database: DATABASE, username: ACCOUNT, password: folder.secrets().influxdb };
  const plan = {
    ...account,
    folder: folder.folder('influxdb'),
    logFile: folder.logFile('influxdb'),
    port: ports.influxdb,
  };
  return {
    target: { ...account, url: `http://127.0.0.1:${ports.influxdb}` },
    components: [{ name: 'influxdb', start: () => startInfluxdb(plan, source) }],
  };
}

async function planBrokers({
  folder,
  ports,
  environment,
  options,
  onStep,
}: EnginePlanInput): Promise<{ plan: BrokerPlan; components: readonly Component[] }> {
  if (environment['MUSTER_BROKERS'] !== undefined) {
    const values = readConfiguration(z.object(brokerVariables), environment);
    const targets = brokerTargets(values);
    const caFile = values.MUSTER_BROKER_CA;
    return { plan: { accounts: 'external', services: targets, devices: targets, caFile }, components: [] };
  }
  const source = await mosquittoSource(options.engines, onStep);
  const names = Array.from({ length: options.brokers }, (_, index) => `mosquitto-${index}`);
  const tls = options.tls ? await certificates(folder, names, onStep) : undefined;
  const plans: (MosquittoPlan & { servicePort: number })[] = [];
  for (const [index, name] of names.entries()) {
    plans.push({
      name,
      port: index === 0 ? ports.broker : await freePort(),
      servicePort: await freePort(),
      folder: folder.folder(name),
      logFile: folder.logFile(name),
      sharedAccount: options.sharedAccount,
      ...(tls === undefined ? {} : { tls: tls.of(name) }),
    });
  }
  const target = (name: string, port: number): BrokerTarget => ({
    name,
    url: `${tls === undefined ? 'mqtt' : 'mqtts'}://127.0.0.1:${port}`,
    username: undefined,
    password: undefined,
    ca: tls?.ca,
  });
  return {
    plan: {
      accounts: 'agent',
      services: plans.map(({ name, servicePort }) => target(name, servicePort)),
      devices: plans.map(({ name, port }) => target(name, port)),
      caFile: tls?.caFile,
    },
    components: plans.map((plan) => ({ name: plan.name, start: () => startMosquitto(plan, source) })),
  };
}

/** The certificates of the brokers, made or renewed where that is due. */
async function certificates(
  folder: StateFolder,
  names: readonly string[],
  onStep: Progress,
): Promise<{ readonly ca: string; readonly caFile: string; readonly of: (name: string) => BrokerTls }> {
  const certificateFolder = new CertificateFolder(folder.folder('tls'));
  const issued = await certificateFolder.issue(names.map((broker) => ({ broker, hosts: localHosts() })));
  const changed = issued.filter(({ state }) => state !== 'kept');
  if (changed.length > 0)
    onStep(
      `certificates in ${certificateFolder.path}: ${changed.map(({ name, state }) => `${name} ${state}`).join(', ')}`,
    );
  const ca = certificateFolder.read('ca').certificate;
  return {
    ca,
    caFile: path.join(certificateFolder.path, 'ca.crt'),
    of: (name) => ({ ca, ...certificateFolder.read(name) }),
  };
}
