import { defaultTopicMap, deviceId } from '@muster/contract';
import { discover, openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { AccountStore, ensureAdminToken } from './account-store.ts';
import { newToken } from './token.ts';

const probe = { username: 'muster.agent', passwordHash: '$7$1$x$y' };
let database: PrismaClient;
let accounts: AccountStore;

beforeAll(async () => {
  const { postgresUrl } = inject('engines');
  const url = await freshDatabase(postgresUrl);
  database = openDatabase(url, 'accounts-test');
  accounts = new AccountStore(database);
});
afterAll(async () => {
  await database.$disconnect();
});

async function names(): Promise<readonly string[]> {
  const { passwords } = await accounts.files(defaultTopicMap, probe);
  return passwords
    .trim()
    .split('\n')
    .map((line) => line.split(':')[0] ?? '');
}

const grant = (id: string, rotate = false): Promise<bigint> =>
  database.$transaction((transaction) => accounts.grant(transaction, deviceId(id), 'password', { rotate }));

describe('accounts', () => {
  it('are at version 0 and the agent’s own before anybody has one', async () => {
    expect(await accounts.version()).toBe(0n);
    expect(await names()).toEqual(['muster.agent']);
  });

  it('are ensured in one version, and make none when nothing changes', async () => {
    const wanted = ['ingestion', 'presence'].map((service) => ({
      kind: 'service' as const,
      username: `muster.${service}`,
      password: `the password of ${service}`,
    }));
    await accounts.ensure(wanted);
    const version = await accounts.version();
    await accounts.ensure(wanted);
    expect([version, await accounts.version()]).toEqual([1n, 1n]);
    await accounts.ensure([{ kind: 'service', username: 'muster.presence', password: 'another password' }]);
    expect(await accounts.version()).toBe(2n);
    expect(await names()).toEqual(['muster.ingestion', 'muster.presence', 'muster.agent']);
  });

  it('of devices are granted once, rotated, and revoked, each a version', async () => {
    const before = await accounts.version();
    await grant('a1');
    await expect(grant('a1')).rejects.toMatchObject({ code: 'account-exists' });
    await expect(grant('a2', true)).rejects.toMatchObject({ code: 'no-account' });
    await grant('a1', true);
    const revoke = (): Promise<bigint | undefined> =>
      database.$transaction((transaction) => accounts.revoke(transaction, deviceId('a1')));
    expect(await revoke()).toBe(before + 3n);
    expect(await revoke()).toBeUndefined();
    expect(await accounts.version()).toBe(before + 3n);
  });

  it('are not given to ids that services use, nor to the decommissioned', async () => {
    await expect(grant('muster-ingestion-mosquitto-0')).rejects.toMatchObject({ code: 'reserved-device-id' });
    await database.tombstone.create({ data: { device: 'gone' } });
    await expect(grant('gone')).rejects.toMatchObject({ code: 'decommissioned' });
    await accounts.ensure([{ kind: 'device', username: 'gone', password: 'password' }]);
    expect(await names()).not.toContain('gone');
  });

  it('bring the topics that a device says it owns into the ACL file, and a change of them is a version', async () => {
    await discover(database, [deviceId('owner')]);
    await grant('owner');
    const before = await accounts.version();
    await database.$transaction(async (transaction) => {
      await transaction.device.update({ where: { id: 'owner' }, data: { info: { topics: ['garage/door', '#'] } } });
      await accounts.topicsChanged(transaction, [deviceId('owner')]);
    });
    expect(await accounts.version()).toBe(before + 1n);
    const { acl } = await accounts.files(defaultTopicMap, probe);
    expect(acl).toMatch(/user owner\ntopic readwrite garage\/door\n$/);
  });

  it('that are changed at once never share a version', async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `crowd-${index}`);
    const versions = await Promise.all(ids.map((id) => grant(id)));
    expect(new Set(versions).size).toBe(20);
  });

  it('are known to be applied when every agent has said so, and who has not is named', async () => {
    const version = await accounts.version();
    await accounts.report('b0', { version });
    await accounts.report('b1', { fault: 'away' });
    expect(await accounts.whenApplied(['b0', 'b1'], version, 60)).toEqual([
      { broker: 'b0', applied: true },
      { broker: 'b1', applied: false },
    ]);
    setTimeout(() => void accounts.report('b1', { version }), 100);
    expect(await accounts.whenApplied(['b0', 'b1'], version, 5_000)).toMatchObject([
      { applied: true },
      { applied: true },
    ]);
  });
});

describe('the token of an installation', () => {
  it('is there once, takes an older one’s place, and is kept as a hash alone', async () => {
    const [first, second] = [newToken(), newToken()];
    await ensureAdminToken(database, 'installation', first);
    await ensureAdminToken(database, 'installation', first);
    await ensureAdminToken(database, 'installation', second);
    const rows = await database.apiToken.findMany({ where: { name: 'installation' } });
    expect(rows.map(({ revokedAt }) => revokedAt === null).sort()).toEqual([false, true]);
    expect(JSON.stringify(rows)).not.toContain(second);
  });
});
