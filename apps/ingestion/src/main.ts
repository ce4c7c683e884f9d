import { setFlagsFromString } from 'node:v8';
import {
  BulkConnection,
  openDatabase,
  Retention,
  RETENTION,
  schemaIsCurrent,
  TombstoneSet,
  waitForSchema,
} from '@muster/database';
import {
  brokerTargets,
  brokerVariables,
  ConfigurationError,
  influxTarget,
  influxVariables,
  loadTopicMap,
  logRetention,
  postgresVariables,
  retentionVariables,
  runService,
  serviceVariables,
} from '@muster/service';
import { Influx, Spool } from '@muster/telemetry';
import { z } from 'zod';
import { BrokerQueues } from './broker-queue.ts';
import { Canary } from './canary.ts';
import { DeadLetterReplay, letterShare } from './dead-letter-replay.ts';
import { Digest } from './digest.ts';
import { FleetStore } from './fleet-store.ts';
import { Ingestion } from './ingestion.ts';
import { IngestionMetrics } from './metrics.ts';
import { brokersOf } from './shards.ts';
import { Statistics } from './statistics.ts';
import { SpoolWatch } from './stopped-spools.ts';

// Prisma's query compiler is WebAssembly, of which ingestion asks little: that V8 compiles it a second time, to be faster,
// would take 47 MB (docs/performance.md).
setFlagsFromString('--liftoff-only');
// V8 lets garbage grow to a multiple of what lives, because processor time is dearer to it than memory (docs/performance.md).
setFlagsFromString('--heap-growing-percent=20');

const CONNECT_TIMEOUT_MS = 10_000;
/** One for last readings, one for what devices have done. */
const BULK_CONNECTIONS = 2;
/** A device that was away sends what it has stored at once. */
const BURST_SECONDS = 60;

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...retentionVariables,
  ...influxVariables,
  MUSTER_DEVICE_MESSAGES_PER_SECOND: z.coerce
    .number()
    .positive()
    .default(100)
    .describe('messages of telemetry that one device may send a second, for ever; a minute of it at once'),
  MUSTER_SPOOL_FOLDER: z.string().min(1).describe('where telemetry waits while InfluxDB is away; one folder a process'),
  MUSTER_SPOOL_MAX_MEGABYTES: z.coerce.number().int().min(1).default(1_024).describe('what it may take of the disk'),
  MUSTER_SPOOL_MAX_DAYS: z.coerce.number().positive().default(7).describe('what has waited longer is given up'),
  MUSTER_BROKER_MAX_QUEUED_MESSAGES: z.coerce
    .number()
    .int()
    .min(0)
    .default(1_000_000)
    .describe('what one broker keeps for a client that is away or slow; 0 where that has no limit, or is not known'),
  MUSTER_BROKER_MAX_QUEUED_BYTES: z.coerce.number().int().min(0).default(0).describe('the same in bytes; 0: no limit'),
  MUSTER_INGESTION_ORDINAL: z.coerce.number().int().min(0).default(0).describe('which of the processes this one is'),
  MUSTER_INGESTION_REPLICAS: z.coerce.number().int().min(1).default(1).describe('how many processes there are'),
});

await runService('ingestion', configurationSchema, async ({ configuration, logger, metrics }) => {
  const { MUSTER_INGESTION_ORDINAL: ordinal, MUSTER_INGESTION_REPLICAS: replicas } = configuration;
  const perSecond = configuration.MUSTER_DEVICE_MESSAGES_PER_SECOND;
  const brokers = brokerTargets(configuration);
  const own = brokersOf(brokers, ordinal, replicas);
  if (own.length === 0) {
    throw new ConfigurationError(
      `MUSTER_INGESTION_ORDINAL: expected fewer processes than brokers, each of which has one consumer; found ${ordinal} of ${replicas}`,
    );
  }
  const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'ingestion');
  const influx = new Influx(influxTarget(configuration));
  const tombstones = new TombstoneSet('ingestion', database, configuration.MUSTER_POSTGRES_URL, (error) =>
    logger.warn({ err: error }, 'tombstones not refreshed'),
  );
  const ingestionMetrics = new IngestionMetrics(metrics);
  const queues = new BrokerQueues({
    messages: configuration.MUSTER_BROKER_MAX_QUEUED_MESSAGES,
    bytes: configuration.MUSTER_BROKER_MAX_QUEUED_BYTES,
  });
  ingestionMetrics.observeQueues(() => queues.forecasts());
  const statistics = new Statistics({ influx, metrics: ingestionMetrics, queues, logger });
  const digest = new Digest(ingestionMetrics, logger);
  const canary = new Canary({
    publish: (broker, topic, payload, expirySeconds) => digest.publish(broker, topic, payload, expirySeconds),
    influx,
    metrics: ingestionMetrics.canary,
    logger,
  });
  const spool = await Spool.open({
    folder: configuration.MUSTER_SPOOL_FOLDER,
    maxBytes: configuration.MUSTER_SPOOL_MAX_MEGABYTES * 1_000_000,
    maxAgeDays: configuration.MUSTER_SPOOL_MAX_DAYS,
    onEvent: (event) => logger.warn(event, 'the spool is not whole'),
  });
  const spools = new SpoolWatch({
    ...{ database, ordinal, replicas, maxAgeDays: configuration.MUSTER_SPOOL_MAX_DAYS, spool, logger },
  });
  if (spools.isLooking) ingestionMetrics.observeStoppedSpools(() => spools.waiting);
  const topicMap = loadTopicMap(configuration.MUSTER_TOPIC_MAP);
  const bulk = new BulkConnection(configuration.MUSTER_POSTGRES_URL, 'ingestion', BULK_CONNECTIONS, (error) =>
    logger.debug({ err: error }, 'an idle connection to PostgreSQL was lost'),
  );
  const store = new FleetStore(database, bulk, (row, error) =>
    logger.error({ err: error, row }, 'PostgreSQL will never take this row'),
  );
  const replay = new DeadLetterReplay({
    ...{ database, postgresUrl: configuration.MUSTER_POSTGRES_URL, topicMap, store, tombstones, logger },
    share: letterShare(
      brokers.map(({ name }) => name),
      own.map(({ name }) => name),
    ),
  });
  const ingestion = new Ingestion({
    ...{ topicMap, store, tombstones, metrics: ingestionMetrics, logger, digest, canary, influx, spool, replay },
    quota: { perSecond, burst: Math.max(1, perSecond * BURST_SECONDS) },
  });
  const retention = new Retention({
    ...{ database, rules: RETENTION.ingestion, keptDays: configuration.MUSTER_RETENTION_DAYS },
    ...logRetention(logger),
  });
  return {
    readiness: [
      { name: 'brokers', check: () => (ingestion.ready && digest.ready ? undefined : 'not every broker is connected') },
      {
        name: 'postgres',
        check: async () => ((await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build'),
      },
      {
        name: 'influxdb',
        check: async () => {
          await influx.query('SHOW MEASUREMENTS LIMIT 1');
          return undefined;
        },
      },
    ],
    start: async () => {
      await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
      await tombstones.start();
      await digest.start(own, CONNECT_TIMEOUT_MS);
      await ingestion.start(own, CONNECT_TIMEOUT_MS);
      statistics.start(own);
      canary.start(own.map(({ name }) => name));
      retention.start();
      spools.start();
    },
    stop: [
      () => retention.close(),
      () => statistics.close(),
      () => canary.close(),
      () => ingestion.close(),
      () => spools.close(),
      () => spool.close(),
      () => digest.close(),
      () => tombstones.close(),
      () => bulk.close(),
      () => database.$disconnect(),
    ],
  };
});
