import { openDatabase, waitForSchema } from '@muster/database';
import { AccountStore, BrokerSaves, ManagedBroker } from '@muster/security';
import {
  brokerTargets,
  brokerVariables,
  loadTopicMap,
  postgresVariables,
  runService,
  serviceVariables,
} from '@muster/service';
import { z } from 'zod';
import { Agent } from './agent.ts';

const configurationSchema = z.object({
  ...serviceVariables,
  ...brokerVariables,
  ...postgresVariables,
  MUSTER_AGENT_FOLDER: z
    .string()
    .min(1)
    .describe('folder with passwords, acl and pid of the broker; {broker} stands for its name where there are several'),
  MUSTER_AGENT_PERSISTENCE: z
    .string()
    .min(1)
    .optional()
    .describe('file in which the broker keeps what it holds; mosquitto.db in its folder where it is left out'),
  MUSTER_AGENT_CERTIFICATES: z.string().min(1).optional().describe('files of a certificate, separated by commas'),
});

await runService('agent', configurationSchema, ({ configuration, logger, metrics }) => {
  const database = openDatabase(configuration.MUSTER_POSTGRES_URL, 'agent', 2);
  const stopping = new AbortController();
  const brokers = brokerTargets(configuration).map(
    (target) =>
      new ManagedBroker({
        target,
        folder: configuration.MUSTER_AGENT_FOLDER.replaceAll('{broker}', target.name),
        ...(configuration.MUSTER_AGENT_PERSISTENCE === undefined
          ? {}
          : { persistenceFile: configuration.MUSTER_AGENT_PERSISTENCE.replaceAll('{broker}', target.name) }),
        certificateFiles: configuration.MUSTER_AGENT_CERTIFICATES?.split(',') ?? [],
        signal: stopping.signal,
        onMissing: (services) =>
          logger.warn(
            { broker: target.name, services },
            'not back a minute after the broker started; it changes its accounts, and keeps nothing for these until they are',
          ),
      }),
  );
  const agent = new Agent({
    brokers,
    accounts: new AccountStore(database),
    saves: new BrokerSaves(database),
    topicMap: loadTopicMap(configuration.MUSTER_TOPIC_MAP),
    postgresUrl: configuration.MUSTER_POSTGRES_URL,
    logger,
    metrics,
  });
  return {
    readiness: [{ name: 'accounts', check: () => agent.fault }],
    start: async () => {
      await waitForSchema(database, (reason) => logger.warn({ reason }, 'waiting for the database'));
      await agent.start();
    },
    stop: [() => stopping.abort(), () => agent.close(), () => database.$disconnect()],
  };
});
