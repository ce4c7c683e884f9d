import { setTimeout as delay } from 'node:timers/promises';
import type {
  Command,
  Credentials,
  CredentialsList,
  DeviceConfig,
  Replacement,
  ReplacementList,
} from '@muster/contract';
import { connect, connectAsync, type MqttClient } from 'mqtt';
import { describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster } from '../system.ts';
import { SystemOfFile } from '../system-of-file.ts';

// Memory that is given back is overwritten (glibc): a broker that still reads of a session that is gone ends.
vi.stubEnv('MALLOC_PERTURB_', '200');
const system = new SystemOfFile(['--brokers', '2'], []);
const SOON = { timeout: 30_000, interval: 100 };

async function credentialsOf(id: string): Promise<Credentials> {
  return (await curl(system.address, `/api/v1/devices/${id}/credentials`, '-X', 'POST')).body as Credentials;
}

interface Hardware {
  readonly client: MqttClient;
  /** What came on its own topics, as it came. */
  readonly heard: string[];
}

/** A device of nothing but MQTT, with a session that its broker keeps; it hears from the first moment on. */
async function hardware({ username, password, broker }: Credentials, url = broker.url): Promise<Hardware> {
  const heard: string[] = [];
  const client = connect(url, {
    ...{ protocolVersion: 5, clientId: username, username, password, clean: false, reconnectPeriod: 0 },
    properties: { sessionExpiryInterval: 3_600 },
  });
  client.on('message', (topic, payload) => heard.push(`${topic.split('/').at(-1)} ${payload.toString()}`));
  await new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
    client.once('close', () => reject(new Error(`${url} closed the connection`)));
  });
  client.on('error', () => undefined);
  for (const topic of ['command', 'config']) await client.subscribeAsync(`devices/${username}/${topic}`, { qos: 1 });
  return { client, heard };
}

async function say({ client }: Hardware, id: string, topic: string, value: object): Promise<void> {
  await client.publishAsync(`devices/${id}/${topic}`, JSON.stringify(value), { qos: 1, retain: true });
}

async function give(id: string, name: string): Promise<Command> {
  const body = JSON.stringify({ name, expiresInSeconds: 600 });
  const arguments_ = ['-X', 'POST', '-H', 'content-type: application/json', '-d', body];
  return (await curl(system.address, `/api/v1/devices/${id}/commands`, ...arguments_)).body as Command;
}

async function replace(id: string): Promise<Replacement> {
  const { status, body } = await curl(system.address, `/api/v1/devices/${id}/replace`, '-X', 'POST');
  expect(status, JSON.stringify(body)).toBe(201);
  return body as Replacement;
}

async function configOf(id: string): Promise<DeviceConfig> {
  return (await curl(system.address, `/api/v1/devices/${id}/config`)).body as DeviceConfig;
}

describe('brokers whose devices wait offline', { timeout: 120_000 }, () => {
  it('are the same processes after these have new passwords, new hardware, or are decommissioned', async () => {
    const single = ['wait-rotated', 'wait-replaced', 'wait-decommissioned'] as const;
    const rotated = Array.from({ length: 8 }, (_, index) => `wait-rotated-${index}`);
    const gone = Array.from({ length: 8 }, (_, index) => `wait-gone-${index}`);
    const json = (body: object): readonly string[] => [
      ...['-X', 'POST', '-H', 'content-type: application/json', '-d', JSON.stringify(body)],
    ];
    const all = [...single, ...rotated, ...gone];
    const issued = await curl(system.address, '/api/v1/credentials', ...json({ devices: all, rotate: false }));
    for (const account of (issued.body as CredentialsList).items)
      for (const url of system.address.broker.urls) await (await hardware(account, url)).client.endAsync();
    const brokers = ['mosquitto-0', 'mosquitto-1'];
    const pids = brokers.map((name) => system.pidOf(name));

    const decommission = async (id: string): Promise<void> => {
      const path = `/api/v1/devices/${id}/decommission?wait=60s`;
      expect((await curl(system.address, path, '-X', 'POST')).body).toMatchObject({ session: { state: 'ended' } });
    };
    const [again, many] = await Promise.all([
      curl(system.address, '/api/v1/devices/wait-rotated/credentials/rotate', '-X', 'POST'),
      curl(system.address, '/api/v1/credentials', ...json({ devices: rotated, rotate: true })),
      replace('wait-replaced'),
      ...['wait-decommissioned', ...gone].map(decommission),
    ]);
    const back: Hardware[] = [];
    for (const account of [again.body as Credentials, ...(many.body as CredentialsList).items])
      for (const url of system.address.broker.urls) back.push(await hardware(account, url));
    // Mosquitto looks through the sessions that are to expire once a second.
    await delay(2_500);
    expect(back.every(({ client }) => client.connected)).toBe(true);
    expect(brokers.map((name) => system.pidOf(name))).toEqual(pids);
    for (const pid of pids) expect(process.kill(pid, 0)).toBe(true);
    await Promise.all(back.map(({ client }) => client.endAsync()));
  });
});

