import { existsSync } from 'node:fs';
import path from 'node:path';
import { DeviceTransport } from '@muster/broker';
import { isDataError, openDatabase, schemaIsCurrent, waitForSchema } from '@muster/database';
import {
  brokerTargets,
  brokerVariables,
  createApplication,
  createLogger,
  createMetrics,
  loadTopicMap,
  logConnectionEvent,
  postgresVariables,
  runService,
  serviceVariables,
  type ServiceParts,
} from '@muster/service';
import { z } from 'zod';
import { openApiDocument, serveDocumentation } from './api-documentation.ts';
import { Decommissioning } from './decommissioning.ts';
import { DevicesController } from './devices.controller.ts';
import { Devices } from './devices.ts';
import { InfoController } from './info.controller.ts';
import { refuseCrossSite } from './same-site.ts';

/** A broker keeps what the registry has not heard for a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
const CONNECT_TIMEOUT_MS = 10_000;

const configurationSchema = z.object({ ...serviceVariables, ...brokerVariables, ...postgresVariables });

if (process.argv.includes('--print-openapi')) {
  process.stdout.write(await describeApi());
} else {
  await runService('registry', configurationSchema, ({ configuration, logger }): ServiceParts => {
    const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'registry', 10);
    const brokers = brokerTargets(configuration);
    const topicMap = loadTopicMap(configuration.MUSTER_TOPIC_MAP);
    const transport = new DeviceTransport({
      service: 'registry',
      brokers,
      topicMap,
      sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      isHopeless: isDataError,
      onEvent: logConnectionEvent(logger),
      onUnknown: (message) => logger.warn({ topic: message.topic.slice(0, 200) }, 'an info of no device'),
      onFailure: (message, error) => logger.error({ err: error, topic: message.topic }, 'an info could not be handled'),
    });
    return {
      controllers: [DevicesController, InfoController],
      providers: [
        { provide: Devices, useValue: new Devices(database) },
        { provide: Decommissioning, useValue: new Decommissioning(database, brokers, topicMap, logger) },
      ],
      readiness: [
        { name: 'brokers', check: () => (transport.ready ? undefined : 'not every broker is connected') },
        {
          name: 'postgres',
          check: async () =>
            (await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build',
        },
      ],
      configure: (application) => {
        application.use(refuseCrossSite(configuration.MUSTER_HTTP_HOST));
        serveDocumentation(application);
        const page = path.join(import.meta.dirname, 'console');
        if (existsSync(page)) application.useStaticAssets(page);
      },
      start: async (application) => {
        await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
        application.connectMicroservice({ strategy: transport }, { inheritAppConfig: true });
        await application.startAllMicroservices();
      },
      stop: [() => database.$disconnect()],
    };
  });
}

/** The OpenAPI document as text, without a database or a broker. */
async function describeApi(): Promise<string> {
  const context = { configuration: {}, logger: createLogger('registry', 'error'), metrics: createMetrics('registry') };
  const application = await createApplication(context, {
    controllers: [DevicesController],
    providers: [
      { provide: Devices, useValue: undefined },
      { provide: Decommissioning, useValue: undefined },
    ],
    readiness: [],
  });
  const document = openApiDocument(application);
  await application.close();
  return `${JSON.stringify(document, undefined, 2)}\n`;
}
