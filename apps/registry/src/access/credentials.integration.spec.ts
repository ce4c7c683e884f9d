import { deviceId } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore } from '@muster/security';
import type { Logger } from '@muster/service';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { Credentials } from './credentials.ts';

describe('accounts for many devices at once', () => {
  const brokers = ['a', 'b', 'c'].map((name) => ({ name, url: `mqtt://${name}:1883` }));
  let database: PrismaClient;
  let credentials: Credentials;

  beforeAll(async () => {
    database = openDatabase(await freshDatabase(inject('engines').postgresUrl), 'credentials-test');
    const logger = { info: () => undefined } as unknown as Logger;
    credentials = new Credentials(database, new AccountStore(database), brokers, true, logger, () => Promise.resolve());
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

  it('are not made for an archived device, not even a new password, and the answer says how to mend that', async () => {
    const archived = deviceId('archived');
    await database.device.create({ data: { id: archived, state: 'archived', archivedFrom: 'registered' } });
    const refused = { status: 409, detail: expect.stringMatching(/^archived is archived.*restore it first/) as string };
    await expect(credentials.issue(archived, { rotate: false })).rejects.toMatchObject(refused);
    const both = [archived, deviceId('new')];
    await expect(credentials.issueAll(both, { rotate: false })).rejects.toMatchObject(refused);
    expect([await database.device.count(), await database.brokerAccount.count()]).toEqual([1, 0]);
    await database.brokerAccount.create({ data: { username: archived, kind: 'device', passwordHash: 'x' } });
    await expect(credentials.issue(archived, { rotate: true })).rejects.toMatchObject(refused);
    await expect(credentials.issueAll(both, { rotate: true })).rejects.toMatchObject(refused);
    expect(await credentials.revoke(archived)).toMatchObject({ revoked: true });
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
