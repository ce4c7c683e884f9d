import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command, CommandPage, Credentials, DeviceConfig } from '@muster/contract';
import { connectAsync } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster, psql, StartedSystem, stateFolder, type Finished, type ReadyLine } from './system.ts';

const LIMIT = { timeout: 120_000 };
const SOON = { timeout: 30_000, interval: 200 };

let system: StartedSystem;
let address: ReadyLine;
let fleet: ChildProcess | undefined;

/** Two devices that run the firmware, each with an account at a broker of its own: v-1 and v-2. */
function startFleet(): void {
  fleet = spawn('node', ['apps/cli/dist/main.js', 'simulate', '--devices', '2', '--prefix', 'v-', '--json'], {
    cwd: path.join(import.meta.dirname, '..'),
    env: { ...process.env, MUSTER_URL: address.api.url, MUSTER_TOKEN: address.api.token },
    stdio: 'ignore',
  });
}

async function endFleet(signal: NodeJS.Signals): Promise<void> {
  const ending = fleet;
  fleet = undefined;
  if (ending === undefined) return;
  const ended = new Promise((resolve) => ending.on('close', resolve));
  ending.kill(signal);
  await ended;
}

async function isPresent(id: string, state: string): Promise<void> {
  await vi.waitFor(async () => expect((await deviceOf(address, id)).presence.state).toBe(state), SOON);
}

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '0', '--brokers', '2', '--dir', stateFolder()], []);
  ({ address } = system);
  startFleet();
  await Promise.all(['v-1', 'v-2'].map((id) => isPresent(id, 'online')));
});
afterAll(async () => {
  await endFleet('SIGTERM');
  await system.stop();
});

function request(method: string, body?: unknown, ...headers: readonly string[]): readonly string[] {
  return [
    ...['-X', method],
    ...(body === undefined ? [] : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)]),
    ...headers.flatMap((header) => ['-H', header]),
  ];
}

async function give(id: string, body: unknown, query = '', ...headers: readonly string[]): ReturnType<typeof curl> {
  return curl(address, `/api/v1/devices/${id}/commands${query}`, ...request('POST', body, ...headers));
}

async function commandOf(id: string): Promise<Command> {
  return (await curl(address, `/api/v1/commands/${id}`)).body as Command;
}

async function configOf(id: string): Promise<DeviceConfig> {
  return (await curl(address, `/api/v1/devices/${id}/config`)).body as DeviceConfig;
}

function json({ code, stdout, stderr }: Finished): unknown {
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as unknown;
}

async function killRegistry(): Promise<void> {
  const before = system.pidOf('registry');
  process.kill(before, 'SIGKILL');
  await registryIsBack(before);
}

async function registryIsBack(before: number): Promise<void> {
  await vi.waitFor(() => expect(system.pidOf('registry')).not.toBe(before), SOON);
  await vi.waitFor(async () => expect((await curl(address, '/readyz')).status).toBe(200), SOON);
}

