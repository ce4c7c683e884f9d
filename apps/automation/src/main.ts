import { DigestFollower } from '@muster/broker';
import { openDatabase, schemaIsCurrent, waitForSchema } from '@muster/database';
import {
  brokerTargets,
  brokerVariables,
  logConnectionEvent,
  postgresVariables,
  runService,
  serviceVariables,
} from '@muster/service';
import { describeApi, ForwardedGuard, internalVariables } from '@muster/service/rest';
import { APP_GUARD } from '@nestjs/core';
import type { Type } from '@nestjs/common';
import { z } from 'zod';

const CONNECT_TIMEOUT_MS = 10_000;
const API_CONTROLLERS: readonly Type[] = [];

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  ...internalVariables,
});

if (process.argv.includes('--print-openapi')) {
  process.stdout.write(await describeApi('automation', API_CONTROLLERS, []));
} else {
  await runService('automation', configurationSchema, ({ configuration, logger }) => {
    const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'automation', 5);
    const digest = new DigestFollower({
      consumer: 'automation',
      brokers: brokerTargets(configuration),
      onReadings: () => undefined,
      onGap: () => undefined,
      onEvent: logConnectionEvent(logger),
      onRefused: ({ broker }, error) => logger.warn({ broker, reason: error.message }, 'not a digest'),
    });
    return {
      controllers: API_CONTROLLERS,
      providers: [{ provide: APP_GUARD, useValue: new ForwardedGuard(configuration.MUSTER_INTERNAL_TOKEN) }],
      readiness: [
        { name: 'brokers', check: () => (digest.ready ? undefined : 'not every broker is connected') },
        {
          name: 'postgres',
          check: async () =>
            (await schemaIsCurrent(database)) ? undefined : 'the schema is not the one of this build',
        },
      ],
      start: async () => {
        await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
        await digest.start(CONNECT_TIMEOUT_MS);
      },
      stop: [() => digest.close(), () => database.$disconnect()],
    };
  });
}
