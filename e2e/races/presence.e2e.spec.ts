import { setTimeout as delay } from 'node:timers/promises';
import type { Device, PresenceHistory } from '@muster/contract';
import mqtt from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, psql, publish, retained } from '../system.ts';
import { RawDevices } from './raw-device.ts';
import { SystemOfFile } from '../system-of-file.ts';

const system = new SystemOfFile(['--brokers', '2']);
const devices = new RawDevices(system);

afterEach(() => devices.leave());

async function historyOf(id: string): Promise<PresenceHistory> {
  return (await curl(system.address, `/api/v1/devices/${id}/presence?limit=1000`)).body as PresenceHistory;
}

/** The states that a device has gone through, the oldest first, once it has come to this one and nothing more follows. */
async function cameTo(id: string, state: string, session: number | null): Promise<readonly string[]> {
  await vi.waitFor(async () => expect((await historyOf(id)).presence).toMatchObject({ state, session }), {
    timeout: 10_000,
    interval: 50,
  });
  await delay(700);
  const { presence, history } = await historyOf(id);
  expect(presence).toMatchObject({ state, session });
  return history.map(({ to }) => to).reverse();
}

async function say(device: string, status: object, ...options: readonly string[]): Promise<void> {
  const message = JSON.stringify(status);
  await publish(
    system.address,
    '-V',
    '5',
    '-t',
    `devices/${device}/status`,
    '-m',
    message,
    '-r',
    '-q',
    '1',
    ...options,
  );
}

async function becomes(device: string, presence: Partial<Device['presence']>, timeoutMs: number): Promise<void> {
  await vi.waitFor(async () => expect((await deviceOf(system.address, device)).presence).toMatchObject(presence), {
    timeout: timeoutMs,
    interval: 200,
  });
}

/** Kills presence; resolves when it has decided about something that was said after it was back. */
async function presenceStartsAnew(witness: string): Promise<void> {
  const before = system.pidOf('presence');
  process.kill(before, 'SIGKILL');
  await vi.waitFor(() => expect(system.pidOf('presence')).not.toBe(before), { timeout: 20_000 });
  // What is said now is decided after all that the broker still held.
  await say(witness, { status: 'online', session: 1 });
  await becomes(witness, { state: 'online' }, 20_000);
}

/** Silence means nothing until every broker has been heard for 30 s. */
const SILENCE_LIMIT_MS = 45_000;

describe('presence in a race', () => {
  it('P1 a clean session that is taken over: the old will comes before the new birth', async () => {
    const how = { id: 'p1', session: 1 };
    await (await devices.connect(how)).birth();
    await cameTo('p1', 'online', 1);
    await (await devices.connect({ ...how, session: 2 })).birth();
    expect(await cameTo('p1', 'online', 2)).toEqual(['online', 'lost', 'online']);
  });

  it('P2 a session that is resumed drops the old will: no offline is needed to know of the new session', async () => {
    const how = { id: 'p2', session: 1, sessionExpirySeconds: 300 };
    await (await devices.connect(how)).birth();
    await cameTo('p2', 'online', 1);
    await (await devices.connect({ ...how, session: 2 })).birth();
    expect(await cameTo('p2', 'online', 2)).toEqual(['online', 'online']);
  });

  it('P3 P4 a device that moves to another broker is online, though its old will comes after its birth', async () => {
    const before = await devices.connect({ id: 'p3', session: 1, broker: 0 });
    await before.birth();
    await cameTo('p3', 'online', 1);
    await (await devices.connect({ id: 'p3', session: 2, broker: 1 })).birth();
    await cameTo('p3', 'online', 2);
    before.cut();
    await vi.waitFor(
      async () =>
        expect(await retained(system.address, 'devices/p3/status')).toEqual([expect.stringContaining('offline')]),
      {
        timeout: 5_000,
      },
    );
    expect(await cameTo('p3', 'online', 2)).toEqual(['online', 'online']);
  });

  it('P3 the same without session numbers: an offline counts at the broker of the last birth', async () => {
    const before = await devices.connect({ id: 'p3-plain', broker: 0 });
    await before.birth();
    await cameTo('p3-plain', 'online', null);
    const now = await devices.connect({ id: 'p3-plain', broker: 1 });
    await now.birth();
    await delay(300);
    before.cut();
    expect(await cameTo('p3-plain', 'online', null)).toEqual(['online']);
    now.cut();
    expect(await cameTo('p3-plain', 'lost', null)).toEqual(['online', 'lost']);
  });

  it('P5 a will is dated by its receipt, whatever time it carries', async () => {
    const willPayload = JSON.stringify({
      status: 'offline',
      session: 1,
      reason: 'unexpected',
      timestamp: 946_684_800_000,
    });
    const device = await devices.connect({ id: 'p5', session: 1, willPayload });
    await device.birth();
    await cameTo('p5', 'online', 1);
    const cutAtMs = Date.now();
    device.cut();
    await cameTo('p5', 'lost', 1);
    const since = Date.parse((await historyOf('p5')).presence.since ?? '');
    expect(since).toBeGreaterThanOrEqual(cutAtMs);
    expect(since).toBeLessThan(cutAtMs + 5_000);
  });

  it('P15 of changes with equal timestamps none is lost, and their order is that of receipt', async () => {
    const device = await devices.connect({ id: 'p15', session: 1 });
    const timestamp = Date.now();
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        device.say(
          JSON.stringify(
            index % 2 === 0
              ? { status: 'online', session: 1, timestamp }
              : { status: 'offline', session: 1, reason: 'shutdown', timestamp },
          ),
        ),
      ),
    );
    await vi.waitFor(async () => expect((await historyOf('p15')).history.length).toBeGreaterThanOrEqual(50), {
      timeout: 20_000,
    });
    const states = await cameTo('p15', 'offline', 1);
    expect(states).toEqual(Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? 'online' : 'offline')));
  });

  it('a device that floods its status topic does not hold up the others, and loses none of its changes', async () => {
    const flooder = await devices.connect({ id: 'flooder', session: 1 });
    const count = 3_000;
    const flood = Promise.all(
      Array.from({ length: count }, (_, at) =>
        flooder.say(JSON.stringify({ status: 'online', session: at + 1, nonce: 'x'.repeat(100) })),
      ),
    );
    const bystander = await devices.connect({ id: 'bystander', session: 1 });
    await bystander.birth();
    const saidAtMs = Date.now();
    await vi.waitFor(async () => expect((await historyOf('bystander')).presence.state).toBe('online'), {
      timeout: 10_000,
      interval: 50,
    });
    const { presence } = await historyOf('bystander');
    expect(Date.parse(presence.since ?? '') - saidAtMs).toBeLessThan(5_000);
    await flood;
    await vi.waitFor(async () => expect((await historyOf('flooder')).presence.session).toBe(count), {
      timeout: 20_000,
    });
    const kept = await psql(system.address, `SELECT count(*) FROM presence_transition WHERE device = 'flooder'`);
    expect(kept).toBe(String(count));
  });
});

