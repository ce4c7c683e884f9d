import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { FleetStore } from './fleet-store.ts';

const T0 = 1_800_000_000_000;

describe('what others have written', () => {
  let database: PrismaClient;
  let store: FleetStore;

  beforeAll(async () => {
    const { postgresUrl } = inject('engines');
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'test');
    store = new FleetStore(database);
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  it('has losses since a time, with whose word they are and whether the broker had kept them', async () => {
    const evidence = { broker: 'mosquitto-0', topic: 'devices/a/status', payload: 'offline', rule: 'will' };
    const change = (atMs: number, to: string, retained: boolean) => ({
      ...{ device: 'a', at: new Date(atMs), from: 'unknown', to, reason: 'will', evidence: { ...evidence, retained } },
    });
    await database.presenceTransition.createMany({
      data: [
        change(T0 - 1, 'lost', false),
        change(T0, 'lost', true),
        change(T0 + 1, 'online', false),
        change(T0 + 2, 'lost', false),
      ],
    });
    const loss = { device: 'a', broker: 'mosquitto-0' };
    expect(await store.lossesSince(new Date(T0))).toEqual([
      { ...loss, id: 2n, atMs: T0, isReplay: true },
      { ...loss, id: 4n, atMs: T0 + 2, isReplay: false },
    ]);
    expect(await store.presencePosition()).toBe(4n);
  });
});
