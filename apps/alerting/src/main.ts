import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { alertRuleFileSchema, type AlertRule } from '@muster/contract';
import { openDatabase, Retention, RETENTION, schemaIsCurrent, TombstoneSet, waitForSchema } from '@muster/database';
import {
  brokerTargets,
  brokerVariables,
  logConnectionEvent,
  logRetention,
  postgresVariables,
  retentionVariables,
  runService,
  serviceVariables,
  YamlSource,
} from '@muster/service';
import { describeApi, ForwardedGuard, internalVariables } from '@muster/service/rest';
import { APP_GUARD } from '@nestjs/core';
import { z } from 'zod';
import { AlertRulesController } from './alert-rules.controller.ts';
import { AlertRules } from './alert-rules.ts';
import { AlertStore } from './alert-store.ts';
import { AlertsController } from './alerts.controller.ts';
import { DeliveryStore } from './delivery-store.ts';
import { Engine } from './engine.ts';
import { Inputs } from './inputs.ts';
import { Journal } from './journal.ts';
import { alertingMetrics } from './metrics.ts';
import { MutesController } from './mutes.controller.ts';
import { Outbox } from './outbox.ts';
import { Receivers, ReceiversController } from './receivers.controller.ts';
import { loadReceivers } from './receivers.ts';
import { Resender } from './resender.ts';
import { senderOf } from './senders.ts';
import { Upkeep } from './upkeep.ts';

const CONNECT_TIMEOUT_MS = 10_000;
const API_CONTROLLERS = [AlertsController, AlertRulesController, MutesController, ReceiversController];

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...retentionVariables,
  ...internalVariables,
  MUSTER_BROKER_MAX_CONNECTIONS: z.coerce.number().int().min(1).default(20_000).describe('what one broker allows'),
  MUSTER_BROKER_GRACE_SECONDS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_600)
    .default(60)
    .describe('how long devices have to come back after the start of their broker'),
  MUSTER_ALERTING_RECEIVERS: z.string().min(1).optional().describe('path of a YAML file'),
  MUSTER_INGESTION_METRICS: z
    .string()
    .default('')
    .transform((text) => text.split(',').filter((url) => url !== ''))
    .pipe(z.array(z.url({ protocol: /^https?$/ })))
    .describe('URLs of the metrics of ingestion, separated by commas'),
});

/** The rules that come with Muster lie beside the build, or in the source. */
function starterRules(): readonly AlertRule[] {
  const beside = path.join(import.meta.dirname, 'starter-rules.yaml');
  const file = existsSync(beside) ? beside : path.join(import.meta.dirname, '../starter-rules.yaml');
  return new YamlSource(readFileSync(file, 'utf8')).as(alertRuleFileSchema).rules;
}

if (process.argv.includes('--print-openapi')) {
  const injected = [AlertStore, Engine, Journal, AlertRules, Receivers, DeliveryStore, Outbox];
  process.stdout.write(await describeApi('alerting', API_CONTROLLERS, injected));
} else {
  await runService('alerting', configurationSchema, ({ configuration, logger, metrics: registry }) => {
    const receivers = loadReceivers(configuration.MUSTER_ALERTING_RECEIVERS, process.env);
    const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'alerting', 8);
    const brokers = brokerTargets(configuration);
    const tombstones = new TombstoneSet('alerting', database, configuration.MUSTER_POSTGRES_URL, (error) =>
      logger.warn({ err: error }, 'tombstones not refreshed'),
    );
    const store = new AlertStore(database);
    const deliveries = new DeliveryStore(database);
    const rules = new AlertRules(database, logger);
    const senders = new Map(receivers.map((receiver) => [receiver.name, senderOf(receiver)]));
    const metrics = alertingMetrics(registry, () => engine.book.open);
    const outbox = new Outbox(deliveries, senders, metrics, logger);
    const journal = new Journal(
      store,
      (notifications) => outbox.add(notifications),
      (error, isHopeless) => {
        // The statement, which stands before what is wrong with it, would fill the log.
        const reason = error.message.trim().slice(-300);
        if (isHopeless) logger.error({ reason }, 'PostgreSQL will never take these changes of alerts: they are lost');
        else logger.warn({ reason }, 'PostgreSQL did not take changes of alerts; they are tried again');
      },
    );
    const engine: Engine = new Engine(
      journal,
      receivers.map(({ route }) => route),
      configuration.MUSTER_BROKER_GRACE_SECONDS * 1_000,
    );
    const inputs = new Inputs({
      ...{ engine, journal, database, brokers, tombstones, logger },
      postgresUrl: configuration.MUSTER_POSTGRES_URL,
      maxConnections: configuration.MUSTER_BROKER_MAX_CONNECTIONS,
      ingestionUrls: configuration.MUSTER_INGESTION_METRICS,
      onEvent: logConnectionEvent(logger),
    });
    const resender = new Resender(receivers, senders, engine.book, outbox, logger);
    const upkeep = new Upkeep(engine);
    const retention = new Retention({
      ...{ database, rules: RETENTION.alerting, keptDays: configuration.MUSTER_RETENTION_DAYS },
      ...logRetention(logger),
    });
    rules.watch({
      onRules: (conditions) => inputs.setRules(conditions),
      breachingOf: (asked) => inputs.breachingOf(asked),
    });
    return {
      controllers: API_CONTROLLERS,
      providers: [
        { provide: APP_GUARD, useValue: new ForwardedGuard(configuration.MUSTER_INTERNAL_TOKEN) },
        { provide: AlertStore, useValue: store },
        { provide: Engine, useValue: engine },
        { provide: Journal, useValue: journal },
        { provide: AlertRules, useValue: rules },
        { provide: Receivers, useValue: new Receivers(receivers) },
        { provide: DeliveryStore, useValue: deliveries },
        { provide: Outbox, useValue: outbox },
      ],
      readiness: [
        { name: 'brokers', check: () => (inputs.ready ? undefined : 'not every broker is connected') },
        {
          name: 'postgres',
          check: async () =>
            (await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build',
        },
      ],
      start: async () => {
        await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
        await tombstones.start();
        const given = await rules.giveStarters(starterRules());
        if (given.length > 0) logger.info({ rules: given }, 'starter rules');
        const stored = await store.load(new Date());
        engine.restore(stored, await rules.conditions(), Date.now());
        await outbox.start();
        await inputs.start(CONNECT_TIMEOUT_MS, stored);
        resender.start();
        upkeep.start();
        retention.start();
      },
      stop: [
        () => rules.close(),
        () => upkeep.close(),
        () => retention.close(),
        () => resender.close(),
        () => inputs.close(),
        () => engine.close(),
        () => journal.close(),
        () => outbox.close(),
        () => tombstones.close(),
        () => database.$disconnect(),
      ],
    };
  });
}
