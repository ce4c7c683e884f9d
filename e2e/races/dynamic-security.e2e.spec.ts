import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { DecommissionReport, DeviceGhosts } from '@muster/contract';
import { freePort } from '@muster/engines';
import { localHosts, newAuthority, newServerCertificate } from '@muster/security';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { LoneBroker } from '../lone-broker.ts';
import {
  curl,
  deviceOf,
  execute,
  missingProgram,
  retained,
  StartedSystem,
  stateFolder,
  type ReadyLine,
} from '../system.ts';

/** Where Debian's package has it on the machines that it is built for, and others. */
const PLUGIN = ['x86_64-linux-gnu/', 'aarch64-linux-gnu/', '']
  .map((machine) => `/usr/lib/${machine}mosquitto_dynamic_security.so`)
  .find((file) => existsSync(file));
const ADMIN = { username: 'admin', password: 'of these tests alone' };
const SERVICE = { username: 'muster', password: 'of these tests too' };

const folder = mkdtempSync(path.join(tmpdir(), 'muster-dynsec-'));
const clients: MqttClient[] = [];
let system: StartedSystem;
let address: ReadyLine;
let hub: LoneBroker;
let admin: MqttClient;
let version = '';
let tlsPort: number;
let ca: string;

const missing =
  missingProgram('mosquitto_ctrl', 'openssl') ??
  (PLUGIN === undefined && process.env['CI'] !== 'true' ? 'mosquitto_dynamic_security.so is not installed' : undefined);

type Command = Readonly<Record<string, unknown>> & { readonly command: string };

/** Tells the plugin something; it answers each command, with an error where it refused it. */
async function control(...commands: readonly Command[]): Promise<void> {
  const answered = new Promise<string>((resolve) => {
    admin.once('message', (_topic, payload) => resolve(payload.toString()));
  });
  await admin.publishAsync('$CONTROL/dynamic-security/v1', JSON.stringify({ commands }), { qos: 1 });
  expect(await answered).not.toContain('"error"');
}

/** A client of the plugin with a role of its own, which may publish on some topics. */
async function aClient(name: string, ...topics: readonly string[]): Promise<void> {
  const acls = topics.map((topic) => ({ acltype: 'publishClientSend', topic, allow: true, priority: 0 }));
  await control(
    { command: 'createRole', rolename: `role-${name}`, acls },
    {
      command: 'createClient',
      username: name,
      password: `of ${name}`,
      roles: [{ rolename: `role-${name}`, priority: 0 }],
    },
  );
}

async function connect(name: string, options: IClientOptions = {}, url = hub.url): Promise<MqttClient> {
  const client = await connectAsync(url, {
    ...{ protocolVersion: 5, username: name, password: `of ${name}`, clientId: name, reconnectPeriod: 0 },
    ...{ will: { topic: `devices/${name}/status`, payload: Buffer.from('offline'), qos: 1, retain: true } },
    ...options,
  });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

async function isPresent(name: string, state: string): Promise<void> {
  await vi.waitFor(async () => expect((await deviceOf(address, name)).presence.state).toBe(state), { timeout: 10_000 });
}

async function decommissioned(name: string): Promise<DecommissionReport> {
  const { body } = await curl(address, `/api/v1/devices/${name}/decommission?wait=30s`, '-X', 'POST');
  return body as DecommissionReport;
}

/** A client certificate for a name. */
async function clientCertificate(name: string): Promise<{ readonly cert: string; readonly key: string }> {
  const [cert, key] = [path.join(folder, `${name}.crt`), path.join(folder, `${name}.key`)];
  const authority = ['-CA', path.join(folder, 'ca.crt'), '-CAkey', path.join(folder, 'ca.key')];
  const made = ['-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-days', '2', '-keyout', key, '-out', cert];
  const { code, stderr } = await execute('openssl', ['req', '-x509', ...authority, ...made]);
  if (code !== 0) throw new Error(`openssl: ${stderr}`);
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.endAsync(true)));
});

