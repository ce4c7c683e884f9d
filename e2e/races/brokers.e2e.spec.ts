import { setTimeout as delay } from 'node:timers/promises';
import type { Credentials, Incident, PresenceHistory } from '@muster/contract';
import mqtt from 'mqtt';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster, psql, publish, retained } from '../system.ts';
import { RawDevices, type RawDevice } from './raw-device.ts';
import { SystemOfFile } from '../system-of-file.ts';

const system = new SystemOfFile(['--brokers', '2']);
const devices = new RawDevices(system);

/** Online, with the shortest keep-alive there is: it has 31.5 s to come back after a restart of its broker. */
async function aDevice(id: string, session: number, broker = 0): Promise<RawDevice> {
  const device = await devices.connect({ id, session, broker });
  await device.info({ keep_alive: 1 });
  await device.birth();
  await becomes(id, 'online');
  return device;
}

async function becomes(id: string, state: string, timeoutMs = 10_000): Promise<void> {
  await vi.waitFor(async () => expect((await deviceOf(system.address, id)).presence.state).toBe(state), {
    timeout: timeoutMs,
    interval: 100,
  });
}

async function historyOf(id: string): Promise<readonly string[]> {
  const { history } = (await curl(system.address, `/api/v1/devices/${id}/presence`)).body as PresenceHistory;
  return history.map(({ to, reason }) => `${to} ${reason}`).reverse();
}

async function incidents(): Promise<readonly Incident[]> {
  return ((await curl(system.address, '/api/v1/incidents')).body as { items: Incident[] }).items;
}

async function brokerIsBack(name: string, before: number): Promise<void> {
  await vi.waitFor(() => expect(system.pidOf(name)).not.toBe(before), { timeout: 30_000 });
}

/** That a broker was started anew is known by its uptime, which it tells every 10 s: presence must have heard of it. */
async function uptimeIsKnown(broker: string): Promise<void> {
  const uptime = `SELECT coalesce(max(uptime_ms), 0) > 0 FROM presence_broker WHERE broker = '${broker}'`;
  await vi.waitFor(async () => expect(await psql(system.address, uptime)).toBe('t'), {
    timeout: 20_000,
    interval: 250,
  });
}

/** Connects as soon as the broker lets it. */
async function comesBack(id: string, session: number, broker = 0): Promise<RawDevice> {
  const device = await vi.waitFor(() => devices.connect({ id, session, broker }), { timeout: 20_000, interval: 100 });
  await device.birth();
  return device;
}

const RETURN_LIMIT_MS = 60_000;

// Each has a broker of its own, and both wait for the time that devices have to come back.
describe.concurrent('presence when a broker ends', () => {
  afterAll(() => devices.leave());

  it(
    'P6 a broker that ends publishes every will: those that come back were never lost, the others are when their time is over',
    { timeout: 150_000 },
    async () => {
      const ids = Array.from({ length: 12 }, (_, index) => `p6-${index}`);
      for (const id of ids) await aDevice(id, 1);
      await uptimeIsKnown('mosquitto-0');
      const before = system.pidOf('mosquitto-0');
      process.kill(before, 'SIGTERM');
      await brokerIsBack('mosquitto-0', before);
      await becomes('p6-0', 'unknown');
      for (const id of ids.slice(0, 9)) await comesBack(id, 2);
      for (const id of ids.slice(0, 9)) await becomes(id, 'online');
      for (const id of ids.slice(9)) await becomes(id, 'lost', RETURN_LIMIT_MS);
      for (const id of ids.slice(0, 9))
        expect(await historyOf(id)).toEqual(['online birth', 'unknown broker-restarted', 'online birth']);
      for (const id of ids.slice(9))
        expect(await historyOf(id)).toEqual(['online birth', 'unknown broker-restarted', 'lost will']);
      await vi.waitFor(async () =>
        expect((await incidents()).find(({ broker }) => broker === 'mosquitto-0')).toMatchObject({
          ...{ kind: 'restarted', devices: 12, lost: 3 },
          until: expect.any(String) as string,
        }),
      );
      expect((await muster(system.address, 'incidents')).stdout).toMatch(/mosquitto-0 +restarted .* 12 +3$/m);
    },
  );

  it(
    'P6 a device that dies with its broker is lost by its keep-alive, though the broker says online for ever',
    { timeout: 150_000 },
    async () => {
      const dead = await aDevice('p6-dead', 1, 1);
      await aDevice('p6-alive', 1, 1);
      // The broker saves what it retains.
      process.kill(system.pidOf('mosquitto-1'), 'SIGUSR1');
      await uptimeIsKnown('mosquitto-1');
      await delay(500);
      const before = system.pidOf('mosquitto-1');
      process.kill(before, 'SIGKILL');
      dead.cut();
      await brokerIsBack('mosquitto-1', before);
      const alive = await comesBack('p6-alive', 2, 1);
      await becomes('p6-alive', 'online');
      await becomes('p6-dead', 'lost', RETURN_LIMIT_MS);
      expect(await retained(system.address, 'devices/p6-dead/status', 1)).toEqual([expect.stringContaining('online')]);
      expect(await historyOf('p6-dead')).toEqual(['online birth', 'unknown broker-restarted', 'lost not-back']);
      // It would count among those behind this broker from now on.
      await alive.say('{"status":"offline","session":2,"reason":"shutdown"}');
      await becomes('p6-alive', 'offline');
    },
  );
});

