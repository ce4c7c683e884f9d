import { deviceId } from '@muster/contract';
import { migrate, openDatabase, type PrismaClient } from '@muster/database';
import { AccountStore } from '@muster/security';
import type { Logger } from '@muster/service';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { Credentials } from './credentials.ts';

describe('accounts for many devices at once', () => {
  const brokers = ['a', 'b', 'c'].map((name) => ({ name, url: `mqtt://${name}:1883` }));
  let database: PrismaClient;
  let credentials: Credentials;

  beforeAll(async () => {
    const { postgresUrl } = inject('engines');
    const admin = new Client({ connectionString: postgresUrl });
    await admin.connect();
    await admin.query('CREATE DATABASE credentials');
    await admin.end();
    const url = new URL(postgresUrl);
    url.pathname = '/credentials';
    await migrate(url.href);
    database = openDatabase(url.href, 'credentials-test');
    const logger = { info: () => undefined } as unknown as Logger;
    credentials = new Credentials(database, new AccountStore(database), brokers, true, logger);
    // Agents that have applied everything: nobody is to be waited for here.
    await database.brokerAgent.createMany({
      data: brokers.map(({ name }) => ({ broker: name, version: 1_000_000n, seenAt: new Date() })),
    });
  });
  beforeEach(async () => {
    await database.brokerAccount.deleteMany();
    await database.device.deleteMany();
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  const ids = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, index) => deviceId(`${prefix}-${index}`));
  const kept = { id: 'kept', state: 'discovered', broker: 'a' } as const;

  it('leave each device its broker, and fill the others evenly with those that are new', async () => {
    await database.device.createMany({
      data: [kept, ...ids('old', 4).map((id, index) => ({ id, state: 'registered', broker: index < 2 ? 'a' : 'b' }))],
    });
    const { items } = await credentials.issueAll([deviceId('kept'), ...ids('new', 7)], { rotate: false });
    expect(items.map(({ broker }) => broker.name)).toEqual(['a', 'c', 'c', 'b', 'c', 'a', 'b', 'c']);
    expect(items.map(({ device }) => device)).toEqual(['kept', ...ids('new', 7)]);
    expect(new Set(items.map(({ password }) => password)).size).toBe(8);
    const rows = await database.device.findMany({ where: { id: { in: items.map(({ device }) => device) } } });
    expect(rows.map(({ id, state, broker }) => [id, state, broker]).sort()).toEqual(
      items.map(({ device, broker }) => [device, 'registered', broker.name]).sort(),
    );
  });

  it('are made for all of them or for none', async () => {
    await credentials.issueAll(ids('new', 1), { rotate: false });
    await expect(credentials.issueAll(ids('new', 3), { rotate: false })).rejects.toMatchObject({ status: 409 });
    expect([await database.device.count(), await database.brokerAccount.count()]).toEqual([1, 1]);
  });

  it('do not keep each other from being made when two ask for the same in another order', async () => {
    const all = ids('same', 1_000);
    for (let time = 0; time < 5; time += 1) {
      await database.brokerAccount.deleteMany();
      await database.device.deleteMany();
      await Promise.all([
        credentials.issueAll(all, { rotate: true }),
        credentials.issueAll([...all].reverse(), { rotate: true }),
      ]);
    }
    expect(await database.brokerAccount.count()).toBe(1_000);
  });
});
