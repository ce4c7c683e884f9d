import type { Provider, Type } from '@nestjs/common';
import type { TopicMap } from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import { openDatabase, type PrismaClient } from '@muster/database';
import { AccountStore } from '@muster/security';
import {
  brokerTargets,
  brokerVariables,
  influxTarget,
  influxVariables,
  loadTopicMap,
  postgresVariables,
  retentionVariables,
  serviceVariables,
  type ServiceContext,
} from '@muster/service';
import { internalVariables } from '@muster/service/rest';
import type { InfluxTarget } from '@muster/telemetry';
import { z } from 'zod';
import { backendVariables } from './forward.controller.ts';

/** What the registry is told by its environment. */
export const registryConfiguration = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...retentionVariables,
  ...internalVariables,
  ...backendVariables,
  MUSTER_BROKER_ACCOUNTS: z.enum(['agent', 'external']).default('agent').describe("who manages the brokers' accounts"),
  MUSTER_SIGNING_KEY: z
    .string()
    .min(24, 'expected an Ed25519 key as PEM, or another secret of at least 24 characters')
    .meta({ secret: true })
    .describe('with which reports are signed'),
  // Only to look at histories and to delete them: without it nothing else is missing.
  MUSTER_INFLUXDB_URL: influxVariables.MUSTER_INFLUXDB_URL.optional(),
  MUSTER_INFLUXDB_DATABASE: influxVariables.MUSTER_INFLUXDB_DATABASE,
  MUSTER_INFLUXDB_USERNAME: influxVariables.MUSTER_INFLUXDB_USERNAME.optional(),
  MUSTER_INFLUXDB_PASSWORD: influxVariables.MUSTER_INFLUXDB_PASSWORD.optional().meta({ secret: true }),
  MUSTER_DEVICE_BROKERS: brokerVariables.MUSTER_BROKERS.optional().describe(
    'where devices connect, for their credentials; the same as MUSTER_BROKERS where it is left out',
  ),
});

/** What all folders of the registry are made with. */
export interface RegistryContext extends ServiceContext<z.infer<typeof registryConfiguration>> {
  readonly database: PrismaClient;
  readonly postgresUrl: string;
  readonly brokers: readonly BrokerTarget[];
  readonly topicMap: TopicMap;
  readonly accounts: AccountStore;
  /** Where telemetry is stored; undefined where the registry was not told. */
  readonly influx: InfluxTarget | undefined;
  /** Whether the brokers take their accounts from Muster. */
  readonly managed: boolean;
}

/** Opens the database and reads the topic map; nothing is connected yet. */
export function registryContext(service: ServiceContext<RegistryContext['configuration']>): RegistryContext {
  const { configuration } = service;
  const influx = z.object(influxVariables).safeParse(configuration);
  const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'registry', 10);
  return {
    ...service,
    database,
    postgresUrl: configuration.MUSTER_POSTGRES_URL,
    brokers: brokerTargets(configuration),
    topicMap: loadTopicMap(configuration.MUSTER_TOPIC_MAP),
    accounts: new AccountStore(database),
    influx: influx.success ? influxTarget(influx.data) : undefined,
    managed: configuration.MUSTER_BROKER_ACCOUNTS === 'agent',
  };
}

/** Resources of the API, and what is injected into them. */
export interface ApiParts {
  readonly controllers: readonly Type[];
  readonly injected: readonly Type[];
}

/** What a folder gives to the service. */
export interface FolderParts {
  readonly providers: readonly Provider[];
}

/** What a folder gives that does something by itself. */
export interface RunningParts extends FolderParts {
  /** What is done at the end, in this order. */
  readonly stop: readonly (() => unknown)[];
}
