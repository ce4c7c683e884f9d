import { DeviceTransport } from '@muster/broker';
import {
  isDataError,
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
  loadTopicMap,
  logConnectionEvent,
  logRetention,
  postgresVariables,
  retentionVariables,
  runService,
  serviceVariables,
} from '@muster/service';
import { z } from 'zod';
import { Brokers } from './brokers.ts';
import { Fleet } from './fleet.ts';
import { Incidents } from './incidents.ts';
import { DeposedError, Leadership } from './leadership.ts';
import { PresenceMetrics } from './metrics.ts';
import { PresenceStore } from './presence-store.ts';
import { PresenceWatch } from './presence-watch.ts';
import { Reassertion } from './reassertion.ts';
import { StatusController } from './status.controller.ts';

/** A broker keeps what presence has not heard for a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
/** A broker that hangs is noticed within one and a half of it. */
const KEEP_ALIVE_SECONDS = 10;
const CONNECT_TIMEOUT_MS = 10_000;

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...retentionVariables,
});

await runService('presence', configurationSchema, ({ configuration, logger, metrics }) => {
  const url = configuration.MUSTER_POSTGRES_URL;
  const targets = brokerTargets(configuration);
  const database = openDatabase(url, 'presence');
  const tombstones = new TombstoneSet('presence', database, url, (error) =>
    logger.warn({ err: error }, 'tombstones not refreshed'),
  );
  // Its sessions at the brokers and its memory belong to the other process now: it begins anew, and stands by.
  const stepDown = (): void => {
    logger.error('another presence process has become active; this one ends');
    process.kill(process.pid, 'SIGTERM');
  };
  const leadership = new Leadership({
    ...{ url, database, onDeposed: stepDown },
    onUncertain: (error) =>
      logger.warn({ reason: error.message }, 'whether this process is the active one is not known'),
  });
  const store = new PresenceStore(database, leadership, (error) =>
    logger.warn({ reason: error.message }, 'PostgreSQL did not take presence; it is tried again'),
  );
  const incidents = new Incidents(database, leadership);
  const presenceMetrics = new PresenceMetrics(metrics, () => leadership.isActive);
  const brokers = new Brokers({
    ...{ targets, logger },
    onVerdict: (broker, verdict) => watch.verdict(broker, verdict),
  });
  const reassertion = new Reassertion({
    connections: () => transport.unwrap(),
    record: (device) => (tombstones.has(device) ? undefined : fleet.record(device)),
    onMirrored: (device, broker) => {
      fleet.mirrored(device, broker).catch((error: unknown) => logger.warn({ err: error }, 'presence not recorded'));
    },
    ...{ counter: presenceMetrics.reasserted, logger },
  });
  const fleet: Fleet = new Fleet({ store, brokers, tombstones, reassertion, metrics: presenceMetrics });
  const tellEvent = logConnectionEvent(logger);
  const transport: DeviceTransport = new DeviceTransport({
    ...{ service: 'presence', brokers: targets, topicMap: loadTopicMap(configuration.MUSTER_TOPIC_MAP) },
    sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
    keepAliveSeconds: KEEP_ALIVE_SECONDS,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    handlersKeepOrder: true,
    isHopeless: isDataError,
    onEvent: (event) => {
      brokers.connection(event);
      tellEvent(event);
    },
    onUnknown: (message, device) => {
      presenceMetrics.refused.inc({ reason: 'invalid-device-id' });
      logger.warn({ topic: message.topic.slice(0, 200), device: device.slice(0, 100) }, 'a status of no device');
    },
    onFailure: (message, error) => {
      if (!(error instanceof DeposedError))
        logger.error({ err: error, topic: message.topic }, 'a status could not be handled');
    },
  });
  const watch: PresenceWatch = new PresenceWatch({
    ...{ fleet, store, brokers, incidents, logger },
    brokerNames: targets.map(({ name }) => name),
    connections: () => transport.unwrap(),
  });
  const retention = new Retention({
    ...{ database, rules: RETENTION.presence, keptDays: configuration.MUSTER_RETENTION_DAYS },
    ...logRetention(logger),
  });
  return {
    controllers: [StatusController],
    providers: [
      { provide: Fleet, useValue: fleet },
      { provide: PresenceMetrics, useValue: presenceMetrics },
    ],
    readiness: [
      {
        name: 'brokers',
        // A process that stands by is ready to become the active one.
        check: () => (transport.ready || !leadership.isActive ? undefined : 'not every broker is connected'),
      },
      {
        name: 'postgres',
        check: async () => ((await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build'),
      },
    ],
    start: async (application) => {
      await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
      await tombstones.start();
      if (!(await leadership.acquire())) return;
      await fleet.load(Date.now());
      // How long a device may take to come back it says itself, and a broker may be judged at once.
      fleet.declare((await store.observe()).declared);
      brokers.start(await incidents.load());
      application.connectMicroservice({ strategy: transport }, { inheritAppConfig: true });
      await application.startAllMicroservices();
      watch.start();
      retention.start();
      logger.info('this process is the active one');
    },
    stop: [
      () => retention.close(),
      () => watch.close(),
      () => store.close(),
      () => brokers.close(),
      () => tombstones.close(),
      () => leadership.close(),
      () => database.$disconnect(),
    ],
  };
});