describe('new hardware in the place of old', { timeout: 120_000 }, () => {
  it('R9 gets no command that was queued for the old one, on any broker, and the configuration that stands', async () => {
    const credentials = await credentialsOf('r9-swap');
    // A session on both brokers, as after a move.
    for (const url of system.address.broker.urls) {
      const old = await hardware(credentials, url);
      await say(old, 'r9-swap', 'status', { status: 'online', session: 40 });
      await say(old, 'r9-swap', 'info', { model: 'old', config: { version: 1 } });
      await old.client.endAsync();
    }
    await vi.waitFor(async () => expect(await configOf('r9-swap')).toMatchObject({ applied: { version: 1 } }), SOON);
    const settings = ['-X', 'PUT', '-H', 'content-type: application/json', '-d', '{"settings":{"heartbeat":60}}'];
    await curl(system.address, '/api/v1/devices/r9-swap/config', ...settings);
    const queued = await give('r9-swap', 'open');
    expect(queued).toMatchObject({ state: 'sent' });

    const { credentials: fresh, report } = await replace('r9-swap');
    expect(report).toMatchObject({ state: 'complete', commandsCancelled: 1 });
    expect(report.brokers.map(({ sessionEnded, accountApplied }) => [sessionEnded, accountApplied])).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(fresh.password).not.toBe(credentials.password);
    const command = (await curl(system.address, `/api/v1/commands/${queued.id}`)).body;
    expect(command).toMatchObject({ state: 'cancelled', reason: expect.stringContaining('replaced by') as string });

    for (const url of system.address.broker.urls) {
      await expect(hardware(credentials, url)).rejects.toThrow(/Not authorized|Bad user/i);
      const next = await hardware(fresh, url);
      await vi.waitFor(() => expect(next.heard).toHaveLength(1), SOON);
      await delay(500);
      expect(next.heard).toEqual(['config {"version":2,"settings":{"heartbeat":60}}']);
      await next.client.endAsync();
    }
    expect(await configOf('r9-swap')).toMatchObject({ version: 2, applied: null, inSync: false });
    // A lower session is a counter that began anew.
    const next = await hardware(fresh);
    await say(next, 'r9-swap', 'status', { status: 'online', session: 1 });
    await say(next, 'r9-swap', 'info', { model: 'new', config: { version: 2 } });
    await vi.waitFor(async () => {
      expect(await deviceOf(system.address, 'r9-swap')).toMatchObject({
        ...{ presence: { state: 'online', session: 1 }, info: { model: 'new' }, replacements: 1 },
        replacedAt: expect.stringMatching(/Z$/) as string,
      });
      expect(await configOf('r9-swap')).toMatchObject({ inSync: true });
    }, SOON);
    await next.client.endAsync();
  });

  it('R6 the old one is disconnected at once, does not stay online, and is not let in again', async () => {
    const credentials = await credentialsOf('r6-swap');
    const old = await hardware(credentials);
    await say(old, 'r6-swap', 'status', { status: 'online', session: 7 });
    await vi.waitFor(
      async () => expect((await deviceOf(system.address, 'r6-swap')).presence.state).toBe('online'),
      SOON,
    );
    const { credentials: fresh } = await replace('r6-swap');
    await vi.waitFor(() => expect(old.client.connected).toBe(false), SOON);
    await expect(hardware(credentials)).rejects.toThrow(/Not authorized|Bad user/i);
    await vi.waitFor(
      async () =>
        expect((await deviceOf(system.address, 'r6-swap')).presence).toMatchObject({
          state: 'offline',
          reason: 'shutdown',
        }),
      SOON,
    );
    const next = await hardware(fresh);
    await say(next, 'r6-swap', 'status', { status: 'online', session: 1 });
    await vi.waitFor(
      async () =>
        expect((await deviceOf(system.address, 'r6-swap')).presence).toMatchObject({ state: 'online', session: 1 }),
      SOON,
    );
    await next.client.endAsync();
  });

  it('R9 a broker that is away lets go of the old session when it is back, also after the registry was killed', async () => {
    const credentials = await credentialsOf('r9-away');
    const [, second = ''] = system.address.broker.urls;
    const old = await hardware(credentials, second);
    await old.client.endAsync();
    const broker = system.pidOf('mosquitto-1');
    process.kill(broker, 'SIGSTOP');
    let replaced: Replacement;
    try {
      replaced = await replace('r9-away');
      expect(replaced.report.state).toBe('incomplete');
      expect(replaced.report.brokers).toMatchObject([
        { broker: 'mosquitto-0', sessionEnded: true, fault: null },
        { broker: 'mosquitto-1', sessionEnded: false, fault: expect.stringMatching(/\w/) as string },
      ]);
      process.kill(system.pidOf('registry'), 'SIGKILL');
    } finally {
      process.kill(broker, 'SIGCONT');
    }
    await vi.waitFor(async () => {
      const { body } = await curl(system.address, '/api/v1/devices/r9-away/replacements');
      expect(body as ReplacementList).toMatchObject({ count: 1, items: [{ state: 'complete' }] });
    }, SOON);
    const next = await connectAsync(second, {
      ...{ protocolVersion: 5, clientId: 'r9-away', username: 'r9-away', password: replaced.credentials.password },
      ...{ clean: false, reconnectPeriod: 0, properties: { sessionExpiryInterval: 60 } },
    });
    expect(next.connected).toBe(true);
    await next.endAsync();
  });

  it('called again gives yet another password; in the terminal it tells what was done where', async () => {
    await credentialsOf('twice');
    const first = await replace('twice');
    const { code, stdout } = await muster(system.address, 'device', 'replace', 'twice');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^password +\S+ +shown this once$/m);
    expect(stdout).toMatch(/^mosquitto-1 +refused +ended +cleared *$/m);
    await expect(hardware(first.credentials)).rejects.toThrow(/Not authorized|Bad user/i);
    expect((await deviceOf(system.address, 'twice')).replacements).toBe(2);
    expect((await muster(system.address, 'device', 'replacements', 'twice')).stdout).toMatch(/complete +0/);
    expect((await muster(system.address, 'device', 'replace', 'nobody-knows')).stderr).toContain(
      'no device nobody-knows',
    );
    expect((await muster(system.address, 'decommission', 'twice')).code).toBe(0);
    expect((await muster(system.address, 'device', 'replace', 'twice')).stderr).toContain(
      '409: twice is decommissioned',
    );
  });
});
