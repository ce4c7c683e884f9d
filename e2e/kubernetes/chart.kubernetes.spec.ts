import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deviceId, type Credentials, type DecommissionReport, type Device } from '@muster/contract';
import { Chance, DeviceCore, Surroundings, VirtualDevice, VirtualTime } from '@muster/simulator';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { execute } from '../system.ts';
import { Release, successful } from './release.ts';

const NAMESPACE = 'muster-e2e';
const DEVICES = ['north-1', 'north-2', 'south-1', 'south-2'].map(deviceId);
const release = new Release('e2e', NAMESPACE, process.env['MUSTER_IMAGE'] ?? 'muster/muster:0.1.0');
const running = new Map<string, VirtualDevice>();
const accounts = new Map<string, Credentials>();
let ca = '';

async function device(id: string): Promise<Device> {
  return (await release.rest('GET', `/devices/${id}`)).body as Device;
}

/** The broker that a device was assigned, as this machine reaches it: its certificate names 127.0.0.1 too. */
async function urlOf(broker: string): Promise<string> {
  return `mqtts://127.0.0.1:${await release.forward(broker, 8883)}`;
}

async function credentials(id: string): Promise<Credentials> {
  const { status, body } = await release.rest('POST', `/devices/${id}/credentials`);
  expect([status, body]).toMatchObject([201, { device: id }]);
  return body as Credentials;
}

async function start(
  { device: id, username, password, broker }: Credentials,
  at = broker.name,
): Promise<VirtualDevice> {
  const target = { name: at, url: await urlOf(at), username, password, ca };
  const time = new VirtualTime();
  const virtual = new VirtualDevice({
    ...{
      id,
      broker: target,
      node: 'dht22',
      settings: { sample: 2, heartbeat: 5 },
      time,
      core: await DeviceCore.load(),
    },
    surroundings: new Surroundings(new Chance(1), time.nowMs),
  });
  virtual.start();
  return virtual;
}

async function untilPresence(id: string, state: string): Promise<void> {
  await vi.waitFor(async () => expect((await device(id)).presence).toMatchObject({ state }), {
    timeout: 60_000,
    interval: 500,
  });
}

/** A client that keeps what it sent until it is acknowledged, over any number of connections. */
async function patientClient(account: Credentials): Promise<MqttClient> {
  const client = mqtt.connect(await urlOf(account.broker.name), {
    protocolVersion: 5,
    clientId: account.clientId,
    username: account.username,
    password: account.password,
    ca,
    clean: false,
    properties: { sessionExpiryInterval: 3_600 },
    reconnectPeriod: 500,
  });
  client.on('error', () => undefined);
  await new Promise<void>((resolve) => client.once('connect', () => resolve()));
  return client;
}

beforeAll(async () => {
  if (process.env['KUBECONFIG'] === undefined)
    throw new Error('KUBECONFIG is not set: give a cluster whose nodes have the images (CONTRIBUTING.md)');
  await release.remove();
}, 400_000);
afterAll(async () => {
  for (const virtual of running.values()) virtual.crash();
  await release.remove();
}, 400_000);
beforeEach((context) => {
  context.onTestFailed(async () => void process.stderr.write(`${await release.diagnosis()}\n`));
});

