import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { PresenceHistory } from '@muster/contract';
import { freePort } from '@muster/engines';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { RawDevice } from './races/raw-device.ts';
import { curl, muster } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();
let standby: { readonly process: ChildProcess; readonly url: string };

/** What the system gave its presence process, for one more. */
function environmentOf(pid: number): Record<string, string> {
  const pairs = readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .filter((pair) => pair.startsWith('MUSTER_'));
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

async function startStandby(): Promise<typeof standby> {
  const port = await freePort();
  const env = { ...environmentOf(system.pidOf('presence')), MUSTER_HTTP_PORT: String(port), PATH: process.env['PATH'] };
  const child = spawn(process.execPath, ['apps/presence/dist/main.js'], { env, stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200), { timeout: 20_000 });
  return { process: child, url };
}

async function isActive(url: string): Promise<boolean> {
  return /^muster_presence_active(?:\{.*\})? 1$/m.test(await (await fetch(`${url}/metrics`)).text());
}

async function pageOf(id: string, query: string): Promise<PresenceHistory> {
  return (await curl(system.address, `/api/v1/devices/${id}/presence${query}`)).body as PresenceHistory;
}

async function historyOf(id: string): Promise<readonly string[]> {
  const { history } = await pageOf(id, '?limit=1000');
  return history.map(({ to, session }) => `${to} ${session}`).reverse();
}

describe('the history of a device', () => {
  it('has its evidence, and comes a page at a time, in REST and in the terminal', async () => {
    const device = await RawDevice.connect(system.address, { id: 'pager' });
    for (let session = 1; session <= 3; session += 1) await device.say(JSON.stringify({ status: 'online', session }));
    await vi.waitFor(async () => expect((await pageOf('pager', '')).presence).toMatchObject({ session: 3 }), {
      timeout: 5_000,
    });
    const first = await pageOf('pager', '?limit=2');
    expect(first).toMatchObject({ device: 'pager', presence: { state: 'online', session: 3 } });
    expect(first.history.map(({ session }) => session)).toEqual([3, 2]);
    expect(first.history[0]).toMatchObject({
      explanation: 'The device said that it is online.',
      evidence: { broker: 'mosquitto-0', topic: 'devices/pager/status', retained: false, rule: 'a live birth wins' },
    });
    const second = await pageOf('pager', `?limit=2&cursor=${first.next}`);
    expect([second.history.map(({ session }) => session), second.next]).toEqual([[1], null]);
    const { code, stdout } = await muster(system.address, 'device', 'presence', 'pager', '--limit', '1');
    expect(code).toBe(0);
    expect(stdout).toContain('pager  online (birth): The device said that it is online.');
    expect(stdout).toMatch(/^AT +FROM +TO +REASON +SESSION +BROKER +RULE$/m);
    await device.leave();
  });

  it.each([
    ['/api/v1/devices/nobody/presence', 404],
    ['/api/v1/devices/a%2Fb/presence', 422],
    ['/api/v1/devices/pager/presence?limit=0', 422],
    ['/api/v1/devices/pager/presence?cursor=x', 422],
    ['/api/v1/devices/pager/presence?colour=red', 422],
  ])('GET %s is answered with %i', async (path, status) => {
    expect(await curl(system.address, path)).toMatchObject({ status, type: expect.stringContaining('problem+json') });
  });
});

describe('of two presence processes', () => {
  beforeAll(async () => {
    standby = await startStandby();
  });
  afterAll(() => {
    standby.process.kill('SIGTERM');
  });

  it('one is active, and the other stands by', async () => {
    expect(await isActive(standby.url)).toBe(false);
  });

  it(
    'the one that stands by takes over when the active one is killed, and no change is lost',
    { timeout: 90_000 },
    async () => {
      const device = await RawDevice.connect(system.address, { id: 'handed-over' });
      const expected: string[] = [];
      let isKilled = false;
      for (let session = 1; session <= 60; session += 1) {
        await device.say(JSON.stringify({ status: 'online', session }));
        expected.push(`online ${session}`);
        if (session === 20 && !isKilled) {
          isKilled = true;
          process.kill(system.pidOf('presence'), 'SIGKILL');
        }
        await delay(20);
      }
      await vi.waitFor(async () => expect(await historyOf('handed-over')).toEqual(expected), { timeout: 30_000 });
      expect(await isActive(standby.url)).toBe(true);
      await device.leave();
    },
  );

  it('one that was replaced while it hung writes nothing when it goes on', { timeout: 90_000 }, async () => {
    const hung = standby.process.pid ?? 0;
    const device = await RawDevice.connect(system.address, { id: 'deposed' });
    const database = new pg.Client({ connectionString: system.address.postgres.url });
    await database.connect();
    const epoch = async (): Promise<string | undefined> =>
      (await database.query<{ epoch: string }>('SELECT epoch FROM presence_leader')).rows[0]?.epoch;
    try {
      await vi.waitFor(() => expect(system.started.events.some(({ event }) => event === 'restarted')).toBe(true), {
        timeout: 20_000,
      });
      const before = await epoch();
      await device.say(JSON.stringify({ status: 'online', session: 1 }));
      await vi.waitFor(async () => expect(await historyOf('deposed')).toEqual(['online 1']), { timeout: 10_000 });
      process.kill(hung, 'SIGSTOP');
      // It is told of something that it will want to write, and loses its lock.
      await device.say(JSON.stringify({ status: 'offline', session: 1, reason: 'shutdown' }));
      await database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'muster-presence-leader' AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)",
      );
      await vi.waitFor(async () => expect(Number(await epoch())).toBe(Number(before) + 1), { timeout: 10_000 });
      const ended = new Promise((resolve) => standby.process.once('exit', resolve));
      process.kill(hung, 'SIGCONT');
      await ended;
      await device.say(JSON.stringify({ status: 'online', session: 2 }));
      await vi.waitFor(async () => expect(await historyOf('deposed')).toEqual(['online 1', 'offline 1', 'online 2']), {
        timeout: 40_000,
      });
    } finally {
      await database.end();
      await device.leave();
    }
  });
});
