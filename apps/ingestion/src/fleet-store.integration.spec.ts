import { deviceId, type DeviceId } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { FleetStore, type StoredMessage } from './fleet-store.ts';

let database: PrismaClient;

beforeAll(async () => {
  database = openDatabase(await freshDatabase(inject('engines').postgresUrl), 'test');
});

afterAll(() => database.$disconnect());

afterEach(() => vi.restoreAllMocks());

const nobody = (): undefined => undefined;
const t0 = Date.now() - 60_000;

function message(device: DeviceId, value: number, epochMs: number): StoredMessage {
  const readings = [{ metric: 'temp', value, unit: undefined }];
  return { device, broker: 'mosquitto-0', bytes: 10, readings, epochMs, heardAtMs: epochMs };
}

async function lastOf(device: string): Promise<number | null | undefined> {
  return (await database.lastReading.findFirst({ where: { device } }))?.number;
}

describe('what ingestion writes to PostgreSQL', () => {
  it('B11 is one statement a kind, whatever the number of devices, with the newest of each', async () => {
    const store = new FleetStore(database, () => undefined);
    const devices = Array.from({ length: 5_000 }, (_, index) => deviceId(`b11-${index}`));
    for (const [index, device] of devices.entries()) {
      store.stored(message(device, index, t0));
      store.stored(message(device, -index, t0 + 1_000));
      // Late: the same key twice in one statement would be refused.
      store.stored(message(device, 999_999, t0 - 1_000));
    }
    const statements = vi.spyOn(database, '$executeRaw');
    await store.flush(nobody);
    expect(statements).toHaveBeenCalledTimes(2);
    const rows = await database.lastReading.findMany({ where: { device: { startsWith: 'b11-' } } });
    expect(rows).toHaveLength(devices.length);
    expect(rows.every(({ device, number }) => number === 0 || number === -Number(device.slice(4)))).toBe(true);
    const [sum] = await database.$queryRaw<{ messages: bigint }[]>`
      SELECT sum(messages)::bigint AS messages FROM device_activity WHERE device LIKE 'b11-%'`;
    expect(sum?.messages).toBe(BigInt(3 * devices.length));
  });

  it('keeps the newest reading by its own time, where PostgreSQL fails while a late one comes', async () => {
    const store = new FleetStore(database, () => undefined);
    const device = deviceId('late-amid-failure');
    store.stored(message(device, 2, t0 + 2_000));
    vi.spyOn(database, '$executeRaw').mockRejectedValue(new Error('PostgreSQL is away'));
    const failing = store.flush(nobody);
    store.stored(message(device, 1, t0 + 1_000));
    await expect(failing).rejects.toThrow('away');
    vi.restoreAllMocks();
    await store.flush(nobody);
    expect(await lastOf(device)).toBe(2);
  });

  it('counts no message twice where PostgreSQL goes away while rows that it refuses are looked for', async () => {
    const unstorable: unknown[] = [];
    const store = new FleetStore(database, (row) => unstorable.push(row));
    const devices = ['half-a', 'half-b', 'half-c', 'half-d'].map((id) => deviceId(id));
    for (const device of devices) store.stored({ ...message(device, 1, t0), readings: [] });
    // No bigint: a data error for the whole statement, which is divided then.
    store.stored({ ...message(deviceId('half-bad'), 1, t0), readings: [], bytes: 0.5 });
    const statement = database.$executeRaw.bind(database);
    let calls = 0;
    vi.spyOn(database, '$executeRaw').mockImplementation(((...parameters: Parameters<typeof statement>) => {
      calls += 1;
      // All five, then the first three; then it is away.
      return calls <= 2 ? statement(...parameters) : Promise.reject(new Error('PostgreSQL is away'));
    }) as typeof database.$executeRaw);
    await expect(store.flush(nobody)).rejects.toThrow('away');
    vi.restoreAllMocks();
    await store.flush(nobody);
    const rows = await database.$queryRaw<{ device: string; messages: bigint }[]>`
      SELECT device, messages FROM device_activity WHERE device LIKE 'half-%' ORDER BY device`;
    expect(rows).toEqual(devices.map((device) => ({ device, messages: 1n })));
    expect(unstorable).toHaveLength(1);
  });
});
