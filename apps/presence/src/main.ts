import { DeviceTransport } from '@muster/broker';
import { isDataError, openDatabase, schemaIsCurrent, TombstoneSet, waitForSchema } from '@muster/database';
import {
  brokerTargets,
  brokerVariables,
  loadTopicMap,
  logConnectionEvent,
  postgresVariables,
  runService,
  serviceVariables,
} from '@muster/service';
import { z } from 'zod';
import { Fleet } from './fleet.ts';
import { PresenceStore } from './presence-store.ts';
import { StatusController } from './status.controller.ts';

/** A broker keeps what presence has not heard for a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
const CONNECT_TIMEOUT_MS = 10_000;
const LOOK_EVERY_MS = 1_000;

const configurationSchema = z.object({ ...serviceVariables, ...brokerVariables, ...postgresVariables });

await runService('presence', configurationSchema, ({ configuration, logger, metrics }) => {
  const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'presence');
  const tombstones = new TombstoneSet('presence', database, configuration.MUSTER_POSTGRES_URL, (error) =>
    logger.warn({ err: error }, 'tombstones not refreshed'),
  );
  const store = new PresenceStore(database, (error) =>
    logger.warn({ reason: error.message }, 'PostgreSQL did not take presence; it is tried again'),
  );
  const fleet = new Fleet(store, tombstones, metrics);
  const tellEvent = logConnectionEvent(logger);
  let hearingSinceMs: number | undefined;
  let lookTimer: NodeJS.Timeout | undefined;
  const transport = new DeviceTransport({
    service: 'presence',
    brokers: brokerTargets(configuration),
    topicMap: loadTopicMap(configuration.MUSTER_TOPIC_MAP),
    sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    isHopeless: isDataError,
    onEvent: (event) => {
      if (event.kind === 'disconnected') hearingSinceMs = undefined;
      tellEvent(event);
    },
    onUnknown: (message, device) => {
      fleet.refused('invalid-device-id');
      logger.warn({ topic: message.topic.slice(0, 200), device: device.slice(0, 100) }, 'a status of no device');
    },
    onFailure: (message, error) => logger.error({ err: error, topic: message.topic }, 'a status could not be handled'),
  });
  const look = (): void => {
    const nowMs = Date.now();
    if (transport.ready) hearingSinceMs ??= nowMs;
    fleet.look(nowMs, hearingSinceMs).catch((error: unknown) => logger.error({ err: error }, 'who is late is unknown'));
  };
  return {
    controllers: [StatusController],
    providers: [{ provide: Fleet, useValue: fleet }],
    readiness: [
      { name: 'brokers', check: () => (transport.ready ? undefined : 'not every broker is connected') },
      {
        name: 'postgres',
        check: async () => ((await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build'),
      },
    ],
    start: async (application) => {
      await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
      await tombstones.start();
      await fleet.load();
      application.connectMicroservice({ strategy: transport }, { inheritAppConfig: true });
      await application.startAllMicroservices();
      lookTimer = setInterval(look, LOOK_EVERY_MS);
    },
    stop: [() => clearInterval(lookTimer), () => store.close(), () => tombstones.close(), () => database.$disconnect()],
  };
});