const title = `a broker with the dynamic-security plugin${missing === undefined ? '' : ` (skipped: ${missing})`}`;
describe.skipIf(missing !== undefined)(title, { timeout: 90_000 }, () => {
  beforeAll(async () => {
    const file = path.join(folder, 'dynamic-security.json');
    const made = await execute('mosquitto_ctrl', ['dynsec', 'init', file, ADMIN.username, ADMIN.password]);
    if (made.code !== 0) throw new Error(`mosquitto_ctrl: ${made.stderr}`);
    const authority = await newAuthority('an authority of these tests');
    const server = await newServerCertificate(authority, { broker: 'hub', hosts: localHosts() });
    ca = authority.certificate;
    for (const [name, text] of Object.entries({
      ...{ 'ca.crt': ca, 'ca.key': authority.key, 'hub.crt': server.certificate, 'hub.key': server.key },
    }))
      writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    tlsPort = await freePort();
    hub = await LoneBroker.start(undefined, [
      `plugin ${PLUGIN ?? 'mosquitto_dynamic_security.so'}`,
      `plugin_opt_config_file ${file}`,
      `listener ${tlsPort} 127.0.0.1`,
      `cafile ${folder}/ca.crt`,
      `certfile ${folder}/hub.crt`,
      `keyfile ${folder}/hub.key`,
      'require_certificate true',
      'use_identity_as_username true',
    ]);
    admin = await connectAsync(hub.url, { ...ADMIN, protocolVersion: 5, reconnectPeriod: 0 });
    await admin.subscribeAsync('$CONTROL/dynamic-security/v1/response', { qos: 1 });
    const acl = (acltype: string, topic: string): object => ({ acltype, topic, allow: true, priority: 0 });
    const topics = ['#', '$SYS/#'].flatMap((topic) => [
      acl('publishClientReceive', topic),
      acl('subscribePattern', topic),
    ]);
    await control(
      { command: 'createRole', rolename: 'service', acls: [...topics, acl('publishClientSend', '#')] },
      { command: 'createClient', ...SERVICE, roles: [{ rolename: 'service', priority: 0 }] },
    );
    version = await new Promise<string>((resolve) => {
      const asking = connectAsync(hub.url, { ...SERVICE, protocolVersion: 5, reconnectPeriod: 0 });
      void asking.then(async (client) => {
        clients.push(client);
        client.on('message', (_topic, payload) => resolve(payload.toString()));
        await client.subscribeAsync('$SYS/broker/version');
      });
    });
    const variables = {
      MUSTER_BROKERS: `hub=${hub.url}`,
      MUSTER_BROKER_USERNAME: SERVICE.username,
      MUSTER_BROKER_PASSWORD: SERVICE.password,
    };
    Object.assign(process.env, variables);
    const starting = StartedSystem.start(['--devices', '0', '--dir', stateFolder()], []);
    for (const name of Object.keys(variables)) Reflect.deleteProperty(process.env, name);
    system = await starting;
    ({ address } = system);
  }, 180_000);
  afterAll(async () => {
    await system.stop();
    await admin.endAsync();
    await hub.stop();
  });

  it('R6 a disabled client is kicked without its will: online stays, and the decommissioning clears it', async () => {
    await aClient('r6', 'devices/r6/#');
    const device = await connect('r6');
    const closed = new Promise<void>((resolve) => device.once('close', () => resolve()));
    await device.publishAsync('devices/r6/status', 'online', { qos: 1, retain: true });
    await isPresent('r6', 'online');
    await control({ command: 'disableClient', username: 'r6' });
    await closed;
    await delay(1_000);
    expect(await retained(address, 'devices/r6/#')).toEqual(['devices/r6/status online']);
    await isPresent('r6', 'online');
    const report = await decommissioned('r6');
    expect(report).toMatchObject({
      state: expect.stringMatching(/^(verified|done)$/) as string,
      account: { state: 'external' },
      after: [],
    });
    expect(report.notDone.join()).toContain('these brokers have their accounts elsewhere');
    expect(await retained(address, 'devices/r6/#')).toEqual([]);
  });

  it('R7 a certificate outlives its client: what a disabled one still publishes is cleared again and told', async () => {
    await aClient('r7', 'devices/r7/#');
    const identity = await clientCertificate('r7');
    const again = (): Promise<MqttClient> => connect('r7', { ...identity, ca }, `mqtts://127.0.0.1:${tlsPort}`);
    await (await again()).publishAsync('devices/r7/status', 'online', { qos: 1, retain: true });
    await isPresent('r7', 'online');
    await control({ command: 'disableClient', username: 'r7' });
    expect((await decommissioned('r7')).state).toBe('verified');
    const ghosts = async (): Promise<DeviceGhosts> =>
      (await curl(address, '/api/v1/devices/r7/ghosts')).body as DeviceGhosts;
    await vi.waitFor(async () => expect((await ghosts()).watched).toBe(true), { timeout: 10_000 });
    await (await again()).publishAsync('devices/r7/status', 'online', { qos: 1, retain: true });
    await vi.waitFor(
      async () =>
        expect((await ghosts()).items).toEqual([
          expect.objectContaining({ cause: 'live-publish', times: 1, clearedAt: expect.any(String) }),
        ]),
      { timeout: 10_000 },
    );
    expect(await retained(address, 'devices/r7/#')).toEqual([]);
    await control({ command: 'deleteClient', username: 'r7' });
    // It is let in, and its messages are thrown away.
    await (await again()).publishAsync('devices/r7/status', 'online', { qos: 1, retain: true }).catch(() => undefined);
    await delay(1_500);
    expect((await ghosts()).items.map(({ times }) => times)).toEqual([1]);
    expect(await retained(address, 'devices/r7/#')).toEqual([]);
  });

  it('R8 a right that is taken away is told to nobody: the device is online, and its readings stand still', async () => {
    await aClient('r8', 'devices/r8/#');
    const device = await connect('r8', { protocolVersion: 4 });
    let isClosed = false;
    device.once('close', () => (isClosed = true));
    await device.publishAsync('devices/r8/status', 'online', { qos: 1, retain: true });
    await device.publishAsync('devices/r8/telemetry', '{"temp":1}', { qos: 1 });
    await isPresent('r8', 'online');
    const temp = async (): Promise<unknown> => (await deviceOf(address, 'r8')).readings['temp']?.value;
    await vi.waitFor(async () => expect(await temp()).toBe(1), { timeout: 10_000 });
    await control({
      command: 'removeRoleACL',
      rolename: 'role-r8',
      acltype: 'publishClientSend',
      topic: 'devices/r8/#',
    });
    await device.publishAsync('devices/r8/telemetry', '{"temp":2}', { qos: 1 });
    await delay(3_000);
    expect([isClosed, await temp()]).toEqual([false, 1]);
    await isPresent('r8', 'online');
  });

  it('R15 %u is no user name in a role of Mosquitto 2.0: the device is never heard', async () => {
    await aClient('r15', 'devices/%u/#');
    const device = await connect('r15');
    const published = device.publishAsync('devices/r15/status', 'online', { qos: 1, retain: true }).then(
      () => 'accepted',
      (error: unknown) => String(error),
    );
    const isExpanded = !version.includes(' 2.0.');
    expect(await published).toMatch(isExpanded ? /accepted/ : /Not authorized/);
    await delay(2_000);
    expect((await curl(address, '/api/v1/devices/r15')).status).toBe(isExpanded ? 200 : 404);
  });
});
