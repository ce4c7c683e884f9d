import { existsSync } from 'node:fs';
import path from 'node:path';
import { APP_GUARD } from '@nestjs/core';
import { DeviceTransport } from '@muster/broker';
import { isDataError, openDatabase, schemaIsCurrent, waitForSchema } from '@muster/database';
import { AccountStore } from '@muster/security';
import {
  brokerTargets,
  brokerVariables,
  loadTopicMap,
  logConnectionEvent,
  postgresVariables,
  runService,
  serviceVariables,
  type ServiceParts,
} from '@muster/service';
import { describeApi, internalVariables } from '@muster/service/rest';
import { z } from 'zod';
import { AccessController } from './access.controller.ts';
import { AccessGuard } from './access.guard.ts';
import { serveDocumentation } from './api-documentation.ts';
import { Credentials } from './credentials.ts';
import { Decommissioning } from './decommissioning.ts';
import { DevicesController } from './devices.controller.ts';
import { Devices } from './devices.ts';
import { backendVariables, ForwardController, ForwardTargets } from './forward.controller.ts';
import { InfoController } from './info.controller.ts';
import { InfoIntake } from './info-intake.ts';
import { LiveController } from './live.controller.ts';
import { LiveReadingFeed } from './live-readings.ts';
import { PlanController } from './plan.controller.ts';
import { refuseCrossSite } from './same-site.ts';
import { Tokens } from './tokens.ts';

/** A broker keeps what the registry has not heard for a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
const CONNECT_TIMEOUT_MS = 10_000;
const API_CONTROLLERS = [DevicesController, LiveController, AccessController, PlanController];

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...internalVariables,
  ...backendVariables,
  MUSTER_BROKER_ACCOUNTS: z.enum(['agent', 'external']).default('agent').describe("who manages the brokers' accounts"),
  MUSTER_DEVICE_BROKERS: brokerVariables.MUSTER_BROKERS.optional().describe(
    'where devices connect, for their credentials; the same as MUSTER_BROKERS where it is left out',
  ),
});

if (process.argv.includes('--print-openapi')) {
  process.stdout.write(
    await describeApi('registry', API_CONTROLLERS, [Tokens, Credentials, Devices, Decommissioning, LiveReadingFeed]),
  );
} else {
  await runService('registry', configurationSchema, ({ configuration, logger, metrics }): ServiceParts => {
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
    const accounts = new AccountStore(database);
    const managed = configuration.MUSTER_BROKER_ACCOUNTS === 'agent';
    const deviceBrokers = configuration.MUSTER_DEVICE_BROKERS ?? configuration.MUSTER_BROKERS;
    const credentials = new Credentials(database, accounts, deviceBrokers, managed, logger);
    const parts = { database, accounts, credentials, managed, brokers, topicMap, logger };
    const decommissioning = new Decommissioning(parts);
    const live = new LiveReadingFeed(brokers, logger, metrics);
    return {
      controllers: [...API_CONTROLLERS, ForwardController, InfoController],
      providers: [
        { provide: APP_GUARD, useClass: AccessGuard },
        { provide: Tokens, useValue: new Tokens(database) },
        { provide: Credentials, useValue: credentials },
        { provide: LiveReadingFeed, useValue: live },
        {
          provide: ForwardTargets,
          useValue: new ForwardTargets(
            { automation: configuration.MUSTER_AUTOMATION_URL, alerting: configuration.MUSTER_ALERTING_URL },
            configuration.MUSTER_INTERNAL_TOKEN,
          ),
        },
        { provide: Devices, useValue: new Devices(database) },
        { provide: InfoIntake, useValue: new InfoIntake(database, accounts) },
        { provide: Decommissioning, useValue: decommissioning },
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
        if (configuration.MUSTER_TRUST_PROXY) application.set('trust proxy', 1);
        application.use(refuseCrossSite(configuration.MUSTER_HTTP_HOST));
        serveDocumentation(application);
        const page = path.join(import.meta.dirname, 'console');
        if (existsSync(page)) application.useStaticAssets(page);
      },
      start: async (application) => {
        await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
        application.connectMicroservice({ strategy: transport }, { inheritAppConfig: true });
        await application.startAllMicroservices();
        await live.start(CONNECT_TIMEOUT_MS);
        decommissioning.start();
      },
      stop: [() => decommissioning.close(), () => live.close(), () => database.$disconnect()],
    };
  });
}
