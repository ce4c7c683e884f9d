import { readFileSync } from 'node:fs';
import { connect as connectPlain } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Credentials } from '@muster/contract';
import { newAuthority } from '@muster/security';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { curl, deviceOf, muster, type ReadyLine } from '../system.ts';

/** One thing that was tried against the running system. */
export interface Attempt {
  readonly name: string;
  readonly expected: string;
  readonly found: string;
  readonly ok: boolean;
}

/** Everything that attempts are made with. */
export interface Scene {
  readonly address: ReadyLine;
  readonly ca: string;
  readonly alice: Credentials;
  readonly bob: Credentials;
}

const ANSWER_LIMIT_MS = 5_000;
const QUIET_MS = 1_000;

/** A client of the device port, or of another one. */
function client(scene: Scene, options: IClientOptions, url = scene.address.broker.urls[0] ?? ''): MqttClient {
  return mqtt.connect(url, {
    protocolVersion: 5,
    reconnectPeriod: 0,
    connectTimeout: ANSWER_LIMIT_MS,
    ca: scene.ca,
    ...options,
  });
}

function account({ username, password }: Credentials): IClientOptions {
  return { username, password, clientId: username };
}

/** `accepted`, or why not, in the words of the client. */
async function connecting(connection: MqttClient): Promise<string> {
  return new Promise((resolve) => {
    const finish = (outcome: string): void => {
      clearTimeout(timer);
      connection.end(true);
      resolve(outcome);
    };
    const timer = setTimeout(() => finish('refused: no answer'), ANSWER_LIMIT_MS);
    connection.on('connect', () => finish('accepted'));
    connection.on('error', (error) => finish(`refused: ${error.message}`));
    connection.on('close', () => finish('refused: closed by the broker'));
  });
}

async function connected(scene: Scene, options: IClientOptions, url?: string): Promise<MqttClient> {
  const connection = client(scene, options, url);
  connection.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    connection.once('connect', () => resolve());
    connection.once('close', () => reject(new Error('the broker did not let it in')));
  });
  return connection;
}

