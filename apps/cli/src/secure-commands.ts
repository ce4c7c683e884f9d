import { openDatabase } from '@muster/database';
import {
  AccountStore,
  CertificateFolder,
  ensureAdminToken,
  ensureGrafanaReader,
  GRAFANA_ROLE,
  localHosts,
  SERVICE_NAMES,
  serviceUsername,
  SHARED_USERNAME,
} from '@muster/security';
import { postgresVariables, readConfiguration } from '@muster/service';
import type { Command } from 'commander';
import { z } from 'zod';
import { addAdviseCommand } from './advise-command.ts';
import { table } from './output.ts';
import { UsageError } from './up/settings.ts';

const password = z.string().min(16, 'expected at least 16 characters').meta({ secret: true });

/** The passwords that `muster secure accounts` is given, in the environment so that none stands in a command line. */
const accountVariables = {
  ...postgresVariables,
  MUSTER_INGESTION_PASSWORD: password,
  MUSTER_PRESENCE_PASSWORD: password,
  MUSTER_REGISTRY_PASSWORD: password,
  MUSTER_AUTOMATION_PASSWORD: password,
  MUSTER_ALERTING_PASSWORD: password,
  MUSTER_SHARED_PASSWORD: password.optional().meta({ secret: true }),
  MUSTER_ADMIN_TOKEN: password.optional().meta({ secret: true }),
  MUSTER_GRAFANA_PASSWORD: password.optional().meta({ secret: true }),
};

function hostsOf(text: string, before: ReadonlyMap<string, readonly string[]>): ReadonlyMap<string, readonly string[]> {
  const [, broker, hosts] = /^([a-z0-9][a-z0-9-]{0,62})=([A-Za-z0-9.:,*-]+)$/.exec(text) ?? [];
  if (broker === undefined || hosts === undefined)
    throw new UsageError(`--broker expects NAME=HOST,HOST; found ${JSON.stringify(text)}`);
  return new Map([...before, [broker, hosts.split(',')]]);
}

async function initialize(
  dir: string,
  brokers: ReadonlyMap<string, readonly string[]>,
  output: { readonly json: boolean },
): Promise<void> {
  const names = brokers.size === 0 ? new Map([['mosquitto-0', localHosts()]]) : brokers;
  const issued = await new CertificateFolder(dir).issue([...names].map(([broker, hosts]) => ({ broker, hosts })));
  if (output.json) {
    process.stdout.write(`${JSON.stringify(issued)}\n`);
    return;
  }
  const rows = issued.map(({ name, state, hosts, expiresAt }) => [
    `${dir}/${name}.crt`,
    state,
    expiresAt.toISOString().slice(0, 10),
    hosts.join(' '),
  ]);
  process.stdout.write(`${table(['CERTIFICATE', 'STATE', 'EXPIRES', 'HOSTS'], rows)}\n`);
  process.stdout.write(`\nDevices need ${dir}/ca.crt. Keep ${dir}/ca.key to yourself: who has it can be any broker.\n`);
}

async function provisionAccounts(output: { readonly json: boolean }): Promise<void> {
  const values = readConfiguration(z.object(accountVariables), process.env);
  const database = openDatabase(values.MUSTER_POSTGRES_URL, 'accounts', 1);
  try {
    const passwords = {
      ingestion: values.MUSTER_INGESTION_PASSWORD,
      presence: values.MUSTER_PRESENCE_PASSWORD,
      registry: values.MUSTER_REGISTRY_PASSWORD,
      automation: values.MUSTER_AUTOMATION_PASSWORD,
      alerting: values.MUSTER_ALERTING_PASSWORD,
    };
    const accounts = new AccountStore(database);
    const shared = values.MUSTER_SHARED_PASSWORD;
    await accounts.ensure(
      [
        ...SERVICE_NAMES.map((service) => ({
          kind: 'service' as const,
          username: serviceUsername(service),
          password: passwords[service],
        })),
        ...(shared === undefined ? [] : [{ kind: 'shared' as const, username: SHARED_USERNAME, password: shared }]),
      ],
      shared === undefined ? [SHARED_USERNAME] : [],
    );
    if (values.MUSTER_ADMIN_TOKEN !== undefined)
      await ensureAdminToken(database, 'installation', values.MUSTER_ADMIN_TOKEN);
    const reader = values.MUSTER_GRAFANA_PASSWORD;
    if (reader !== undefined && !(await ensureGrafanaReader(database, reader)))
      process.stderr.write(
        `no reader for dashboards: this role may not make others; make ${GRAFANA_ROLE} yourself, with USAGE on the schema grafana and SELECT on its views\n`,
      );
    const version = Number(await accounts.version());
    process.stdout.write(
      output.json ? `${JSON.stringify({ version })}\n` : `the accounts are there; they are at version ${version}\n`,
    );
  } finally {
    await database.$disconnect();
  }
}

/** Adds `muster secure …` to the command line. */
export function addSecureCommands(muster: Command): void {
  const secure = muster.command('secure').description('certificates, accounts, and advice on a configuration');
  secure
    .command('init')
    .description('make an authority and a server certificate for each broker, or renew what is due')
    .option('--dir <path>', 'where the files are kept', 'tls')
    .option(
      '--broker <name=host,host>',
      'a broker with all names and addresses by which clients call it; this machine as mosquitto-0 otherwise',
      hostsOf,
      new Map<string, readonly string[]>(),
    )
    .option('--json', 'print JSON on standard output', false)
    .action(async (options: { dir: string; broker: ReadonlyMap<string, readonly string[]>; json: boolean }) => {
      await initialize(options.dir, options.broker, options);
    });
  addAdviseCommand(secure);
  secure
    .command('accounts')
    .description(
      'put the accounts of the services, the first token and the reader of dashboards into the database, from the environment',
    )
    .option('--json', 'print JSON on standard output', false)
    .action(async (options: { json: boolean }) => {
      await provisionAccounts(options);
    });
}
