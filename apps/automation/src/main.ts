import { DigestFollower } from '@muster/broker';
import { openDatabase, PresenceFeed, PrismaClient, schemaIsCurrent, waitForSchema } from '@muster/database';
import {
  brokerTargets,
  brokerVariables,
  loadTopicMap,
  logConnectionEvent,
  postgresVariables,
  runService,
  serviceVariables,
} from '@muster/service';
import { describeApi, ForwardedGuard, internalVariables } from '@muster/service/rest';
import { APP_GUARD } from '@nestjs/core';
import { z } from 'zod';
import { Automation } from './automation.ts';
import { ControlTopics } from './control-topics.ts';
import { DeviceBrokers } from './device-brokers.ts';
import { Journal } from './journal.ts';
import { AutomationMetrics } from './metrics.ts';
import { RuleEngine } from './rule-engine.ts';
import { RuleStore } from './rule-store.ts';
import { RulesController } from './rules.controller.ts';
import { Schedules } from './schedules.ts';

const CONNECT_TIMEOUT_MS = 10_000;
const API_CONTROLLERS = [RulesController];
const degrees = (limit: number): z.ZodOptional<z.ZodCoercedNumber> =>
  z.coerce.number().min(-limit).max(limit).optional();

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...internalVariables,
  MUSTER_TIME_ZONE: z
    .string()
    .refine(
      (zone) => Intl.supportedValuesOf('timeZone').includes(zone) || zone === 'UTC',
      'expected an IANA time zone such as Europe/Berlin',
    )
    .default('UTC')
    .describe('of rules that name none'),
  MUSTER_LATITUDE: degrees(90).describe('where sunrise and sunset are, in degrees'),
  MUSTER_LONGITUDE: degrees(180).describe('the same'),
});

if (process.argv.includes('--print-openapi')) {
  process.stdout.write(await describeApi('automation', API_CONTROLLERS, [RuleStore, Automation, PrismaClient]));
} else {
  await runService('automation', configurationSchema, ({ configuration, logger, metrics }) => {
    const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'automation', 5);
    const targets = brokerTargets(configuration);
    const { MUSTER_TIME_ZONE: timeZone, MUSTER_LATITUDE: latitude, MUSTER_LONGITUDE: longitude } = configuration;
    const position = latitude === undefined || longitude === undefined ? undefined : { latitude, longitude };
    const engine = new RuleEngine(timeZone);
    const rules = new RuleStore(database, logger);
    const onEvent = logConnectionEvent(logger);
    const armed = (): number => [...engine.timers.values()].filter(({ state }) => state === 'armed').length;
    const automation = new Automation({
      database,
      engine,
      rules,
      journal: new Journal(database, logger),
      brokers: new DeviceBrokers(database),
      metrics: new AutomationMetrics(metrics, armed, () => engine.index.rules.length),
      logger,
      connect: (self) => ({
        topics: new ControlTopics({
          brokers: targets,
          topicMap: loadTopicMap(configuration.MUSTER_TOPIC_MAP),
          onMessage: (message) => self.message(message),
          onEvent,
          onFailure: (error, what) => logger.warn({ err: error, what }, 'control topics'),
        }),
        digest: new DigestFollower({
          consumer: 'automation',
          brokers: targets,
          onReadings: (readings, broker) => self.readings(readings, broker),
          onGap: () => void self.readingsMissed(),
          onEvent,
          onRefused: ({ broker }, error) => logger.warn({ broker, reason: error.message }, 'not a digest'),
        }),
        schedules: new Schedules(
          timeZone,
          position,
          (rule, trigger) => self.scheduled(rule, trigger),
          (rule, reason) => logger.error({ rule, reason }, 'a trigger that cannot be waited for'),
        ),
      }),
    });
    const presence = new PresenceFeed(
      database,
      configuration.MUSTER_POSTGRES_URL,
      (changes) => automation.presence(changes),
      (error) => logger.warn({ err: error }, 'changes of presence were not read'),
    );
    return {
      controllers: API_CONTROLLERS,
      providers: [
        { provide: APP_GUARD, useValue: new ForwardedGuard(configuration.MUSTER_INTERNAL_TOKEN) },
        { provide: Automation, useValue: automation },
        { provide: RuleStore, useValue: rules },
        { provide: PrismaClient, useValue: database },
      ],
      readiness: [
        { name: 'brokers', check: () => (automation.ready ? undefined : 'not every broker is connected') },
        {
          name: 'postgres',
          check: async () =>
            (await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build',
        },
      ],
      start: async () => {
        await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
        await presence.start(await automation.start(CONNECT_TIMEOUT_MS));
      },
      stop: [() => presence.close(), () => automation.close(), () => database.$disconnect()],
    };
  });
}
