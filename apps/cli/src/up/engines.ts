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
  type EngineWay,
  type Progress,
  type StateFolder,
} from '@muster/engines';
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
import type { PortName } from './settings.ts';
import type { Component } from './supervisor.ts';

/** Where the engines of a system are, and those of them that are to be started here. */
export interface EnginePlan {
  readonly postgresUrl: string;
  readonly influxdb: InfluxTarget;
  readonly brokers: readonly BrokerTarget[];
  readonly components: readonly Component[];
}

/** What engines are planned from. */
export interface EnginePlanInput {
  readonly folder: StateFolder;
  readonly ports: Readonly<Record<PortName, number>>;
  readonly brokers: number;
  readonly way: EngineWay;
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
    brokers: brokers.targets,
    components: [...postgres.components, ...influxdb.components, ...brokers.components],
  };
}

function planPostgres({ folder, ports, environment, way, onStep }: EnginePlanInput): {
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
  const source = postgresSource(way);
  return {
    url: postgresUrl(plan),
    components: [{ name: 'postgres', start: () => startPostgres(plan, source, onStep) }],
  };
}

async function planInfluxdb({
  folder,
  ports,
  environment,
  way,
  onStep,
}: EnginePlanInput): Promise<{ target: InfluxTarget; components: readonly Component[] }> {
  if (environment['MUSTER_INFLUXDB_URL'] !== undefined) {
    return { target: influxTarget(readConfiguration(z.object(influxVariables), environment)), components: [] };
  }
  const source = await influxdbSource(way, onStep);
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
  brokers,
  environment,
  way,
  onStep,
}: EnginePlanInput): Promise<{ targets: readonly BrokerTarget[]; components: readonly Component[] }> {
  if (environment['MUSTER_BROKERS'] !== undefined) {
    return { targets: brokerTargets(readConfiguration(z.object(brokerVariables), environment)), components: [] };
  }
  const source = await mosquittoSource(way, onStep);
  const account = { username: ACCOUNT, password: folder.secrets().broker };
  const brokerPorts = [ports.broker];
  while (brokerPorts.length < brokers) brokerPorts.push(await freePort());
  const plans = brokerPorts.map((port, index) => {
    const name = `mosquitto-${index}`;
    return { ...account, name, port, folder: folder.folder(name), logFile: folder.logFile(name) };
  });
  return {
    targets: plans.map(({ name, port }) => ({ ...account, name, url: `mqtt://127.0.0.1:${port}` })),
    components: plans.map((plan) => ({ name: plan.name, start: () => startMosquitto(plan, source) })),
  };
}
