import { existsSync } from 'node:fs';
import path from 'node:path';
import { DeviceTransport } from '@muster/broker';
import { isDataError, Retention, RETENTION, schemaIsCurrent, waitForSchema } from '@muster/database';
import { logConnectionEvent, logRetention, runService, type ServiceParts } from '@muster/service';
import { describeApi } from '@muster/service/rest';
import { ACCESS_API, accessParts } from './access/parts.ts';
import { refuseCrossSite } from './access/same-site.ts';
import { serveDocumentation, wholeApi } from './api-documentation.ts';
import { AUDIT_API, auditParts } from './audit/parts.ts';
import { DEAD_LETTERS_API, deadLettersParts } from './dead-letters/parts.ts';
import { DECOMMISSION_API, decommissionParts } from './decommission/parts.ts';
import { Devices } from './devices/devices.ts';
import { IMPORT_PATH } from './devices/fleet.controller.ts';
import { InfoController } from './devices/info.controller.ts';
import { DEVICES_API, devicesParts, GROUPS_API } from './devices/parts.ts';
import { AcknowledgementsController } from './downlink/commands.controller.ts';
import { Downlink } from './downlink/downlink.ts';
import { DOWNLINK_API, downlinkParts } from './downlink/parts.ts';
import { EVENTS_API, eventsParts } from './events/parts.ts';
import { ForwardController, ForwardTargets } from './forward.controller.ts';
import { PlanController } from './plan.controller.ts';
import { registryConfiguration, registryContext, type ApiParts, type RegistryContext } from './registry-context.ts';
import { RETAINED_API, retainedParts } from './retained/parts.ts';

/** A broker keeps what the registry has not heard for a week. */
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600;
const CONNECT_TIMEOUT_MS = 10_000;

/** In the order of the OpenAPI document. */
const APIS: readonly ApiParts[] = [
  ...[DEVICES_API, DECOMMISSION_API, GROUPS_API, DOWNLINK_API, EVENTS_API, ACCESS_API, AUDIT_API],
  ...[{ controllers: [PlanController], injected: [] }, RETAINED_API, DEAD_LETTERS_API],
];
const API_CONTROLLERS = APIS.flatMap(({ controllers }) => controllers);

function deviceTransport({ brokers, topicMap, logger }: RegistryContext): DeviceTransport {
  return new DeviceTransport({
    ...{ service: 'registry', brokers, topicMap },
    ...{ sessionExpirySeconds: SESSION_EXPIRY_SECONDS, connectTimeoutMs: CONNECT_TIMEOUT_MS },
    isHopeless: isDataError,
    onEvent: logConnectionEvent(logger),
    onUnknown: (message) => logger.warn({ topic: message.topic.slice(0, 200) }, 'a message of no device'),
    onFailure: (message, error) => logger.error({ err: error, topic: message.topic }, 'a message could not be handled'),
  });
}

function forwardTargets({ configuration }: RegistryContext): ForwardTargets {
  const { MUSTER_AUTOMATION_URL: automation, MUSTER_ALERTING_URL: alerting } = configuration;
  return new ForwardTargets({ automation, alerting }, configuration.MUSTER_INTERNAL_TOKEN);
}

if (process.argv.includes('--print-openapi')) {
  const injected = APIS.flatMap((part) => part.injected);
  process.stdout.write(await describeApi('registry', API_CONTROLLERS, injected));
} else {
  await runService('registry', registryConfiguration, (service): ServiceParts => {
    const context = registryContext(service);
    const { configuration, logger, database, brokers } = context;
    const transport = deviceTransport(context);
    const api = wholeApi();
    const connections = new Downlink(brokers, logger);
    const known = new Devices(database);
    const access = accessParts(context, connections);
    const decommission = decommissionParts(context, access, known);
    const devices = devicesParts(context, known, decommission.decommissioning);
    const downlink = downlinkParts(context, connections, access);
    const events = eventsParts(context, access.tokens);
    const audit = auditParts(context, api);
    const retained = retainedParts(context);
    const letters = deadLettersParts(context);
    const retention = new Retention({
      ...{ database, rules: RETENTION.registry, keptDays: configuration.MUSTER_RETENTION_DAYS },
      ...logRetention(logger),
    });
    return {
      controllers: [...API_CONTROLLERS, ForwardController, InfoController, AcknowledgementsController],
      unreadBodies: [IMPORT_PATH],
      providers: [
        ...[audit, events, access, devices, decommission, downlink, retained, letters].flatMap(
          ({ providers }) => providers,
        ),
        { provide: ForwardTargets, useValue: forwardTargets(context) },
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
        // Before everything else, also what reads the body.
        const server = application.getHttpServer();
        server.prependListener('request', (request, response) => audit.trail.watch(request, response));
        application.use(refuseCrossSite(configuration.MUSTER_HTTP_HOST));
        serveDocumentation(application, api);
        const page = path.join(import.meta.dirname, 'console');
        if (existsSync(page)) application.useStaticAssets(page);
      },
      start: async (application) => {
        await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
        application.connectMicroservice({ strategy: transport }, { inheritAppConfig: true });
        await application.startAllMicroservices();
        await events.readings.start(CONNECT_TIMEOUT_MS);
        await connections.start(CONNECT_TIMEOUT_MS);
        await events.feed.start();
        decommission.start();
        await downlink.start();
        retention.start();
        await retained.start();
      },
      stop: [
        () => retention.close(),
        ...[...decommission.stop, ...downlink.stop, ...access.stop, ...retained.stop],
        ...[() => connections.close(), ...events.stop, ...audit.stop],
        () => database.$disconnect(),
      ],
    };
  });
}
