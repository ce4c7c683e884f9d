import {
  apiTokenListSchema,
  apiTokenSchema,
  credentialsSchema,
  newApiTokenSchema,
  revocationSchema,
  scopeSchema,
  type Credentials,
  type Scope,
} from '@muster/contract';
import { Option, type Command } from 'commander';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, ownAuthority, withApi } from './api-target.ts';
import { deviceArgument, wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, say, table, waitingFor, write, type OutputOptions } from './output.ts';

/** What to type to be a device: with the authority where the broker speaks TLS. */
function beTheDevice({ username, password, broker }: Credentials, ca: string | undefined): string {
  const { hostname, port, protocol } = new URL(broker.url);
  const tls = protocol === 'mqtts:' ? ` --cafile ${ca ?? 'ca.crt'}` : '';
  const login = `-h ${hostname} -p ${port}${tls} -u ${username} -P ${password}`;
  return `mosquitto_pub ${login} -t devices/${username}/telemetry -m '{"temp":22.5}'`;
}

/** An account as lines for people. */
export function issuedLines(credentials: Credentials, ca: string | undefined): readonly string[] {
  return [
    `user name   ${credentials.username}   (and client id)`,
    `password    ${credentials.password}   shown this once`,
    `broker      ${credentials.broker.url}`,
    '',
    beTheDevice(credentials, ca),
  ];
}

/** An account, shown once. */
async function issueCredentials(
  target: ApiTarget,
  device: string,
  options: OutputOptions & { readonly rotate: boolean; readonly ca: string | undefined },
): Promise<void> {
  const path = `/devices/${device}/credentials${options.rotate ? '/rotate' : ''}`;
  const credentials = await waitingFor(
    `waiting until the brokers let ${device} in`,
    callApi(target, 'POST', path, credentialsSchema),
  );
  if (options.json) {
    write(JSON.stringify(credentials));
    return;
  }
  const behind = credentials.brokers.filter(({ applied }) => !applied).map(({ broker }) => broker);
  for (const line of issuedLines(credentials, options.ca)) write(line);
  if (behind.length > 0) say(`not yet let in by ${behind.join(', ')}: their agents have not taken the account yet`);
}

/** Takes the account away; answers whether every broker has done so. */
async function revokeCredentials(target: ApiTarget, device: string, output: OutputOptions): Promise<boolean> {
  const revocation = await waitingFor(
    `waiting until no broker lets ${device} in any more`,
    callApi(target, 'DELETE', `/devices/${device}/credentials`, revocationSchema),
  );
  const behind = revocation.brokers.filter(({ applied }) => !applied).map(({ broker }) => broker);
  if (output.json) write(JSON.stringify(revocation));
  else if (!revocation.revoked) write(`${device} has no account`);
  else if (behind.length === 0) write(`${device} is disconnected, and no broker lets it in any more`);
  else write(`the account of ${device} is gone; ${behind.join(', ')} has not taken that yet`);
  return behind.length === 0;
}

async function listTokens(target: ApiTarget, output: OutputOptions): Promise<void> {
  const { items } = await callApi(target, 'GET', '/tokens', apiTokenListSchema);
  if (output.json) {
    write(JSON.stringify(items));
    return;
  }
  write(
    table(
      ['ID', 'NAME', 'SCOPE', 'CREATED', 'LAST USED', 'STATE'],
      items.map((token) => [
        token.id,
        token.name,
        token.scope,
        token.createdAt,
        token.lastUsedAt ?? 'never',
        token.revokedAt === null
          ? token.expiresAt === null
            ? 'valid'
            : `until ${token.expiresAt}`
          : `revoked ${token.revokedAt}`,
      ]),
    ),
  );
}

/** Prints the token, and nothing else on standard output. */
async function createToken(
  target: ApiTarget,
  request: { readonly name: string; readonly scope: Scope; readonly expiresInDays: number | undefined },
  output: OutputOptions,
): Promise<void> {
  const { expiresInDays, ...rest } = request;
  const body = { ...rest, ...(expiresInDays === undefined ? {} : { expiresInDays }) };
  const created = await callApi(target, 'POST', '/tokens', newApiTokenSchema, body);
  write(output.json ? JSON.stringify(created) : created.token);
}

async function revokeToken(target: ApiTarget, id: string, output: OutputOptions): Promise<void> {
  const token = await callApi(target, 'DELETE', `/tokens/${id}`, apiTokenSchema);
  write(output.json ? JSON.stringify(token) : `${token.name} is revoked`);
}

/** Adds `muster device credentials` and `muster device revoke` to `muster device`. */
export function addCredentialCommands(devices: Command): void {
  withApi(
    devices
      .command('credentials')
      .description('give a device its account at the brokers; the password is shown this once')
      .argument('<device>', 'its id', deviceArgument),
  )
    .option('--rotate', 'a new password for the account that it has', false)
    .action(async (id: string, options: OutputOptions & { readonly rotate: boolean }, command: Command) => {
      await issueCredentials(apiTarget(command), id, { ...options, ca: ownAuthority() });
    });
  withApi(
    devices
      .command('revoke')
      .description('take the account of a device away: it is disconnected and not let in again')
      .argument('<device>', 'its id', deviceArgument),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    if (!(await revokeCredentials(apiTarget(command), id, options))) process.exitCode = EXIT_FAILURE;
  });
}

/** Adds `muster token …` to the command line. */
export function addTokenCommands(muster: Command): void {
  const tokens = muster.command('token').description('tokens of the REST API');
  withApi(tokens.command('ls').description('list tokens')).action(async (options: OutputOptions, command: Command) => {
    await listTokens(apiTarget(command), options);
  });
  withApi(
    tokens
      .command('create')
      .description('make a token; it is shown this once')
      .argument('<name>', 'who or what will use it')
      .addOption(
        new Option('--scope <scope>', 'what it allows: to look, to change devices too, to manage tokens too')
          .choices(scopeSchema.options)
          .default('viewer'),
      )
      .option('--expires <days>', 'after how many days it ends', wholeNumber(0, 10_000)),
  ).action(
    async (
      name: string,
      options: OutputOptions & { readonly scope: Scope; readonly expires?: number },
      command: Command,
    ) => {
      await createToken(apiTarget(command), { name, scope: options.scope, expiresInDays: options.expires }, options);
    },
  );
  withApi(
    tokens.command('revoke').description('revoke a token').argument('<id>', 'its id, as "token ls" shows it'),
  ).action(async (id: string, options: OutputOptions, command: Command) => {
    await revokeToken(apiTarget(command), id, options);
  });
}