async function publishing(scene: Scene, who: Credentials, topic: string, retain = false): Promise<string> {
  const connection = await connected(scene, account(who));
  try {
    await connection.publishAsync(topic, '{"temp":1}', { qos: 1, retain });
    return 'accepted';
  } catch (error) {
    return `refused: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    connection.end(true);
  }
}

/** How many messages a client gets of a filter within a second. */
async function receiving(scene: Scene, options: IClientOptions, filter: string, url?: string): Promise<number> {
  const connection = await connected(scene, options, url);
  let count = 0;
  connection.on('message', () => (count += 1));
  try {
    // Mosquitto 2.0 grants any subscription where an acl_file rules, and decides at each message.
    await connection.subscribeAsync(filter, { qos: 0 });
    await delay(QUIET_MS);
    return count;
  } finally {
    connection.end(true);
  }
}

/** The account of a service, which may read what a device may not: so that silence proves something. */
function service(name: 'ingestion' | 'registry', passwords: Readonly<Record<string, string>>): IClientOptions {
  return { username: `muster.${name}`, password: passwords[name] ?? '', clientId: `security-${name}` };
}

const refused =
  (reason: string) =>
  (found: string): boolean =>
    found.startsWith('refused') && found.includes(reason);

/** Tries everything; each attempt is made for real, and against something that would answer otherwise. */
export async function* attempts(scene: Scene, dir: string): AsyncGenerator<Attempt> {
  const { address, alice, bob } = scene;
  const passwords = JSON.parse(readFileSync(`${dir}/secrets.json`, 'utf8')) as Readonly<Record<string, string>>;
  const serviceUrl = address.broker.serviceUrls[0] ?? '';
  const attempt = (name: string, expected: string, found: string, isOk: (found: string) => boolean): Attempt => ({
    name,
    expected,
    found,
    ok: isOk(found),
  });
  const tried = async (name: string, options: IClientOptions, expected: string): Promise<Attempt> =>
    attempt(name, `refused: ${expected}`, await connecting(client(scene, options)), refused(expected));

  yield attempt(
    'right password over TLS',
    'accepted',
    await connecting(client(scene, account(alice))),
    (found) => found === 'accepted',
  );
  yield attempt(
    'own telemetry',
    'accepted',
    await publishing(scene, alice, 'devices/alice/telemetry'),
    (found) => found === 'accepted',
  );
  yield await tried('no account', { clientId: 'alice' }, 'Not authorized');
  yield await tried('wrong password', { ...account(alice), password: bob.password }, 'Not authorized');
  yield await tried('unknown user', { ...account(alice), username: 'carol' }, 'Not authorized');
  const strangers = await newAuthority('Stranger');
  yield await tried('broker of another CA', { ...account(alice), ca: strangers.certificate }, 'certificate');
  yield attempt('without TLS on the TLS port', 'closed', await plaintext(address), (found) => found === 'closed');

  for (const [name, topic] of [
    ["another device's telemetry", 'devices/bob/telemetry'],
    ["another device's command", 'devices/bob/command'],
    ["another device's settings", 'devices/bob/config'],
    ["an answer in another device's name", 'devices/bob/ack'],
    ['muster/services/ingestion', 'muster/services/ingestion'],
    ['the canary of ingestion', 'muster/services/ingestion/canary/mosquitto-0'],
    ['the digest of readings', 'muster/digest/mosquitto-0'],
    ["what rules have done, in automation's name", 'muster/automation/applied'],
    ['the interest of alerting', 'muster/interest/alerting'],
    ['a room that it does not own', 'home/hall/motion'],
  ] as const)
    yield attempt(
      `publish to ${name}`,
      'refused: Not authorized',
      await publishing(scene, alice, topic),
      refused('Not authorized'),
    );
  // Something that a subscriber would get at once.
  await publishing(scene, bob, 'devices/bob/status', true);

  for (const [filter, reader] of [
    ['devices/bob/#', 'registry'],
    ['muster/#', 'registry'],
    ['$SYS/#', 'ingestion'],
    ['$SYS/#', 'registry'],
    ['#', 'registry'],
  ] as const) {
    const own = filter === '#' ? 'messages of others: 0' : 'messages: 0';
    const seen = filter === '#' ? await receivingOfOthers(scene) : await receiving(scene, account(alice), filter);
    const control = await receiving(scene, service(reader, passwords), filter, serviceUrl);
    yield attempt(
      `subscribe to ${filter} as a device`,
      `${own} (the service that may: > 0)`,
      `${own.replace(/0$/, String(seen))} (muster.${reader}: ${control})`,
      () => seen === 0 && control > 0,
    );
  }

  yield await stolenClientId(scene);
  yield await revocation(scene);
  yield await rotation(scene);
  yield* restApi(address);
}

async function receivingOfOthers(scene: Scene): Promise<number> {
  const connection = await connected(scene, account(scene.alice));
  let count = 0;
  connection.on('message', (topic) => (count += topic.startsWith('devices/alice/') ? 0 : 1));
  try {
    await connection.subscribeAsync('#', { qos: 0 });
    await delay(QUIET_MS);
    return count;
  } finally {
    connection.end(true);
  }
}

/** Speaks MQTT without TLS to the TLS port. */
async function plaintext({ broker }: ReadyLine): Promise<string> {
  const { port } = new URL(broker.urls[0] ?? '');
  return new Promise((resolve) => {
    const socket = connectPlain(Number(port), '127.0.0.1');
    socket.setTimeout(ANSWER_LIMIT_MS, () => {
      resolve('open');
      socket.destroy();
    });
    let got = Buffer.alloc(0);
    socket.on('connect', () => socket.write(Buffer.from('100e00044d5154540402000a00026d30', 'hex')));
    socket.on('data', (chunk) => (got = Buffer.concat([got, chunk])));
    socket.on('error', () => resolve('closed'));
    // A CONNACK is 0x20; what may come is the alert of TLS, 0x15.
    socket.on('close', () => resolve(got[0] === 0x20 ? 'a CONNACK' : 'closed'));
  });
}

/** Alice says that she is bob, and that she is ingestion: neither must lose its connection. */
async function stolenClientId(scene: Scene): Promise<Attempt> {
  const victim = await connected(scene, account(scene.bob));
  let disconnections = 0;
  victim.on('close', () => (disconnections += 1));
  for (const clientId of ['bob', 'muster-ingestion-mosquitto-0']) {
    const thief = await connected(scene, { ...account(scene.alice), clientId });
    await delay(200);
    thief.end(true);
  }
  victim.removeAllListeners('close');
  victim.end(true);
  const ready = await curl(scene.address, '/api/v1/presence/summary');
  return {
    name: "another's client id (bob's, ingestion's)",
    expected: 'nobody is disconnected',
    found: disconnections === 0 && ready.status === 200 ? 'nobody is disconnected' : `${disconnections} disconnections`,
    ok: disconnections === 0,
  };
}

/** A connected device is revoked: it is gone at once and stays out. */
async function revocation(scene: Scene): Promise<Attempt> {
  const credentials = await issue(scene.address, 'carol');
  const connection = await connected(scene, account(credentials));
  const closed = new Promise<number>((resolve) => {
    const startedAt = performance.now();
    connection.once('close', () => resolve(Math.round(performance.now() - startedAt)));
  });
  const { code } = await muster(scene.address, 'device', 'revoke', 'carol');
  const tookMs = await Promise.race([closed, delay(ANSWER_LIMIT_MS, -1)]);
  const again = await connecting(client(scene, account(credentials)));
  return {
    name: 'a revoked device, connected and again',
    expected: 'disconnected; refused: Not authorized',
    found: `${tookMs < 0 ? 'still connected' : 'disconnected'}; ${again}`,
    ok: code === 0 && tookMs >= 0 && refused('Not authorized')(again),
  };
}

async function rotation(scene: Scene): Promise<Attempt> {
  const old = await issue(scene.address, 'dave');
  const rotated = await muster(scene.address, 'device', 'credentials', 'dave', '--rotate', '--json');
  const before = await connecting(client(scene, account(old)));
  const now = await connecting(client(scene, account(JSON.parse(rotated.stdout) as Credentials)));
  return {
    name: 'old and new password after a rotation',
    expected: 'refused: Not authorized; accepted',
    found: `${before}; ${now}`,
    ok: refused('Not authorized')(before) && now === 'accepted',
  };
}

/** The account of a device, by the command line. */
export async function issue(address: ReadyLine, device: string): Promise<Credentials> {
  const { code, stdout, stderr } = await muster(address, 'device', 'credentials', device, '--json');
  if (code !== 0) throw new Error(`no credentials for ${device}: ${stderr}`);
  return JSON.parse(stdout) as Credentials;
}

async function* restApi(address: ReadyLine): AsyncGenerator<Attempt> {
  const viewer = (await muster(address, 'token', 'create', 'security check', '--scope', 'viewer', '--json')).stdout;
  const { token, id } = JSON.parse(viewer) as { readonly token: string; readonly id: string };
  const as = (value: string): ReadyLine => ({ ...address, api: { ...address.api, token: value } });
  const status = async (
    name: string,
    expected: number,
    who: ReadyLine,
    path: string,
    ...args: string[]
  ): Promise<Attempt> => {
    const answer = await curl(who, path, ...args);
    return {
      name: `REST: ${name}`,
      expected: String(expected),
      found: String(answer.status),
      ok: answer.status === expected,
    };
  };
  const post = ['-X', 'POST'];
  const json = (body: string): string[] => ['-H', 'content-type: application/json', '-d', body];
  yield await status('no token', 401, as(''), '/api/v1/devices');
  yield await status('no token, and the path spelled in another way', 401, as(''), '/API/v1/Devices');
  yield await status('no token, and another slash', 401, as(''), '/api/v1/devices/');
  yield await status('unknown token', 401, as('muster_x'), '/api/v1/devices');
  yield await status('viewer looks', 200, as(token), '/api/v1/devices');
  yield await status('viewer decommissions', 403, as(token), '/api/v1/devices/alice/decommission', ...post);
  yield await status('viewer gives credentials', 403, as(token), '/api/v1/devices/eve/credentials', ...post);
  yield await status('no token, rules in another spelling', 401, as(''), '/API/v1/Rules');
  yield await status('no token, live readings', 401, as(''), '/api/v1/live');
  yield await status('viewer looks at rules', 200, as(token), '/api/v1/rules');
  yield await status('viewer sets the mode', 403, as(token), '/api/v1/mode', '-X', 'PUT', ...json('{"mode":"away"}'));
  yield await status('viewer saves rules', 403, as(token), '/api/v1/rules', ...post, ...json('{"yaml":"x"}'));
  yield await status('viewer reads tokens', 403, as(token), '/api/v1/tokens');
  await muster(address, 'token', 'revoke', id);
  yield await status('revoked token', 401, as(token), '/api/v1/devices');
  const known = await deviceOf(address, 'alice');
  yield {
    name: 'after all this the device is there, with its reading',
    expected: 'temp 1',
    found: `temp ${String(known.readings['temp']?.value)}`,
    ok: known.readings['temp']?.value === 1,
  };
}