describe('a command', LIMIT, () => {
  it('is done by the firmware, on whichever broker it is, and its answer comes back', async () => {
    for (const [id, broker] of [
      ['v-1', 'mosquitto-0'],
      ['v-2', 'mosquitto-1'],
    ] as const) {
      const { status, body } = await give(id, { name: 'report' }, '?wait=10s');
      expect([status, body]).toMatchObject([201, { state: 'acknowledged', device: id, brokers: [broker], late: null }]);
    }
  });

  it('that the firmware does not know fails with what it says', async () => {
    const { body } = await give('v-1', { name: 'dance', args: { to: 'jazz' } }, '?wait=10s');
    expect(body).toMatchObject({ state: 'failed', error: expect.stringMatching(/\w/) as string });
  });

  it('is one command for one key, and a conflict for another body', async () => {
    const key = 'Idempotency-Key: once-and-never-again';
    const first = await give('v-1', { name: 'report' }, '', key);
    const second = await give('v-1', { name: 'report', args: {} }, '?wait=5s', key);
    expect([first.status, second.status]).toEqual([201, 200]);
    expect((second.body as Command).id).toBe((first.body as Command).id);
    expect((await give('v-1', { name: 'restart' }, '', key)).status).toBe(409);
    expect((await give('v-1', { name: 'report' }, '', `Idempotency-Key: ${'x'.repeat(201)}`)).status).toBe(422);
  });

  it.each([
    ['no name', {}],
    ['a name with a blank', { name: 'a b' }],
    ['a name that is too long', { name: 'x'.repeat(33) }],
    ['arguments that are a list', { name: 'x', args: [1] }],
    ['too many arguments', { name: 'x', args: { a: 'x'.repeat(2_000) } }],
    ['no time', { name: 'x', expiresInSeconds: 0 }],
    ['more than seven days', { name: 'x', expiresInSeconds: 604_801 }],
    ['a member that nobody knows', { name: 'x', retained: true }],
  ])('is refused with %s', async (_, body) => {
    expect(await give('v-1', body)).toMatchObject({
      status: 422,
      type: expect.stringContaining('problem+json') as string,
    });
  });

  it('is for a device that is known, by somebody who may', async () => {
    expect((await give('nobody-knows', { name: 'report' })).status).toBe(404);
    expect((await give('a%2Fb', { name: 'report' })).status).toBe(422);
    expect((await curl(address, '/api/v1/commands/7')).status).toBe(422);
    const viewer = (await muster(address, 'token', 'create', 'looker')).stdout.trim();
    const looking = { ...address, api: { ...address.api, token: viewer } };
    const given = await curl(looking, '/api/v1/devices/v-1/commands', ...request('POST', { name: 'report' }));
    expect([given.status, (await curl(looking, '/api/v1/devices/v-1/commands')).status]).toEqual([403, 200]);
  });

  it('waits for a device that is away, through a kill of the registry, and is done when it is back', async () => {
    await endFleet('SIGTERM');
    await isPresent('v-1', 'offline');
    // Muster's own look at what is retained, every 30 s, subscribes for some milliseconds.
    const given = await vi.waitFor(async () => {
      const { body } = await give('v-1', { name: 'report', expiresInSeconds: 120 });
      const waiting = { state: 'queued', sentAt: null, waitsFor: expect.stringContaining('nobody') as string };
      expect(body).toMatchObject(waiting);
      return body as Command;
    }, SOON);
    const short = (await give('v-1', { name: 'report', expiresInSeconds: 1 })).body as Command;
    const cancelled = (await give('v-1', { name: 'report', expiresInSeconds: 120 })).body as Command;
    expect((await curl(address, `/api/v1/commands/${cancelled.id}`, '-X', 'DELETE')).body).toMatchObject({
      ...{ state: 'cancelled', reason: expect.stringContaining('cancelled by') as string },
    });
    await killRegistry();
    startFleet();
    await vi.waitFor(async () => expect(await commandOf(given.id)).toMatchObject({ state: 'acknowledged' }), SOON);
    expect(await commandOf(short.id)).toMatchObject({ state: 'expired' });
    expect((await curl(address, `/api/v1/commands/${given.id}`, '-X', 'DELETE')).status).toBe(409);
  });

  it('is settled by an answer that comes while the registry is dead', async () => {
    const { username, password, broker } = json(
      await muster(address, 'device', 'credentials', 'patient', '--json'),
    ) as Credentials;
    const client = await connectAsync(broker.url, { protocolVersion: 5, clientId: username, username, password });
    const heard = new Promise<string>((resolve) => client.once('message', (_, payload) => resolve(payload.toString())));
    await client.subscribeAsync('devices/patient/command', { qos: 1 });
    const given = (await give('patient', { name: 'think', expiresInSeconds: 120 })).body as Command;
    expect(JSON.parse(await heard)).toMatchObject({ id: given.id, expires: new Date(given.expiresAt).getTime() });
    const registry = system.pidOf('registry');
    process.kill(registry, 'SIGKILL');
    await client.publishAsync('devices/patient/ack', JSON.stringify({ id: given.id, ok: true }), { qos: 1 });
    await client.endAsync();
    await registryIsBack(registry);
    await vi.waitFor(async () => expect(await commandOf(given.id)).toMatchObject({ state: 'acknowledged' }), SOON);
  });

  it('that is on record is not lost, wherever a kill hits the registry among many of them', async () => {
    const registry = system.pidOf('registry');
    const answers = Array.from({ length: 40 }, async (_, index) => {
      await delay(index * 15);
      return give('v-2', { name: 'report', args: { index }, expiresInSeconds: 120 }).catch(() => undefined);
    });
    await delay(350);
    process.kill(registry, 'SIGKILL');
    const given = (await Promise.all(answers)).filter((answer) => answer?.status === 201);
    expect(given.length).toBeLessThan(40);
    await registryIsBack(registry);
    const counts = async (): Promise<string> =>
      psql(
        address,
        `SELECT count(*) || ' ' || count(*) FILTER (WHERE state = 'acknowledged') FROM device_command
         WHERE device = 'v-2' AND args ? 'index'`,
      );
    await vi.waitFor(async () => {
      const [all, acknowledged] = (await counts()).split(' ').map(Number);
      expect(all).toBeGreaterThanOrEqual(given.length);
      expect(acknowledged).toBe(all);
    }, SOON);
  });

  it('is settled by its own device alone: what else comes on an ack topic is counted and changes nothing', async () => {
    const { username, password, broker } = json(
      await muster(address, 'device', 'credentials', 'liar', '--json'),
    ) as Credentials;
    const victim = (await give('liar', { name: 'report', expiresInSeconds: 100 })).body as Command;
    const client = await connectAsync(broker.url, { protocolVersion: 5, clientId: username, username, password });
    const say = async (text: string): Promise<unknown> => client.publishAsync('devices/liar/ack', text, { qos: 1 });
    const open = (await give('v-1', { name: 'report' }, '?wait=5s')).body as Command;
    const outcomes = async (): Promise<ReadonlyMap<string, number>> => {
      const counted = /muster_registry_acknowledgements_total\{.*outcome="([^"]+)".*\} (\d+)/g;
      const metrics = String((await curl(address, '/metrics')).body);
      return new Map([...metrics.matchAll(counted)].map(([, name = '', count]) => [name, Number(count)]));
    };
    const before = await outcomes();
    await say(JSON.stringify({ id: open.id, ok: false, error: 'not mine' }));
    await say('{"id":"7","ok":true}');
    await say('yes');
    await say(`{"id":"${victim.id}","ok":true,"error":"${'x'.repeat(100_000)}"}`);
    await say(`{"id":"${victim.id.toUpperCase()}","ok":true}`);
    await vi.waitFor(async () => expect(await commandOf(victim.id)).toMatchObject({ state: 'acknowledged' }), SOON);
    await say(`{"id":"${victim.id}","ok":false}`);
    // Of a test before, what had waited while the registry was away may have been told twice.
    const wanted = { unknown: 2, 'invalid-json': 1, 'payload-too-large': 1, duplicate: 1 };
    await vi.waitFor(async () => {
      const now = await outcomes();
      for (const [outcome, count] of Object.entries(wanted))
        expect([outcome, (now.get(outcome) ?? 0) - (before.get(outcome) ?? 0)]).toEqual([outcome, count]);
    }, SOON);
    expect(await commandOf(open.id)).toMatchObject({ state: 'acknowledged', late: null });
    expect(await commandOf(victim.id)).toMatchObject({ state: 'acknowledged' });
    await client.endAsync();
  });

  it('is given, listed and cancelled in the terminal', async () => {
    const done = json(await muster(address, 'device', 'command', 'v-1', 'report', '--json'));
    expect(done).toMatchObject({ state: 'acknowledged' });
    const refused = await muster(address, 'device', 'command', 'v-1', 'sleep', 'seconds=0');
    expect([refused.code, refused.stdout]).toEqual([1, expect.stringContaining('refused by the device: seconds')]);
    const waiting = json(
      await muster(address, 'device', 'command', 'liar', 'report', '--wait', '0s', '--expires', '5m', '--json'),
    ) as Command;
    expect((await muster(address, 'device', 'cancel', waiting.id)).stdout).toContain('cancelled by');
    const { stdout } = await muster(address, 'device', 'commands', 'v-1');
    expect(stdout).toMatch(/^ID +AT +BY +COMMAND +STATE +WHAT BECAME OF IT\n/);
    expect(stdout).toMatch(/sleep \{"seconds":0\} +failed +refused by the device/);
    expect((await muster(address, 'device', 'command', 'v-1', 'sleep', 'seconds')).code).toBe(2);
    const page = (await curl(address, '/api/v1/devices/v-1/commands?limit=1')).body as CommandPage;
    expect([page.items.length, page.next]).toEqual([1, expect.stringMatching(/^\d+$/)]);
  });
});

