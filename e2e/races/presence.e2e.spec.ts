import { setTimeout as delay } from 'node:timers/promises';
import type { PresenceHistory } from '@muster/contract';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, retained, StartedSystem, stateFolder, type ReadyLine } from '../system.ts';
import { RawDevice, type RawConnection } from './raw-device.ts';

let system: StartedSystem;
let address: ReadyLine;
const devices: RawDevice[] = [];

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '0', '--brokers', '2', '--dir', stateFolder()]);
  ({ address } = system);
});
afterEach(async () => {
  await Promise.all(devices.splice(0).map((device) => device.leave()));
});
afterAll(async () => {
  await system.stop();
});

async function connect(how: RawConnection): Promise<RawDevice> {
  const device = await RawDevice.connect(address, how);
  devices.push(device);
  return device;
}

async function historyOf(id: string): Promise<PresenceHistory> {
  return (await curl(address, `/api/v1/devices/${id}/presence?limit=1000`)).body as PresenceHistory;
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

describe('presence in a race', () => {
  it('P1 a clean session that is taken over: the old will comes before the new birth', async () => {
    const how = { id: 'p1', session: 1 };
    await (await connect(how)).birth();
    await cameTo('p1', 'online', 1);
    await (await connect({ ...how, session: 2 })).birth();
    expect(await cameTo('p1', 'online', 2)).toEqual(['online', 'lost', 'online']);
  });

  it('P2 a session that is resumed drops the old will: no offline is needed to know of the new session', async () => {
    const how = { id: 'p2', session: 1, sessionExpirySeconds: 300 };
    await (await connect(how)).birth();
    await cameTo('p2', 'online', 1);
    await (await connect({ ...how, session: 2 })).birth();
    expect(await cameTo('p2', 'online', 2)).toEqual(['online', 'online']);
  });

  it('P3 P4 a device that moves to another broker is online, though its old will comes after its birth', async () => {
    const before = await connect({ id: 'p3', session: 1, broker: 0 });
    await before.birth();
    await cameTo('p3', 'online', 1);
    await (await connect({ id: 'p3', session: 2, broker: 1 })).birth();
    await cameTo('p3', 'online', 2);
    before.cut();
    await vi.waitFor(
      async () => expect(await retained(address, 'devices/p3/status')).toEqual([expect.stringContaining('offline')]),
      {
        timeout: 5_000,
      },
    );
    expect(await cameTo('p3', 'online', 2)).toEqual(['online', 'online']);
  });

  it('P3 the same without session numbers: an offline counts at the broker of the last birth', async () => {
    const before = await connect({ id: 'p3-plain', broker: 0 });
    await before.birth();
    await cameTo('p3-plain', 'online', null);
    const now = await connect({ id: 'p3-plain', broker: 1 });
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
    const device = await connect({ id: 'p5', session: 1, willPayload });
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
    const device = await connect({ id: 'p15', session: 1 });
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
});
