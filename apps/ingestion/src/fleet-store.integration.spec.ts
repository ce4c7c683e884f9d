import { deviceId } from '@muster/contract';
import { BulkConnection, openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { KnownDevice } from './fleet.ts';
import { FleetStore } from './fleet-store.ts';

let database: PrismaClient;
let bulk: BulkConnection;

beforeAll(async () => {
  const url = await freshDatabase(inject('engines').postgresUrl);
  database = openDatabase(url, 'test');
  bulk = new BulkConnection(url, 'test', 2, () => undefined);
});

afterAll(async () => {
  await bulk.close();
  await database.$disconnect();
});

afterEach(() => vi.restoreAllMocks());

const t0 = Date.now() - 60_000;

function known(id: string): KnownDevice {
  return new KnownDevice(deviceId(id), ['temp', 'note', 'door']);
}

/** A message of a device with one reading. */
function takes(store: FleetStore, device: KnownDevice, value: number | string | boolean, epochMs: number): void {
  const metric = { number: 'temp', string: 'note', boolean: 'door' }[typeof value as 'number' | 'string' | 'boolean'];
  device.learn([{ metric, value, unit: undefined }], epochMs);
  store.stored(device, 'mosquitto-0', 10, epochMs);
}

async function lastOf(device: string): Promise<number | null | undefined> {
  return (await database.lastReading.findFirst({ where: { device } }))?.number;
}

describe('what ingestion writes to PostgreSQL', () => {
  it('B11 is one statement a kind, whatever the number of devices, with the newest of each', async () => {
    const store = new FleetStore(database, bulk, () => undefined);
    const devices = Array.from({ length: 5_000 }, (_, index) => known(`b11-${index}`));
    for (const [index, device] of devices.entries()) {
      takes(store, device, index, t0);
      takes(store, device, -index, t0 + 1_000);
      // Late: the same key twice in one statement would be refused.
      takes(store, device, 999_999, t0 - 1_000);
    }
    const statements = vi.spyOn(bulk, 'execute');
    await store.flush(Date.now());
    expect(statements).toHaveBeenCalledTimes(2);
    const rows = await database.lastReading.findMany({ where: { device: { startsWith: 'b11-' } } });
    expect(rows).toHaveLength(devices.length);
    expect(rows.every(({ device, number }) => number === 0 || number === -Number(device.slice(4)))).toBe(true);
    const [sum] = await database.$queryRaw<{ messages: bigint }[]>`
      SELECT sum(messages)::bigint AS messages FROM device_activity WHERE device LIKE 'b11-%'`;
    expect(sum?.messages).toBe(BigInt(3 * devices.length));
  });

  it('keeps the newest reading by its own time, where PostgreSQL fails while a late one comes', async () => {
    const store = new FleetStore(database, bulk, () => undefined);
    const device = known('late-amid-failure');
    takes(store, device, 2, t0 + 2_000);
    vi.spyOn(bulk, 'execute').mockRejectedValue(new Error('PostgreSQL is away'));
    const failing = store.flush(Date.now());
    takes(store, device, 1, t0 + 1_000);
    await expect(failing).rejects.toThrow('away');
    vi.restoreAllMocks();
    await store.flush(Date.now());
    expect(await lastOf(device.id)).toBe(2);
    const [activity] = await database.$queryRaw<{ messages: bigint }[]>`
      SELECT messages FROM device_activity WHERE device = ${device.id}`;
    expect(activity?.messages).toBe(2n);
  });

  it('gives every type, every text and every unit back as it was', async () => {
    const store = new FleetStore(database, bulk, () => undefined);
    const texts = ['null', 'NULL', '', 'a "b"', 'c:\\d', '{x,y}', 'zwei\nZeilen', '22 °C', "it's"];
    for (const [index, text] of texts.entries()) {
      const device = known(`text-${index}`);
      takes(store, device, text, t0);
      takes(store, device, index % 2 === 0, t0);
      device.learn([{ metric: 'temp', value: -1.5e-7 * index, unit: text }], t0 + 0.25);
      store.learned(device);
    }
    await store.flush(Date.now());
    const rows = await database.lastReading.findMany({ where: { device: { startsWith: 'text-' } } });
    for (const [index, text] of texts.entries()) {
      const own = (metric: string): unknown =>
        rows.find((row) => row.device === `text-${index}` && row.metric === metric);
      const at = new Date(t0);
      expect(own('note')).toMatchObject({ text, number: null, boolean: null, unit: null, at });
      expect(own('door')).toMatchObject({ text: null, number: null, boolean: index % 2 === 0, unit: null });
      expect(own('temp')).toMatchObject({ text: null, number: -1.5e-7 * index + 0, boolean: null, unit: text });
    }
  });

  it('writes at once what a device does that was not heard for a while, and what it does often together', async () => {
    const store = new FleetStore(database, bulk, () => undefined);
    const device = known('often');
    const messages = async (): Promise<bigint | undefined> =>
      (await database.deviceActivity.findUnique({ where: { device: device.id } }))?.messages;
    takes(store, device, 1, t0);
    expect((await store.flush(t0, 2_000)).rows).toBe(2);
    expect(await messages()).toBe(1n);
    takes(store, device, 2, t0 + 500);
    // Its reading is not to wait.
    expect((await store.flush(t0 + 500, 2_000)).rows).toBe(1);
    expect([await lastOf(device.id), await messages()]).toEqual([2, 1n]);
    takes(store, device, 3, t0 + 1_999);
    await store.flush(t0 + 1_999, 2_000);
    expect(await messages()).toBe(1n);
    await store.flush(t0 + 2_000, 2_000);
    expect(await messages()).toBe(3n);
  });

  it('counts no message twice where PostgreSQL goes away while rows that it refuses are looked for', async () => {
    const unstorable: unknown[] = [];
    const store = new FleetStore(database, bulk, (row) => unstorable.push(row));
    const devices = ['half-a', 'half-b', 'half-c', 'half-d'].map(known);
    for (const device of devices) store.stored(device, 'mosquitto-0', 10, t0);
    // No bigint: a data error for the whole statement, which is divided then.
    store.stored(known('half-bad'), 'mosquitto-0', 0.5, t0);
    const execute = bulk.execute.bind(bulk);
    let calls = 0;
    vi.spyOn(bulk, 'execute').mockImplementation((...parameters) => {
      calls += 1;
      // All five, then the first three; then it is away.
      return calls <= 2 ? execute(...parameters) : Promise.reject(new Error('PostgreSQL is away'));
    });
    await expect(store.flush(Date.now())).rejects.toThrow('away');
    vi.restoreAllMocks();
    await store.flush(Date.now());
    const rows = await database.$queryRaw<{ device: string; messages: bigint }[]>`
      SELECT device, messages FROM device_activity WHERE device LIKE 'half-%' ORDER BY device`;
    expect(rows).toEqual(devices.map(({ id }) => ({ device: id, messages: 1n })));
    expect(unstorable).toHaveLength(1);
  });
});
