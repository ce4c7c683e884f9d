import {
  apiTokenListSchema,
  apiTokenSchema,
  credentialsSchema,
  newApiTokenSchema,
  revocationSchema,
  type Credentials,
  type Scope,
} from '@muster/contract';
import { callApi, type ApiTarget } from './api-client.ts';
import { table, type OutputOptions } from './device-commands.ts';

function write(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** What to type to be a device: with the authority where the broker speaks TLS. */
function beTheDevice({ username, password, broker }: Credentials, ca: string | undefined): string {
  const { hostname, port, protocol } = new URL(broker.url);
  const tls = protocol === 'mqtts:' ? ` --cafile ${ca ?? 'ca.crt'}` : '';
  const login = `-h ${hostname} -p ${port}${tls} -u ${username} -P ${password}`;
  return `mosquitto_pub ${login} -t devices/${username}/telemetry -m '{"temp":22.5}'`;
}

/** `muster device credentials` and `… rotate`: an account, shown once. */
export async function issueCredentials(
  target: ApiTarget,
  device: string,
  options: OutputOptions & { readonly rotate: boolean; readonly ca: string | undefined },
): Promise<void> {
  const path = `/devices/${device}/credentials${options.rotate ? '/rotate' : ''}`;
  const credentials = await callApi(target, 'POST', path, credentialsSchema);
  if (options.json) {
    write(JSON.stringify(credentials));
    return;
  }
  const behind = credentials.brokers.filter(({ applied }) => !applied).map(({ broker }) => broker);
  write(`user name   ${credentials.username}   (and client id)`);
  write(`password    ${credentials.password}   shown this once`);
  write(`broker      ${credentials.broker.url}`);
  if (behind.length > 0) write(`not yet let in by ${behind.join(', ')}: their agents have not taken the account yet`);
  write(`\n${beTheDevice(credentials, options.ca)}`);
}

/** `muster device revoke`: takes the account away; answers whether every broker has done so. */
export async function revokeCredentials(target: ApiTarget, device: string, output: OutputOptions): Promise<boolean> {
  const revocation = await callApi(target, 'DELETE', `/devices/${device}/credentials`, revocationSchema);
  const behind = revocation.brokers.filter(({ applied }) => !applied).map(({ broker }) => broker);
  if (output.json) write(JSON.stringify(revocation));
  else if (!revocation.revoked) write(`${device} has no account`);
  else if (behind.length === 0) write(`${device} is disconnected, and no broker lets it in any more`);
  else write(`the account of ${device} is gone; ${behind.join(', ')} has not taken that yet`);
  return behind.length === 0;
}

/** `muster token ls`. */
export async function listTokens(target: ApiTarget, output: OutputOptions): Promise<void> {
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

/** `muster token create`: prints the token, and nothing else on standard output. */
export async function createToken(
  target: ApiTarget,
  request: { readonly name: string; readonly scope: Scope; readonly expiresInDays: number | undefined },
  output: OutputOptions,
): Promise<void> {
  const { expiresInDays, ...rest } = request;
  const body = { ...rest, ...(expiresInDays === undefined ? {} : { expiresInDays }) };
  const created = await callApi(target, 'POST', '/tokens', newApiTokenSchema, body);
  write(output.json ? JSON.stringify(created) : created.token);
}

/** `muster token revoke`. */
export async function revokeToken(target: ApiTarget, id: string, output: OutputOptions): Promise<void> {
  const token = await callApi(target, 'DELETE', `/tokens/${id}`, apiTokenSchema);
  write(output.json ? JSON.stringify(token) : `${token.name} is revoked`);
}