describe('presence when a broker does not answer', () => {
  afterAll(() => devices.leave());

  it(
    'P7 behind a broker that does not answer everybody is unknown, as one incident, and what it was when it answers again',
    { timeout: 150_000 },
    async () => {
      const ids = ['p7-0', 'p7-1', 'p7-2'];
      for (const id of ids) await aDevice(id, 1, 1);
      await aDevice('p7-elsewhere', 1, 0);
      const pid = system.pidOf('mosquitto-1');
      const stoppedAtMs = Date.now();
      process.kill(pid, 'SIGSTOP');
      try {
        for (const id of ids) await becomes(id, 'unknown', 40_000);
        const { body } = await curl(system.address, '/api/v1/devices/p7-0');
        expect(body).toMatchObject({ presence: { reason: 'broker-lost', state: 'unknown' } });
        expect((await deviceOf(system.address, 'p7-elsewhere')).presence.state).toBe('online');
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      for (const id of ids) await becomes(id, 'online', 40_000);
      for (const id of ids)
        expect(await historyOf(id)).toEqual(['online birth', 'unknown broker-lost', 'online broker-back']);
      const about = (await incidents()).filter(
        ({ broker, from }) => broker === 'mosquitto-1' && Date.parse(from) >= stoppedAtMs,
      );
      expect(about).toMatchObject([{ kind: 'lost', devices: 3 }]);
    },
  );
});

describe('presence of a device that is connected', () => {
  afterAll(() => devices.leave());

  it(
    'P12 two devices with one client id are told as such, and not as flapping hardware',
    { timeout: 60_000 },
    async () => {
      let mine = 100;
      let other = 7;
      for (let round = 0; round < 4; round += 1) {
        await (await devices.connect({ id: 'p12', session: (mine += 1) })).birth();
        await delay(500);
        await (await devices.connect({ id: 'p12', session: (other += 1) })).birth();
        await delay(500);
      }
      const { flags } = (await deviceOf(system.address, 'p12')).presence;
      expect(flags.map(({ flag }) => flag)).toEqual(['duplicate-client-id']);
      expect(flags[0]?.evidence).toMatch(/^\d connections in a minute took over the one before, with sessions that/);
      expect((await muster(system.address, 'device', 'show', 'p12')).stdout).toMatch(
        /^flag +duplicate-client-id since/m,
      );
    },
  );

  it(
    'P14 who is connected and sends nothing is stale, and online again with its next reading',
    { timeout: 90_000 },
    async () => {
      const device = await devices.connect({ id: 'p14', session: 1 });
      await device.info({ keep_alive: 60, interval: 2 });
      await device.birth();
      const sends = setInterval(() => void device.publish('telemetry', '{"temp":20}'), 1_000);
      try {
        await delay(8_000);
        expect((await deviceOf(system.address, 'p14')).presence.state).toBe('online');
      } finally {
        clearInterval(sends);
      }
      await becomes('p14', 'stale', 20_000);
      expect((await deviceOf(system.address, 'p14')).presence).toMatchObject({
        ...{ reason: 'silent', session: 1 },
        evidence: {
          rule: expect.stringMatching(/no telemetry for .* s; expected every 2 s, as it says itself/) as string,
        },
      });
      await device.publish('telemetry', '{"temp":21}');
      await becomes('p14', 'online', 5_000);
      expect(await historyOf('p14')).toEqual(['online birth', 'stale silent', 'online telemetry']);
    },
  );

  it(
    'P8 a device whose will is retained and whose birth is not is online again when it sends',
    { timeout: 60_000 },
    async () => {
      await publish(system.address, '-t', 'devices/p8/status', '-m', 'offline', '-q', '1', '-r');
      await becomes('p8', 'lost');
      await delay(4_000);
      await publish(system.address, '-t', 'devices/p8/telemetry', '-m', '{"temp":20}', '-q', '1');
      await becomes('p8', 'online');
      expect(await historyOf('p8')).toEqual(['lost will', 'online telemetry']);
    },
  );
});

describe('what brokers retain of a device that has moved', () => {
  afterAll(() => devices.leave());

  it(
    'P3 P4 is put right once: the will of the old session is rewritten with the current one',
    { timeout: 60_000 },
    async () => {
      const before = await devices.connect({ id: 'moved', session: 1, broker: 0 });
      await before.birth();
      await becomes('moved', 'online');
      const now = await devices.connect({ id: 'moved', session: 2, broker: 1 });
      await now.birth();
      const at = (broker: number): Promise<readonly string[]> =>
        retained(system.address, 'devices/moved/status', broker);
      await vi.waitFor(async () => expect((await at(0))[0]).toContain('"online","session":2'), { timeout: 5_000 });
      before.cut();
      await delay(1_500);
      // The will of session 1 was retained here meanwhile.
      expect((await at(0))[0]).toContain('"online","session":2');
      now.cut();
      await becomes('moved', 'lost');
      await vi.waitFor(async () => expect((await at(0))[0]).toContain('"offline","session":2'), { timeout: 5_000 });
      expect((await at(1))[0]).toContain('"offline","session":2');
      expect(await historyOf('moved')).toEqual(['online birth', 'online birth', 'lost will']);
    },
  );
});

describe('presence of a device whose account is taken away', () => {
  it(
    'P9 R6 is lost, and its will is heard: its session ends while the broker still knows it',
    { timeout: 60_000 },
    async () => {
      const { body } = await curl(system.address, '/api/v1/devices/p9/credentials', '-X', 'POST');
      const { username, password, broker } = body as Credentials;
      const heard: string[] = [];
      const listener = await mqtt.connectAsync(broker.url, {
        ...{
          username: system.address.broker.username,
          password: system.address.broker.password,
          clientId: 'p9-listener',
        },
      });
      listener.on('message', (_topic, payload) => heard.push(payload.toString()));
      await listener.subscribeAsync('devices/p9/status');
      const will = { topic: 'devices/p9/status', payload: Buffer.from('my will'), qos: 1, retain: true } as const;
      const device = await mqtt.connectAsync(broker.url, {
        username,
        password,
        clientId: 'p9',
        reconnectPeriod: 0,
        will,
      });
      device.on('error', () => undefined);
      await device.publishAsync('devices/p9/status', '{"status":"online","session":4}', { qos: 1, retain: true });
      await becomes('p9', 'online');
      const revoked = await curl(system.address, '/api/v1/devices/p9/credentials', '-X', 'DELETE');
      expect(revoked.status).toBe(200);
      await becomes('p9', 'lost', 5_000);
      expect(device.connected).toBe(false);
      // The will is no status; what says so in its place is.
      await vi.waitFor(() =>
        expect(heard).toEqual([
          expect.stringContaining('online'),
          'my will',
          '{"status":"offline","session":4,"reason":"unexpected"}',
        ]),
      );
      await listener.endAsync();
    },
  );
});
