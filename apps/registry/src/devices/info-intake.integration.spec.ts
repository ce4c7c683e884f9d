import { deviceId, type DeviceInfo } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore } from '@muster/security';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { InfoIntake } from './info-intake.ts';

describe('what devices say about themselves', () => {
  let database: PrismaClient;
  let accounts: AccountStore;
  let intake: InfoIntake;

  beforeAll(async () => {
    database = openDatabase(await freshDatabase(inject('engines').postgresUrl), 'info-intake-test');
    accounts = new AccountStore(database);
    intake = new InfoIntake(database, accounts);
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  const info = (model: string, topics?: readonly string[]): DeviceInfo =>
    ({ model, ...(topics === undefined ? {} : { topics }) }) as DeviceInfo;

  it('is kept for a whole fleet that says it at once, the newest of each', async () => {
    const all = Array.from({ length: 3_000 }, (_, index) => deviceId(`fleet-${index % 1_500}`));
    await Promise.all(all.map((device, index) => intake.take(device, info(index < 1_500 ? 'old' : 'new'))));
    const rows = await database.device.findMany({ where: { id: { startsWith: 'fleet-' } }, select: { info: true } });
    expect(rows).toHaveLength(1_500);
    expect(rows.filter((row) => (row.info as DeviceInfo).model === 'new')).toHaveLength(1_500);
    expect(await accounts.version()).toBe(0n);
  });

  it('changes the accounts once, for the topics that those own who have one', async () => {
    const owners = ['hall-motion', 'office-motion'].map(deviceId);
    for (const device of owners)
      await database.$transaction((transaction) => accounts.grant(transaction, device, 'password', { rotate: false }));
    const before = await accounts.version();
    await Promise.all(owners.map((device) => intake.take(device, info('PIR', [`home/${device}/motion`]))));
    await intake.take(deviceId('stranger'), info('PIR', ['home/attic/motion']));
    await Promise.all(owners.map((device) => intake.take(device, info('PIR', [`home/${device}/motion`]))));
    const versions = Number((await accounts.version()) - before);
    // The first may be written alone, before the second has come.
    expect(versions).toBeGreaterThanOrEqual(1);
    expect(versions).toBeLessThanOrEqual(2);
  });

  it('of a device with a tombstone makes it neither known nor heard', async () => {
    await database.tombstone.create({ data: { device: 'ghost' } });
    await intake.take(deviceId('ghost'), info('PIR'));
    expect(await database.device.findUnique({ where: { id: 'ghost' } })).toBeNull();
  });

  it('that PostgreSQL will never take costs the others nothing', async () => {
    const broken = { model: 'a', extra: '\u0000' } as unknown as DeviceInfo;
    const results = await Promise.allSettled([
      intake.take(deviceId('good-1'), info('a')),
      intake.take(deviceId('bad'), broken),
      intake.take(deviceId('good-2'), info('a')),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await database.device.count({ where: { id: { startsWith: 'good-' }, NOT: { info: { equals: {} } } } })).toBe(
      2,
    );
  });
});
