import { statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  BrokerDrift,
  Command,
  DecommissionReport,
  DeviceGhosts,
  Drift,
  RetainedPage,
  SweepReport,
} from '@muster/contract';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { LoneBroker } from '../lone-broker.ts';
import { curl, deviceOf, retained, StartedSystem, stateFolder, type ReadyLine } from '../system.ts';

let system: StartedSystem;
let address: ReadyLine;
const clients: MqttClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.endAsync(true)));
});

async function connect(clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  const { urls, username, password } = address.broker;
  const client = await connectAsync(urls[0] ?? '', {
    ...{ protocolVersion: 5, username, password, clientId, reconnectPeriod: 0, ...options },
  });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

async function retain(client: MqttClient, topics: Readonly<Record<string, string>>): Promise<void> {
  await Promise.all(
    Object.entries(topics).map(([topic, payload]) => client.publishAsync(topic, payload, { qos: 1, retain: true })),
  );
}

/** A device in service, with a retained status and what else it retains. */
async function aDevice(id: string, others: readonly string[] = []): Promise<MqttClient> {
  const client = await connect(`${id}-maker`);
  const topics = ['status', ...others].map((name) => [`devices/${id}/${name}`, 'online'] as const);
  await retain(client, Object.fromEntries(topics));
  await vi.waitFor(async () => expect((await deviceOf(address, id)).presence.state).toBe('online'), {
    timeout: 10_000,
  });
  return client;
}

async function decommissioned(id: string, wait = '30s'): Promise<void> {
  const { body } = await curl(address, `/api/v1/devices/${id}/decommission?wait=${wait}`, '-X', 'POST');
  expect((body as DecommissionReport).state).toBe('verified');
  await vi.waitFor(async () => expect((await ghostsOf(id)).watched).toBe(true), { timeout: 10_000 });
}

async function ghostsOf(id: string): Promise<DeviceGhosts> {
  return (await curl(address, `/api/v1/devices/${id}/ghosts`)).body as DeviceGhosts;
}

async function ledgerOf(query: string): Promise<RetainedPage['items']> {
  return ((await curl(address, `/api/v1/retained?limit=1000&${query}`)).body as RetainedPage).items;
}

/** Every topic of a device in the ledger, page after page. */
async function countOf(device: string): Promise<number> {
  let count = 0;
  for (let cursor: string | null = ''; cursor !== null;) {
    const path = `/api/v1/retained?limit=1000&device=${device}${cursor === '' ? '' : `&cursor=${cursor}`}`;
    const page = (await curl(address, path)).body as RetainedPage;
    count += page.items.length;
    cursor = page.next;
  }
  return count;
}

async function driftOf(broker: string): Promise<BrokerDrift | undefined> {
  const { brokers } = (await curl(address, '/api/v1/retained/drift')).body as Drift;
  return brokers.find((one) => one.broker === broker);
}

async function until(check: () => Promise<void>, timeoutMs: number): Promise<void> {
  await vi.waitFor(check, { timeout: timeoutMs, interval: 200 });
}

describe('the ledger and ghosts in a race', { timeout: 120_000 }, () => {
  const folder = stateFolder();

  beforeAll(async () => {
    system = await StartedSystem.start(['--devices', '0', '--dir', folder]);
    ({ address } = system);
  });
  afterAll(async () => {
    await system.stop();
  });

  it('R1 a sweep clears topic by topic what its filter allows, and nothing beside it', async () => {
    const client = await connect('r1');
    await retain(client, { 'devices/r1-a/config': 'a', 'devices/r1-b/config': 'b', 'devices/r1-a/info': 'c' });
    const sweep = async (body: object): Promise<SweepReport> => {
      const args = ['-X', 'POST', '-H', 'content-type: application/json', '-d', JSON.stringify(body)];
      return (await curl(address, '/api/v1/retained/sweep', ...args)).body as SweepReport;
    };
    const allow = ['devices/+/config'];
    await until(async () => expect((await sweep({ allow })).count).toBe(2), 5_000);
    const { items } = await sweep({ allow, preview: false, expect: 2 });
    expect(items.map(({ topic, outcome }) => [topic, outcome])).toEqual([
      ['devices/r1-a/config', 'cleared'],
      ['devices/r1-b/config', 'cleared'],
    ]);
    expect(await retained(address, 'devices/r1-b/#')).toEqual([]);
    expect(await retained(address, 'devices/r1-a/#')).toEqual(['devices/r1-a/info c']);
  });

  it('R4 the ledger is exact without a sweep: sets, clears and wills', async () => {
    const will = { topic: 'devices/r4/status', payload: Buffer.from('offline'), qos: 1, retain: true } as const;
    const device = await connect('r4', { will });
    const shown = async (): Promise<readonly string[]> =>
      (await ledgerOf('device=r4')).map(({ topic, bytes, qos }) => `${topic} ${bytes} ${qos}`);
    await device.publishAsync('devices/r4/config', '{"version":1}', { qos: 1, retain: true });
    await device.publishAsync('devices/r4/lwt', 'online', { qos: 0, retain: true });
    await device.publishAsync('devices/r4/info', '{}', { qos: 2, retain: true });
    await device.publishAsync('devices/r4/status', 'online', { qos: 1, retain: true });
    // It changes nothing that is retained.
    await device.publishAsync('devices/r4/status', 'online, and not retained', { qos: 1 });
    const three = ['devices/r4/config 13 1', 'devices/r4/info 2 2', 'devices/r4/lwt 6 0'];
    await until(async () => expect(await shown()).toEqual([...three, 'devices/r4/status 6 1']), 2_000);
    device.stream.destroy();
    await until(async () => expect(await shown()).toEqual([...three, 'devices/r4/status 7 1']), 2_000);
    const other = await connect('r4-operator');
    await retain(other, { 'devices/r4/config': '', 'devices/r4/info': '', 'devices/r4/lwt': '' });
    await until(async () => expect(await shown()).toEqual(['devices/r4/status 7 1']), 2_000);
  });

  it('R14 what a broker counts, without its own topics, is what the ledger has; what nobody knows is drift', async () => {
    await until(async () => expect(await driftOf('mosquitto-0')).toMatchObject({ drift: 0 }), 60_000);
    const { baseline } = (await driftOf('mosquitto-0')) ?? {};
    // Those that have not changed for a minute expire, and come back with their next change.
    expect(baseline?.system).toBeGreaterThan(20);
    expect(baseline?.system).toBeLessThanOrEqual(56);
    const client = await connect('r14');
    await retain(client, { 'attic/unheard-of': 'x', 'attic/unknown': 'y' });
    await until(
      async () =>
        expect(await driftOf('mosquitto-0')).toMatchObject({
          drift: 2,
          likely: expect.arrayContaining([expect.stringContaining('topic map')]),
        }),
      60_000,
    );
    const metrics = (await curl(address, '/metrics')).body as string;
    expect(metrics).toMatch(/^muster_registry_retained_topics\{broker="mosquitto-0"[^}]*\} \d+$/m);
    expect(metrics).toMatch(/^muster_registry_retained_drift\{broker="mosquitto-0"[^}]*\} /m);
    await retain(client, { 'attic/unheard-of': '', 'attic/unknown': '' });
  });

  it('R12 an old online that a session had kept does not bring the device back', async () => {
    const presence = system.pidOf('presence');
    const client = await aDevice('r12');
    process.kill(presence, 'SIGSTOP');
    try {
      await retain(client, { 'devices/r12/status': '{"status":"online","session":9}' });
      // A service that says nothing for 15 s is not waited for; its session at the broker has the message.
      await vi.waitFor(async () => decommissioned('r12', '40s'), { timeout: 60_000, interval: 1_000 });
    } finally {
      process.kill(presence, 'SIGCONT');
    }
    await delay(6_000);
    expect((await deviceOf(address, 'r12')).state).toBe('decommissioned');
    const listed = (await curl(address, '/api/v1/devices?limit=1000')).body as {
      readonly items: readonly { id: string }[];
    };
    expect(listed.items.map(({ id }) => id)).not.toContain('r12');
    expect(await retained(address, 'devices/r12/#')).toEqual([]);
  });

  it('R13 a decommissioned device that publishes in a loop is cleared again, and not a hundred times a second', async () => {
    const zombie = await aDevice('r13');
    await decommissioned('r13');
    const clears: number[] = [];
    const observer = await connect('r13-observer');
    observer.on('message', (_topic, payload) => {
      if (payload.length === 0) clears.push(Date.now());
    });
    await observer.subscribeAsync({ 'devices/r13/status': { qos: 1, rap: true, rh: 2 } });
    let published = 0;
    for (const endMs = Date.now() + 5_000; Date.now() < endMs; published += 1) {
      await retain(zombie, { 'devices/r13/status': 'online' });
      await zombie.publishAsync('devices/r13/telemetry', '{"temp":1}', { qos: 1 });
      await delay(10);
    }
    expect(published).toBeGreaterThan(100);
    await until(async () => expect(await retained(address, 'devices/r13/#')).toEqual([]), 20_000);
    // At once, then after 1, 2, 4 and 8 s.
    expect(clears.length).toBeGreaterThanOrEqual(2);
    expect(clears.length).toBeLessThanOrEqual(6);
    await until(async () => {
      const { items, refused } = await ghostsOf('r13');
      expect(items).toEqual([
        expect.objectContaining({
          topic: 'devices/r13/status',
          times: published,
          cause: 'live-publish',
          nextClearAt: null,
        }),
      ]);
      expect(refused?.messages).toBe(published);
    }, 10_000);
    expect((await deviceOf(address, 'r13')).state).toBe('decommissioned');
  });

  it('R13 a topic that a device in service owns as well is kept', async () => {
    const keeper = await aDevice('r13-keeper');
    const gone = await aDevice('r13-gone');
    await retain(gone, { 'devices/r13-gone/info': '{"topics":["shared/door"]}' });
    await retain(keeper, { 'devices/r13-keeper/info': '{"topics":["shared/door"]}', 'shared/door': 'open' });
    await until(
      async () => expect((await deviceOf(address, 'r13-keeper')).info?.topics).toEqual(['shared/door']),
      8_000,
    );
    await until(async () => expect((await deviceOf(address, 'r13-gone')).info?.topics).toEqual(['shared/door']), 8_000);
    await decommissioned('r13-gone');
    // More than once: what was judged to be no ghost may come again before it is judged anew.
    for (const state of ['shut', 'ajar', 'shut']) {
      await retain(keeper, { 'shared/door': state });
      await delay(400);
    }
    await delay(3_000);
    expect((await ghostsOf('r13-gone')).items).toEqual([]);
    expect(await retained(address, 'shared/door')).toEqual(['shared/door shut']);
    await retain(keeper, { 'shared/door': '' });
  });

  it('a command that somebody else has heard, before its device subscribed, comes to the device all the same', async () => {
    const device = await aDevice('late-listener');
    const curious = await connect('curious');
    await curious.subscribeAsync('devices/+/command', { qos: 1 });
    const body = JSON.stringify({ name: 'think', expiresInSeconds: 60 });
    const { body: given } = await curl(
      ...([address, '/api/v1/devices/late-listener/commands', '-X', 'POST'] as const),
      ...['-H', 'content-type: application/json', '-d', body],
    );
    expect(given).toMatchObject({ state: 'sent' });
    const heard = new Promise<string>((resolve) => device.once('message', (_, payload) => resolve(payload.toString())));
    await device.subscribeAsync('devices/late-listener/command', { qos: 1 });
    expect(JSON.parse(await heard)).toMatchObject({ id: (given as Command).id });
  });

  it('R10 what a crash of the broker brings back is cleared again, and on record with its cause', async () => {
    // Its agent makes the broker write the clearing to disk: as long as that is away, a crash brings all back.
    const agent = system.pidOf('agent');
    const broker = system.pidOf('mosquitto-0');
    const savedMs = (): number =>
      statSync(path.join(folder, 'mosquitto-0/mosquitto.db'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const saves = async (): Promise<void> => {
      const before = savedMs();
      process.kill(broker, 'SIGUSR1');
      await vi.waitFor(() => expect(savedMs()).toBeGreaterThan(before), { timeout: 10_000 });
    };
    let id = 'r10';
    for (let attempt = 1, isSavedAnew = true; isSavedAnew; attempt += 1) {
      // The broker saves every 30 s by itself as well: then the clearing is on its disk, and nothing comes back.
      expect(attempt).toBeLessThanOrEqual(3);
      id = `r10-${attempt}`;
      await aDevice(id, ['config']);
      await saves();
      const withDeviceMs = savedMs();
      process.kill(agent, 'SIGSTOP');
      try {
        await decommissioned(id);
        expect((await ghostsOf(id)).items).toEqual([]);
        isSavedAnew = savedMs() !== withDeviceMs;
        if (isSavedAnew) continue;
        process.kill(broker, 'SIGKILL');
        await vi.waitFor(() => expect(system.pidOf('mosquitto-0')).not.toBe(broker), { timeout: 20_000 });
        // With the agent the decommissioning itself would look again, and might be the first to clear.
        await until(async () => {
          const { items } = await ghostsOf(id);
          expect(items.map(({ topic, cause, times }) => [topic, cause, times]).sort()).toEqual([
            [`devices/${id}/config`, 'broker-restart', 1],
            [`devices/${id}/status`, 'broker-restart', 1],
          ]);
          for (const { clearedAt } of items) expect(clearedAt).not.toBeNull();
        }, 60_000);
      } finally {
        process.kill(agent, 'SIGCONT');
      }
    }
    expect(await retained(address, `devices/${id}/#`)).toEqual([]);
  });
});

describe('with a broker that an operator brings', { timeout: 120_000 }, () => {
  let hub: LoneBroker;

  beforeAll(async () => {
    hub = await LoneBroker.start(undefined, ['max_queued_messages 1000']);
    const variables = {
      MUSTER_BROKERS: `hub=${hub.url}`,
      MUSTER_BROKER_USERNAME: hub.account.username,
      MUSTER_BROKER_PASSWORD: hub.account.password,
    };
    Object.assign(process.env, variables);
    const starting = StartedSystem.start(['--devices', '0', '--dir', stateFolder()], []);
    for (const name of Object.keys(variables)) Reflect.deleteProperty(process.env, name);
    system = await starting;
    ({ address } = system);
  });
  afterAll(async () => {
    await system.stop();
    await hub.stop();
  });

  it('R5 5,000 retained topics and a queue of 1,000: a read at QoS 1 is cut short, and the ledger has them all', async () => {
    const device = await aDevice('r5');
    const topics = Array.from({ length: 5_000 }, (_, index) => `devices/r5/many/${index}`);
    await retain(device, Object.fromEntries(topics.map((topic) => [topic, 'x'])));
    let heard = 0;
    const reader = await connect('r5-reader', { properties: { receiveMaximum: 20 } });
    reader.on('message', () => (heard += 1));
    await reader.subscribeAsync('devices/r5/many/#', { qos: 1 });
    await delay(2_000);
    expect(heard).toBeLessThan(5_000);
    await until(async () => expect(await countOf('r5')).toBe(5_001), 60_000);
  });

  it('R11 what a bridge brings back is cleared on the hub, and on record with its cause', async () => {
    const leaf = await LoneBroker.start(undefined, [
      'connection to-hub',
      `address 127.0.0.1:${hub.port}`,
      'topic devices/# out 1',
      `remote_username ${hub.account.username}`,
      `remote_password ${hub.account.password}`,
      'restart_timeout 1',
    ]);
    try {
      for (const topic of ['status', 'config']) await leaf.publish(`devices/r11/${topic}`, 'online', '-r', '-q', '1');
      await until(async () => expect((await deviceOf(address, 'r11')).presence.state).toBe('online'), 20_000);
      await until(async () => expect(await retained(address, 'devices/r11/#')).toHaveLength(2), 10_000);
      await leaf.stop();
      await decommissioned('r11');
      expect(await retained(address, 'devices/r11/#')).toEqual([]);
      await leaf.startAgain();
      await until(async () => {
        const { items } = await ghostsOf('r11');
        expect(items.map(({ topic, cause }) => [topic, cause]).sort()).toEqual([
          ['devices/r11/config', 'bridge'],
          ['devices/r11/status', 'bridge'],
        ]);
        for (const { clearedAt, explanation } of items) {
          expect(clearedAt).not.toBeNull();
          expect(explanation).toContain('to-hub');
        }
      }, 60_000);
      expect(await retained(address, 'devices/r11/#')).toEqual([]);
    } finally {
      await leaf.stop();
    }
  });
});