describe('a configuration', LIMIT, () => {
  it('is applied by the firmware, which says so; on every broker the newest is retained', async () => {
    const { status, body } = await curl(
      address,
      '/api/v1/devices/v-1/config',
      ...request('PUT', { settings: { heartbeat: 60 }, expectVersion: 0 }),
    );
    expect([status, body]).toMatchObject([200, { version: 1, desired: { settings: { heartbeat: 60 } } }]);
    await vi.waitFor(
      async () => expect(await configOf('v-1')).toMatchObject({ inSync: true, applied: { version: 1, error: null } }),
      SOON,
    );
    expect((await configOf('v-1')).brokers.map(({ published }) => published)).toEqual([true, true]);
    expect((await deviceOf(address, 'v-1')).info?.config).toEqual({ version: 1 });
  });

  it('that the firmware cannot take is not in sync, with what it says', async () => {
    json(await muster(address, 'device', 'config', 'v-1', '--set', 'heartbeat=1', '--set', 'sample=10', '--json'));
    await vi.waitFor(
      async () =>
        expect(await configOf('v-1')).toMatchObject({
          ...{ version: 2, inSync: false, desired: { settings: { heartbeat: 1, sample: 10 } } },
          applied: { version: 1, error: 'heartbeat is out of its limits' },
        }),
      SOON,
    );
    const { stdout } = await muster(address, 'device', 'config', 'v-1');
    expect(stdout).toContain('goes by version 1 and refused another: heartbeat is out of its limits.');
    const file = path.join(stateFolder(), 'settings.json');
    writeFileSync(file, '{"heartbeat":90}');
    json(await muster(address, 'device', 'config', 'v-1', '-f', file, '--json'));
    await vi.waitFor(async () => expect(await configOf('v-1')).toMatchObject({ version: 3, inSync: true }), SOON);
  });

  it('is refused where somebody was quicker, where it is too large, and for whom it is not', async () => {
    const put = async (id: string, body: unknown): Promise<number> =>
      (await curl(address, `/api/v1/devices/${id}/config`, ...request('PUT', body))).status;
    expect(await put('v-1', { settings: {}, expectVersion: 1 })).toBe(409);
    expect(await put('v-1', { settings: { a: 'x'.repeat(2_000) } })).toBe(422);
    expect(await put('v-1', { settings: [] })).toBe(422);
    expect(await put('v-1', {})).toBe(422);
    expect(await put('nobody-knows', { settings: {} })).toBe(404);
    expect(await configOf('v-1')).toMatchObject({ version: 3 });
  });

  it('comes to a broker that did not answer, when it does, through a kill of the registry', async () => {
    const broker = system.pidOf('mosquitto-1');
    process.kill(broker, 'SIGSTOP');
    try {
      const { body } = await curl(
        address,
        '/api/v1/devices/v-1/config',
        ...request('PUT', { settings: { sample: 7 } }),
      );
      expect(body).toMatchObject({
        version: 4,
        brokers: [
          { published: true },
          { published: false, fault: expect.stringContaining('does not answer') as string },
        ],
      });
      process.kill(system.pidOf('registry'), 'SIGKILL');
    } finally {
      process.kill(broker, 'SIGCONT');
    }
    await vi.waitFor(async () => {
      const { brokers } = await configOf('v-1');
      expect(brokers.map(({ published }) => published)).toEqual([true, true]);
    }, SOON);
  });

  it('is cleared on every broker, and the device goes on by the last', async () => {
    const { body } = await curl(address, '/api/v1/devices/v-1/config', '-X', 'DELETE');
    expect(body).toMatchObject({
      version: 5,
      desired: null,
      inSync: true,
      brokers: [{ published: true }, { published: true }],
    });
    const { stdout } = await muster(address, 'device', 'config', 'v-1');
    expect(stdout).toContain('No configuration is desired. The device goes on by version 4.');
    expect(stdout).toMatch(/^5 .* cleared$/m);
  });
});
