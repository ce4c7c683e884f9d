import type { Device, PresenceHistory } from '@muster/contract';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster, publish, retained, StartedSystem, stateFolder, type ReadyLine } from './system.ts';

let system: StartedSystem;
let address: ReadyLine;

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '0', '--dir', stateFolder()]);
  ({ address } = system);
});
afterAll(async () => {
  await system.stop();
});

async function say(device: string, status: object, ...options: readonly string[]): Promise<void> {
  const message = JSON.stringify(status);
  await publish(address, '-V', '5', '-t', `devices/${device}/status`, '-m', message, '-r', '-q', '1', ...options);
}

async function becomes(device: string, presence: Partial<Device['presence']>, timeoutMs: number): Promise<void> {
  await vi.waitFor(async () => expect((await deviceOf(address, device)).presence).toMatchObject(presence), {
    timeout: timeoutMs,
    interval: 200,
  });
}

async function historyOf(device: string, query = ''): Promise<PresenceHistory> {
  return (await curl(address, `/api/v1/devices/${device}/presence${query}`)).body as PresenceHistory;
}

/** Silence means nothing until every broker has been heard for 30 s. */
const SILENCE_LIMIT_MS = 45_000;

describe('presence', () => {
  it(
    'P10 a birth that expires at the broker and is not published anew is lost by our own clock',
    { timeout: 120_000 },
    async () => {
      const expiry = ['-D', 'publish', 'message-expiry-interval'];
      await say('fading', { status: 'online', session: 1 }, ...expiry, '600');
      await becomes('fading', { state: 'online' }, 5_000);
      await say('fading', { status: 'online', session: 1 }, ...expiry, '3');
      await becomes('fading', { state: 'lost', reason: 'expired' }, SILENCE_LIMIT_MS);
      expect(await retained(address, 'devices/fading/status')).toEqual([]);
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
      expect(await retained(address, 'devices/dozer/status')).toEqual([
        'devices/dozer/status {"status":"offline","session":1,"reason":"sleep","wake_in":4}',
      ]);
      process.kill(address.pids['presence'] ?? 0, 'SIGKILL');
      await vi.waitFor(() => expect(system.events).toMatchObject([{ event: 'ended' }, { event: 'restarted' }]), {
        timeout: 20_000,
      });
      // What is said now is decided after all that the broker still held.
      await say('witness', { status: 'online', session: 1 });
      await becomes('witness', { state: 'online' }, 20_000);
      expect((await deviceOf(address, 'dozer')).presence).toMatchObject({ state: 'lost', reason: 'overslept' });
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

  it('has a history with evidence, a page at a time, in REST and in the terminal', async () => {
    for (let session = 1; session <= 3; session += 1) await say('pager', { status: 'online', session });
    await becomes('pager', { session: 3 }, 5_000);
    const first = await historyOf('pager', '?limit=2');
    expect(first).toMatchObject({ device: 'pager', presence: { state: 'online', session: 3 } });
    expect(first.history.map(({ session }) => session)).toEqual([3, 2]);
    expect(first.history[0]).toMatchObject({
      explanation: 'The device said that it is online.',
      evidence: { broker: 'mosquitto-0', topic: 'devices/pager/status', retained: false, rule: 'a live birth wins' },
    });
    const second = await historyOf('pager', `?limit=2&cursor=${first.next}`);
    expect([second.history.map(({ session }) => session), second.next]).toEqual([[1], null]);
    const { code, stdout } = await muster(address, 'device', 'presence', 'pager', '--limit', '1');
    expect(code).toBe(0);
    expect(stdout).toContain('pager  online (birth): The device said that it is online.');
    expect(stdout).toMatch(/^AT +FROM +TO +REASON +SESSION +BROKER +RULE$/m);
  });

  it.each([
    ['/api/v1/devices/nobody/presence', 404],
    ['/api/v1/devices/a%2Fb/presence', 422],
    ['/api/v1/devices/pager/presence?limit=0', 422],
    ['/api/v1/devices/pager/presence?cursor=x', 422],
    ['/api/v1/devices/pager/presence?colour=red', 422],
  ])('GET %s is answered with %i', async (path, status) => {
    expect(await curl(address, path)).toMatchObject({ status, type: expect.stringContaining('problem+json') });
  });
});