describe('presence over time', () => {
  it(
    'P10 a birth that expires at the broker and is not published anew is lost by our own clock',
    { timeout: 120_000 },
    async () => {
      const expiry = ['-D', 'publish', 'message-expiry-interval'];
      await say('fading', { status: 'online', session: 1 }, ...expiry, '600');
      await becomes('fading', { state: 'online' }, 5_000);
      await say('fading', { status: 'online', session: 1 }, ...expiry, '3');
      await becomes('fading', { state: 'lost', reason: 'expired' }, SILENCE_LIMIT_MS);
      expect(await retained(system.address, 'devices/fading/status')).toEqual([]);
      const { history } = await historyOf('fading');
      expect(history).toHaveLength(2);
      expect(history[0]?.evidence.rule).toBe('its birth has expired and was not published anew');
    },
  );

  it(
    'P13 a sleeper is asleep, lost where it does not come back in time, and not asleep again when the service is',
    { timeout: 120_000 },
    async () => {
      await say('dozer', { status: 'online', session: 1 });
      await say('dozer', { status: 'offline', session: 1, reason: 'sleep', wake_in: 4 });
      await becomes('dozer', { state: 'asleep', reason: 'sleep' }, 5_000);
      await becomes('dozer', { state: 'lost', reason: 'overslept', wakeExpectedAt: null }, SILENCE_LIMIT_MS);
      expect(await retained(system.address, 'devices/dozer/status')).toEqual([
        'devices/dozer/status {"status":"offline","session":1,"reason":"sleep","wake_in":4}',
      ]);
      await presenceStartsAnew('witness');
      expect((await deviceOf(system.address, 'dozer')).presence).toMatchObject({ state: 'lost', reason: 'overslept' });
      await say('dozer', { status: 'online', session: 2 });
      await becomes('dozer', { state: 'online', reason: 'birth', session: 2 }, 5_000);
      expect((await historyOf('dozer')).history.map(({ from, to, reason }) => [from, to, reason])).toEqual([
        ['lost', 'online', 'birth'],
        ['asleep', 'lost', 'overslept'],
        ['online', 'asleep', 'sleep'],
        ['unknown', 'online', 'birth'],
      ]);
    },
  );

  it(
    'P8 a will that is not retained leaves a birth behind, which brings nobody back when presence starts anew',
    { timeout: 60_000 },
    async () => {
      await publish(system.address, '-t', 'devices/p8-back/status', '-m', 'online', '-q', '1', '-r');
      await becomes('p8-back', { state: 'online' }, 5_000);
      await publish(system.address, '-t', 'devices/p8-back/status', '-m', 'offline', '-q', '1');
      await becomes('p8-back', { state: 'lost' }, 5_000);
      await presenceStartsAnew('witness-8');
      expect((await deviceOf(system.address, 'p8-back')).presence.state).toBe('lost');
    },
  );

  it(
    'P11 what was said while presence had no session at a broker is read from what that retains',
    { timeout: 60_000 },
    async () => {
      const { urls, username, password } = system.address.broker;
      // While presence hangs, somebody takes its place and its session away.
      process.kill(system.pidOf('presence'), 'SIGSTOP');
      const thief = await mqtt.connectAsync(urls[0] ?? '', {
        ...{ protocolVersion: 5, clientId: 'muster-presence-mosquitto-0', clean: true, username, password },
        reconnectPeriod: 0,
      });
      for (let index = 0; index < 5; index += 1) await say(`p11-${index}`, { status: 'online', session: 3 });
      await thief.endAsync();
      process.kill(system.pidOf('presence'), 'SIGCONT');
      for (let index = 0; index < 5; index += 1) await becomes(`p11-${index}`, { state: 'online', session: 3 }, 40_000);
      expect((await historyOf('p11-0')).history[0]?.evidence).toMatchObject({ retained: true });
    },
  );
});
