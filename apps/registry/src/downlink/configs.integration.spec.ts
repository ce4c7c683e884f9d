import { randomUUID } from 'node:crypto';
import { deviceId, type DeviceConfig, type DeviceId, type JsonObject } from '@muster/contract';
import { BrokerConnection, readRetained } from '@muster/broker';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger } from '@muster/service';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { BrokerGate } from './broker-gate.ts';
import { Configs } from './configs.ts';
import { Downlink } from './downlink.ts';

const { broker: here, postgresUrl } = inject('engines');
const logger = createLogger('configs-test', 'silent');
const SOON = { timeout: 20_000, interval: 50 };
const FIRST = { limit: 20 };

describe('configurations of devices', () => {
  const gate = new BrokerGate(here, 'mosquitto-1');
  let database: PrismaClient;
  let current: { readonly configs: Configs; readonly downlink: Downlink } | undefined;

  beforeAll(async () => {
    database = openDatabase(await freshDatabase(postgresUrl), 'configs-test');
  });
  beforeEach(async () => {
    await gate.close();
    await gate.open();
  });
  afterEach(async () => {
    await stop();
  });
  afterAll(async () => {
    await gate.close();
    await database.$disconnect();
  });

  /** What somebody else retains in the place of a configuration, or nothing. */
  async function retain(device: DeviceId, payload: string): Promise<void> {
    const clientId = `test-${randomUUID()}`;
    const connection = new BrokerConnection({ broker: here, clientId, sessionExpirySeconds: 0 });
    await connection.whenReady(5_000);
    await connection.publish(`devices/${device}/config`, payload, { retain: true });
    await connection.close();
  }
  async function start(): Promise<Configs> {
    const brokers = [here, gate.target];
    const downlink = new Downlink(brokers, logger);
    const configs = new Configs({ database, downlink, brokers, logger });
    current = { configs, downlink };
    await downlink.start(1_000);
    configs.start();
    return configs;
  }
  async function stop(): Promise<void> {
    await current?.configs.close();
    await current?.downlink.close();
    current = undefined;
  }
  async function aDevice(info?: object): Promise<DeviceId> {
    const id = deviceId(`c-${randomUUID()}`);
    await database.device.create({ data: { id, state: 'registered', ...(info === undefined ? {} : { info }) } });
    return id;
  }
  async function heldOf(device: DeviceId): Promise<readonly string[]> {
    const held = await readRetained(here, [`devices/${device}/config`]);
    return held.map(({ payload }) => Buffer.from(payload).toString());
  }
  const put = async (configs: Configs, device: DeviceId, settings: JsonObject | null, expectVersion?: number) => {
    await configs.put(device, { settings, ...(expectVersion === undefined ? {} : { expectVersion }) }, 'tester');
    return configs.view(device, FIRST);
  };
  const becomes = async (configs: Configs, device: DeviceId, expected: Partial<DeviceConfig>): Promise<void> => {
    await vi.waitFor(async () => expect(await configs.view(device, FIRST)).toMatchObject(expected), SOON);
  };

  it('are retained on every broker, a version more each time, and cleared on every broker', async () => {
    const configs = await start();
    const device = await aDevice();
    expect(await put(configs, device, { sample: 10 })).toMatchObject({
      ...{ version: 1, desired: { version: 1, settings: { sample: 10 }, by: 'tester' }, applied: null, inSync: false },
      brokers: [
        { broker: here.name, published: true, fault: null },
        { broker: 'mosquitto-1', published: true, fault: null },
      ],
    });
    await put(configs, device, { sample: 20 });
    expect(await heldOf(device)).toEqual(['{"version":2,"settings":{"sample":20}}']);
    const cleared = await put(configs, device, null);
    expect(cleared).toMatchObject({ version: 3, desired: null, inSync: true });
    expect(cleared.history.map(({ version, settings }) => [version, settings])).toEqual([
      [3, null],
      [2, { sample: 20 }],
      [1, { sample: 10 }],
    ]);
    expect(await heldOf(device)).toEqual([]);
    expect(await put(configs, device, {})).toMatchObject({ version: 4 });
  });

  it('come to a broker that was away when it is back, also after another process has taken over', async () => {
    await gate.close();
    const first = await start();
    const device = await aDevice();
    expect(await put(first, device, { sample: 10 })).toMatchObject({
      explanation: expect.stringContaining('mosquitto-1 is still to get it') as string,
      brokers: [{ published: true }, { published: false, fault: expect.stringContaining('does not answer') as string }],
    });
    await stop();
    await retain(device, '');
    await gate.open();
    const second = await start();
    await becomes(second, device, {
      brokers: [expect.anything(), expect.objectContaining({ published: true })] as never,
    });
    expect(await heldOf(device)).toEqual(['{"version":1,"settings":{"sample":10}}']);
  });

  it('come again to a broker that comes back without them, and ghosts of what was cleared are cleared again', async () => {
    const configs = await start();
    const [device, other, cleared] = [await aDevice(), await aDevice(), await aDevice()];
    for (const one of [device, other, cleared]) await put(configs, one, { sample: 10 });
    await put(configs, cleared, null);
    await gate.close();
    await retain(device, '');
    await retain(other, '{"version":1,"settings":{"sample":1}}');
    await retain(cleared, 'a ghost');
    await gate.open();
    const wanted = ['{"version":1,"settings":{"sample":10}}'];
    await vi.waitFor(async () => expect(await heldOf(device)).toEqual(wanted), SOON);
    await vi.waitFor(async () => expect(await heldOf(other)).toEqual(wanted), SOON);
    await vi.waitFor(async () => expect(await heldOf(cleared)).toEqual([]), SOON);
  });

  it('are refused where the newest version is not the expected one, and exactly one of two at a time is taken', async () => {
    const configs = await start();
    const device = await aDevice();
    const both = await Promise.allSettled([
      put(configs, device, { sample: 1 }, 0),
      put(configs, device, { sample: 2 }, 0),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await expect(put(configs, device, { sample: 3 }, 7)).rejects.toMatchObject({
      status: 409,
      detail: expect.stringContaining('the newest version is 1, not 7') as string,
    });
    expect(await put(configs, device, { sample: 3 }, 1)).toMatchObject({ version: 2 });
  });

  it('have the last version retained, however many are given at once', async () => {
    const configs = await start();
    const device = await aDevice();
    await Promise.all(
      Array.from({ length: 20 }, async (_, sample) => configs.put(device, { settings: { sample } }, 'x')),
    );
    await becomes(configs, device, { version: 20 });
    const { desired, brokers } = await configs.view(device, FIRST);
    expect(brokers[0]).toMatchObject({ published: true });
    expect(await heldOf(device)).toEqual([JSON.stringify({ version: 20, settings: desired?.settings })]);
  });

  it('have a higher version than what the device goes by already', async () => {
    const configs = await start();
    const device = await aDevice({ config: { version: 9, error: 'no settings' } });
    expect(await put(configs, device, { sample: 1 })).toMatchObject({
      ...{ version: 10, inSync: false, applied: { version: 9, error: 'no settings' } },
    });
    const last = await aDevice({ config: { version: 4_294_967_295 } });
    await expect(put(configs, last, { sample: 1 })).rejects.toMatchObject({ status: 409 });
  });

  it('are for devices that are there; nothing is retained for one that is taken out of service', async () => {
    const configs = await start();
    await expect(put(configs, deviceId('nobody-knows'), {})).rejects.toMatchObject({ status: 404 });
    await expect(configs.view(deviceId('nobody-knows'), FIRST)).rejects.toMatchObject({ status: 404 });
    const device = await aDevice();
    await put(configs, device, { sample: 10 });
    await database.device.update({ where: { id: device }, data: { state: 'decommissioning' } });
    await expect(put(configs, device, {})).rejects.toMatchObject({ status: 409 });
    await stop();
    await retain(device, '');
    const next = await start();
    // A device that comes behind it is published; it never is.
    const marker = await aDevice();
    await put(next, marker, { sample: 10 });
    await vi.waitFor(async () => expect(await heldOf(marker)).toHaveLength(1), SOON);
    expect(await heldOf(device)).toEqual([]);
  });

  it('are listed a page at a time', async () => {
    const configs = await start();
    const device = await aDevice();
    for (const sample of [1, 2, 3]) await put(configs, device, { sample });
    const first = await configs.view(device, { limit: 2 });
    const second = await configs.view(device, { limit: 2, cursor: first.next ?? '' });
    expect([...first.history, ...second.history].map(({ version }) => version)).toEqual([3, 2, 1]);
    expect(second).toMatchObject({ next: null, desired: { version: 3 } });
  });
});