describe('the chart on a Kubernetes', () => {
  it('is installed from nothing, and everything becomes ready', async () => {
    const { code, stdout, stderr } = await release.helm('install');
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('helm test -n muster-e2e e2e');
    ca = await release.secret('ca.crt', `${release.fullName}-broker-tls`);
    const pods = await release.kubectl(
      'get',
      'pods',
      '-o',
      'jsonpath={.items[*].status.containerStatuses[*].restartCount}',
    );
    expect(pods.split(' ')).toHaveLength(12);
  }, 360_000);

  it('helm test: a device publishes over TLS and REST answers with its reading', async () => {
    const test = await execute('helm', ['test', release.name, '-n', NAMESPACE, '--timeout', '3m'], 200_000);
    expect(test.stdout, test.stderr).toContain('Succeeded');
  }, 210_000);

  it('gives devices accounts, spread over both brokers, and shows them online with readings', async () => {
    for (const id of DEVICES) accounts.set(id, await credentials(id));
    const brokers = [...accounts.values()].map(({ broker }) => broker.name).sort();
    expect(brokers).toEqual([0, 0, 1, 1].map((index) => `${release.fullName}-mosquitto-${index}`));
    for (const [id, account] of accounts) running.set(id, await start(account));
    for (const id of DEVICES) await untilPresence(id, 'online');
    await vi.waitFor(async () => expect((await device('south-2')).readings).toHaveProperty('temp'), {
      timeout: 10_000,
    });
  }, 120_000);

  it('writes their telemetry into InfluxDB', async () => {
    await vi.waitFor(
      async () => {
        const answer = await release.influxql(
          'SELECT count(temp) FROM telemetry WHERE time > now() - 10m GROUP BY device',
        );
        const { results } = JSON.parse(answer) as { results: { series?: { tags: { device: string } }[] }[] };
        expect(results[0]?.series?.map(({ tags }) => tags.device)).toEqual(expect.arrayContaining([...DEVICES]));
      },
      { timeout: 20_000, interval: 500 },
    );
  }, 30_000);

  it('shows a will as lost, with its broker as evidence', async () => {
    running.get('north-2')?.crash();
    await untilPresence('north-2', 'lost');
    expect((await device('north-2')).presence).toMatchObject({
      reason: 'will',
      evidence: { broker: accounts.get('north-2')?.broker.name },
    });
  }, 70_000);

  it('P3 a device that moves to the other broker is online, also when the old will comes after', async () => {
    const account = accounts.get('south-1');
    const before = running.get('south-1');
    if (account === undefined || before === undefined) throw new Error('south-1 has not been started');
    const other = [...accounts.values()].find(({ broker }) => broker.name !== account.broker.name);
    const session = (await device('south-1')).presence.session ?? 0;
    // Its session number is the second at which it starts: the next one must be higher.
    await delay(2_000);
    running.set('south-1', await start(account, other?.broker.name));
    await vi.waitFor(async () => expect((await device('south-1')).presence.session).toBeGreaterThan(session), {
      timeout: 20_000,
    });
    before.crash();
    await delay(3_000);
    expect((await device('south-1')).presence).toMatchObject({
      state: 'online',
      evidence: { broker: other?.broker.name },
    });
  }, 60_000);

  it('decommissions: a verified report, the device disconnected and not let in again', async () => {
    const { status, body } = await release.rest('POST', '/devices/north-1/decommission');
    expect([status, body]).toMatchObject([
      200,
      { state: expect.stringMatching(/^(verified|done)$/) as string, after: [], account: { state: 'revoked' } },
    ]);
    const report = body as DecommissionReport;
    expect(report.brokers).toHaveLength(2);
    expect(report.cleared.map(({ topic }) => topic).sort()).toEqual(['devices/north-1/info', 'devices/north-1/status']);
    running.get('north-1')?.crash();
    const account = accounts.get('north-1');
    if (account === undefined) throw new Error('north-1 has no account');
    const options = {
      username: 'north-1',
      password: account.password,
      ca,
      reconnectPeriod: 0,
      protocolVersion: 5,
    } as const;
    const url = await urlOf(account.broker.name);
    const answer = async (): Promise<string> => {
      const client = mqtt.connect(url, options);
      const reason = await new Promise<string>((resolve) => {
        client.on('connect', () => resolve('accepted'));
        client.on('error', ({ message }) => resolve(message));
      });
      client.end(true);
      return reason;
    };
    // kubectl's forwarding ends with a connection that is cut, and comes back: its refusal is not the broker's.
    const fromBroker = await vi.waitFor(
      async () => {
        const reason = await answer();
        expect(reason).not.toContain('ECONNREFUSED');
        return reason;
      },
      { timeout: 20_000, interval: 500 },
    );
    expect(fromBroker).toContain('Not authorized');
  }, 60_000);

  it('upgrades with changed values, keeps its passwords, and devices come back', async () => {
    const before = await release.kubectl('get', 'secret', `${release.fullName}-secrets`, '-o', 'jsonpath={.data}');
    const { code, stderr } = await release.helm('upgrade', 'broker.limits.maxConnections=500', 'logLevel=debug');
    expect(code, stderr).toBe(0);
    expect(await release.kubectl('get', 'secret', `${release.fullName}-secrets`, '-o', 'jsonpath={.data}')).toBe(
      before,
    );
    const conf = await release.kubectl(
      'exec',
      `${release.fullName}-mosquitto-0`,
      '-c',
      'mosquitto',
      '--',
      'cat',
      '/mosquitto/config/mosquitto.conf',
    );
    expect(conf).toContain('max_connections 500');
    for (const id of ['south-1', 'south-2']) await untilPresence(id, 'online');
  }, 360_000);

  it('refuses to lower the number of brokers, with a sentence', async () => {
    const { code, stderr } = await release.helm('upgrade', 'broker.replicas=1', 'ingestion.replicas=1');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/broker\.replicas would go from 2 to 1: .*broker\.allowShrink=true/);
  }, 60_000);

  it('loses no QoS 1 message while a broker’s pod is replaced, and devices are online again', async () => {
    const account = await credentials('counter');
    const client = await patientClient(account);
    const sent: Promise<unknown>[] = [];
    const firstMs = Date.now();
    for (let seq = 1; seq <= 300; seq += 1) {
      const message = JSON.stringify({ temp: seq, ts: firstMs + seq, session: 1, seq });
      sent.push(client.publishAsync(`devices/counter/telemetry`, message, { qos: 1 }));
      if (seq === 100) void release.kubectl('delete', 'pod', account.broker.name, '--wait=false');
      await delay(50);
    }
    await Promise.all(sent);
    client.end(true);
    await vi.waitFor(
      async () => {
        const answer = await release.influxql(
          `SELECT seq FROM telemetry WHERE device = 'counter' AND time > now() - 1h`,
        );
        const { results } = JSON.parse(answer) as { results: { series?: { values: [number, number][] }[] }[] };
        const stored = new Set(results[0]?.series?.[0]?.values.map(([, seq]) => seq));
        const missing = Array.from({ length: 300 }, (_, index) => index + 1).filter((seq) => !stored.has(seq));
        expect(missing).toEqual([]);
      },
      { timeout: 60_000, interval: 1_000 },
    );
    for (const id of ['south-1', 'south-2']) await untilPresence(id, 'online');
  }, 240_000);

  it('is backed up and restored: PostgreSQL, and what a broker keeps', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-backup-'));
    const script = path.join(import.meta.dirname, '../../docs/backup.sh');
    const run = async (...args: readonly string[]): Promise<string> =>
      successful(await execute('bash', [script, ...args, release.name, NAMESPACE, folder], 280_000), args.join(' '));
    const before = (await release.rest('GET', '/devices?limit=1000')).body as { readonly items: readonly Device[] };
    await run('save');
    await release.kubectl(
      ...['exec', `${release.fullName}-postgres-0`, '--', 'psql', '-q', '-U', 'muster', '-d', 'muster'],
      ...['-c', "DELETE FROM device; DELETE FROM presence; DELETE FROM broker_account WHERE kind = 'device'"],
    );
    await run('restore');
    const after = (await release.rest('GET', '/devices?limit=1000')).body as { readonly items: readonly Device[] };
    expect(after.items.map(({ id }) => id)).toEqual(before.items.map(({ id }) => id));
    writeFileSync(path.join(folder, 'done'), '');
    for (const id of ['south-1', 'south-2']) await untilPresence(id, 'online');
  }, 300_000);

  it('is uninstalled and leaves its volumes alone', async () => {
    for (const virtual of running.values()) virtual.crash();
    const uninstall = ['uninstall', release.name, '-n', NAMESPACE, '--wait', '--timeout', '3m'];
    successful(await execute('helm', uninstall, 200_000), 'helm uninstall');
    await release.kubectl('wait', '--for=delete', 'pod', '--all', '--timeout=90s');
    const kinds = 'all,secret,configmap,pvc,networkpolicy,pdb,ingress';
    const left = await release.kubectl('get', kinds, '-o', 'name');
    const names = left
      .trim()
      .split('\n')
      .filter((name) => name !== 'configmap/kube-root-ca.crt');
    expect(names.every((name) => name.startsWith('persistentvolumeclaim/'))).toBe(true);
    expect(names).toHaveLength(6);
  }, 300_000);
});
