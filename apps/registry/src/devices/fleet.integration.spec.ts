import { bulkRequestSchema, defaultTopicMap, deviceId, type BulkResult, type DeviceFileFormat } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore, BrokerSaves, ReportSigner } from '@muster/security';
import type { ProblemError, Logger } from '@muster/service';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { BulkChanges } from './bulk-changes.ts';
import { AccountTrials } from '../access/account-trials.ts';
import { DecommissionStore } from '../decommission/decommission-store.ts';
import { Decommissioning } from '../decommission/decommissioning.ts';
import { DeviceTransfer } from './device-transfer.ts';
import { Devices } from './devices.ts';
import { Groups } from './groups.ts';

const BIG = 10_000;
/** By which 10,000 devices are to be changed, exported or imported; it takes some 1 to 2 s. */
const BIG_LIMIT_MS = 15_000;
const logger = { info: () => undefined, warn: () => undefined } as unknown as Logger;

let database: PrismaClient;
let bulk: BulkChanges;
let transfer: DeviceTransfer;
let devices: Devices;
let groups: Groups;
let decommissioning: Decommissioning;
beforeAll(async () => {
  database = openDatabase(await freshDatabase(inject('engines').postgresUrl), 'fleet-test');
  devices = new Devices(database);
  groups = new Groups(database);
  const accounts = new AccountStore(database);
  // What becomes of retained messages is for e2e/devices.e2e.spec.ts: here is no broker.
  const trials = new AccountTrials(database, accounts, []);
  const signer = new ReportSigner('only-for-these-specifications-of-the-fleet');
  const store = new DecommissionStore({
    ...{ database, accounts, trials, signer, topicMap: defaultTopicMap, managed: false },
    ...{ saves: new BrokerSaves(database), brokers: [] },
  });
  decommissioning = new Decommissioning({ database, store, accounts, trials, managed: false, brokers: [], logger });
  bulk = new BulkChanges(database, decommissioning, logger);
  transfer = new DeviceTransfer(database, logger);
});
beforeEach(async () => {
  await database.device.deleteMany();
  await database.deviceGroup.deleteMany();
  await database.tombstone.deleteMany();
});
afterAll(async () => {
  await decommissioning.close();
  await database.$disconnect();
});

async function run(request: Readonly<Record<string, unknown>>): Promise<BulkResult> {
  return bulk.run(bulkRequestSchema.parse(request), () => undefined);
}

async function aFleet(count: number): Promise<void> {
  await database.$executeRaw`
    INSERT INTO device (id, name, tags, updated_at)
    SELECT 'n' || n, '=Sensor, "' || n || '"', ARRAY['t' || n % 7], now() FROM generate_series(1, ${count}::int) AS n`;
}

async function fileOf(format: DeviceFileFormat, search = ''): Promise<string> {
  let text = '';
  for await (const piece of transfer.export(format, search)) text += piece;
  return text;
}

const taken = (format: DeviceFileFormat, text: string, { preview = false, partial = false } = {}) =>
  transfer.import(format, new TextEncoder().encode(text), { preview, partial });

describe('groups', () => {
  it('keep their devices when they are renamed, and lose nothing but themselves when they are removed', async () => {
    await aFleet(2);
    await groups.create({ name: 'hall', description: null });
    await groups.add('hall', deviceId('n1'));
    await groups.add('hall', deviceId('n1'));
    expect(await groups.patch('hall', { name: 'lobby', description: 'ground floor' })).toMatchObject({
      ...{ name: 'lobby', description: 'ground floor', devices: 1 },
    });
    expect(await devices.find(deviceId('n1'))).toMatchObject({ groups: ['lobby'], state: 'registered' });
    await groups.remove('lobby');
    expect((await devices.find(deviceId('n1'))).groups).toEqual([]);
    expect((await groups.list()).items).toEqual([]);
  });

  it('say what is wrong', async () => {
    await aFleet(1);
    await groups.create({ name: 'hall', description: null });
    await groups.create({ name: 'garden', description: null });
    await database.device.create({ data: { id: 'gone', state: 'decommissioned' } });
    const status = (work: Promise<unknown>) =>
      work.then(
        () => 200,
        (error: unknown) => (error as ProblemError).status,
      );
    expect([
      await status(groups.create({ name: 'hall', description: null })),
      await status(groups.patch('hall', { name: 'garden' })),
      await status(groups.patch('none', { description: 'x' })),
      await status(groups.remove('none')),
      await status(groups.add('none', deviceId('n1'))),
      await status(groups.add('hall', deviceId('nobody'))),
      await status(groups.add('hall', deviceId('gone'))),
      await status(groups.take('hall', deviceId('nobody'))),
      await status(groups.take('hall', deviceId('n1'))),
    ]).toEqual([409, 409, 404, 404, 404, 404, 409, 404, 200]);
  });
});

describe('a bulk action', () => {
  it('shows what it would do, and changes nothing', async () => {
    await aFleet(150);
    const preview = await run({ action: 'tag', tags: ['New', 't1'], select: { q: 'tag:t1,t2' }, preview: true });
    expect(preview).toMatchObject({
      selected: 44,
      changed: 44,
      skipped: 0,
      devices: expect.arrayContaining(['n1', 'n2']),
    });
    expect((await devices.page({ limit: 10, q: 'tag:new' })).items).toEqual([]);
    const all = await run({ action: 'untag', tags: ['t1'], select: { q: 'id:*' }, preview: true });
    expect([all.selected, all.changed, all.skipped, all.skips.length]).toEqual([150, 22, 128, 100]);
  });

  it('changes all that are selected, and tells of those that it does not', async () => {
    await aFleet(3);
    await database.device.create({ data: { id: 'gone', state: 'decommissioned' } });
    const select = { ids: ['n1', 'n2', 'gone', 'nobody', 'n1'] };
    expect(await run({ action: 'tag', tags: ['b', 'a', 't1'], select })).toMatchObject({
      ...{ selected: 4, changed: 2, devices: ['n1', 'n2'], skipped: 2 },
      skips: [
        { device: 'nobody', code: 'unknown' },
        { device: 'gone', code: 'state', reason: 'it is decommissioned and can no longer be changed' },
      ],
    });
    expect(await devices.find(deviceId('n2'))).toMatchObject({ tags: ['a', 'b', 't1', 't2'], state: 'registered' });
    await run({ action: 'untag', tags: ['b', 't2'], select });
    expect((await devices.find(deviceId('n2'))).tags).toEqual(['a', 't1']);
    await groups.create({ name: 'hall', description: null });
    expect(await run({ action: 'group', group: 'hall', select: { q: '-id:n3' } })).toMatchObject({ changed: 2 });
    expect(await run({ action: 'ungroup', group: 'hall', select })).toMatchObject({ changed: 2, skipped: 2 });
    expect(await database.deviceGroupMember.count()).toBe(0);
    await expect(run({ action: 'group', group: 'none', select })).rejects.toMatchObject({ status: 404 });
  });

  it('does nothing where more are selected than its limit, or others than were expected', async () => {
    await aFleet(101);
    const action = { action: 'tag', tags: ['x'], select: { q: 'id:*' } };
    await expect(run(action)).rejects.toMatchObject({
      status: 409,
      detail: expect.stringContaining('the limit is 100'),
    });
    await expect(run({ ...action, limit: 200, expect: 100 })).rejects.toMatchObject({
      detail: '101 devices are selected by now, and 100 were expected; nothing was changed: look at a new preview',
    });
    expect((await devices.page({ limit: 10, q: 'tag:x' })).items).toEqual([]);
    expect(await run({ ...action, limit: 200, expect: 101 })).toMatchObject({ changed: 101 });
  });

  it('begins decommissionings, and tells of those that could not begin', async () => {
    await aFleet(100);
    await database.device.create({ data: { id: 'stubborn' } });
    await database.$executeRaw`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''stubborn''; END'`;
    await database.$executeRaw`
      CREATE TRIGGER refuse BEFORE INSERT ON tombstone FOR EACH ROW WHEN (NEW.device = 'stubborn') EXECUTE FUNCTION refuse()`;
    const result = await run({ action: 'decommission', select: { q: 'id:*' }, limit: 200 });
    await database.$executeRaw`DROP FUNCTION refuse CASCADE`;
    expect(result).toMatchObject({
      ...{ selected: 101, changed: 100, skipped: 1, follow: '/api/v1/devices/{device}/decommission' },
      skips: [{ device: 'stubborn', code: 'failed', reason: 'it could not begin: see the log; ask again' }],
    });
    expect(result.devices).toHaveLength(100);
    expect((await devices.find(deviceId('stubborn'))).state).toBe('discovered');
    for (const device of result.devices) expect((await decommissioning.report(device)).device).toBe(device);
  });

  it(`changes ${BIG} devices with a statement, also when another one does so at the same time`, async () => {
    await aFleet(BIG);
    const action = { select: { q: 'id:*' }, limit: BIG };
    const startedAt = performance.now();
    const [one, other] = await Promise.all([
      run({ ...action, action: 'tag', tags: ['one'] }),
      run({ ...action, action: 'tag', tags: ['other'] }),
    ]);
    const tookMs = performance.now() - startedAt;
    process.stderr.write(`two bulk actions on ${BIG} devices: ${tookMs.toFixed(0)} ms\n`);
    expect([one.changed, other.changed]).toEqual([BIG, BIG]);
    expect(await database.device.count({ where: { tags: { hasEvery: ['one', 'other'] } } })).toBe(BIG);
    expect(tookMs).toBeLessThan(BIG_LIMIT_MS);
    await database.device.create({ data: { id: 'one-more' } });
    await expect(run({ ...action, action: 'tag', tags: ['x'], preview: true })).rejects.toMatchObject({ status: 409 });
  });
});

describe('an import', () => {
  it('creates and changes devices and groups, once', async () => {
    await aFleet(2);
    await groups.create({ name: 'hall', description: null });
    const file = 'id,name,tags,groups\nn1,,roof,hall garden\nnew,New one,"roof, site:7",hall\n';
    const counts = { rows: 2, created: 1, updated: 1, unchanged: 0, refused: 0, groupsCreated: ['garden'] };
    expect(await taken('csv', file, { preview: true })).toMatchObject({ ...counts, preview: true });
    expect(await database.device.count()).toBe(2);
    expect(await taken('csv', file)).toMatchObject(counts);
    expect(await devices.find(deviceId('n1'))).toMatchObject({
      ...{ name: null, tags: ['roof'], groups: ['garden', 'hall'], state: 'registered' },
    });
    expect(await devices.find(deviceId('new'))).toMatchObject({
      name: 'New one',
      tags: ['roof', 'site:7'],
      groups: ['hall'],
    });
    expect(await taken('csv', file)).toMatchObject({ created: 0, updated: 0, unchanged: 2, groupsCreated: [] });
    expect(await taken('json', '[{"id":"new","groups":[]}]')).toMatchObject({ updated: 1 });
    expect(await devices.find(deviceId('new'))).toMatchObject({ name: 'New one', groups: [] });
  });

  it('takes all rows or none, and says what is wrong in which line; with partial it takes the others', async () => {
    await database.tombstone.create({ data: { device: 'dead' } });
    await database.device.create({ data: { id: 'archived', state: 'archived' } });
    const file = 'id,name\r\ndead,x\r\narchived,x\r\na/b,x\r\ngood,x\r\ngood,y\r\n';
    await expect(taken('csv', file)).rejects.toMatchObject({
      status: 422,
      detail: expect.stringContaining('4 of 5 rows cannot be taken, and nothing was imported'),
      errors: [
        { line: 2, path: 'id', message: expect.stringContaining('must stay silent') },
        { line: 3, path: 'id', message: expect.stringContaining('is archived') },
        { line: 4, path: 'id', message: expect.stringContaining('expected 1 to 64') },
        { line: 6, path: 'id', message: 'good stands in line 5 already' },
      ],
    });
    expect(await database.device.count()).toBe(1);
    expect(await taken('csv', file, { partial: true })).toMatchObject({
      created: 1,
      refused: 4,
      faults: { length: 4 },
    });
    expect(await devices.find(deviceId('good'))).toMatchObject({ name: 'x', state: 'registered' });
  });

  it.each(['csv', 'json'] as const)(`of ${BIG} devices that were exported as %s changes nothing`, async (format) => {
    await aFleet(BIG);
    await groups.create({ name: 'hall', description: null });
    await run({ action: 'group', group: 'hall', select: { q: 'id:n1*' }, limit: BIG });
    const all = async (): Promise<unknown> => [
      await database.device.findMany({ orderBy: { id: 'asc' } }),
      await database.deviceGroupMember.findMany({ orderBy: { device: 'asc' } }),
    ];
    const before = await all();
    const startedAt = performance.now();
    const file = await fileOf(format);
    const exportedAt = performance.now();
    expect(await taken(format, file)).toMatchObject({ rows: BIG, created: 0, updated: 0, unchanged: BIG });
    const importedAt = performance.now();
    expect(await all()).toEqual(before);
    await database.device.deleteMany();
    await database.deviceGroup.deleteMany();
    const createdAt = performance.now();
    expect(await taken(format, file)).toMatchObject({ created: BIG, groupsCreated: ['hall'] });
    const createdMs = performance.now() - createdAt;
    expect(await fileOf(format)).toBe(file.replaceAll('discovered', 'registered'));
    process.stderr.write(
      `${BIG} devices as ${format}: exported in ${(exportedAt - startedAt).toFixed(0)} ms, compared in ${(importedAt - exportedAt).toFixed(0)} ms, created in ${createdMs.toFixed(0)} ms\n`,
    );
    expect(createdMs).toBeLessThan(BIG_LIMIT_MS);
  });

  it('exports what a search finds', async () => {
    await aFleet(8);
    expect((await fileOf('csv', 'tag:t1')).trimEnd().split('\n')).toEqual([
      'id,name,description,tags,groups,state,presence,model,firmware,broker',
      `n1,"'=Sensor, ""1""",,t1,,discovered,unknown,,,`,
      `n8,"'=Sensor, ""8""",,t1,,discovered,unknown,,,`,
    ]);
    expect(JSON.parse(await fileOf('json', 'tag:none'))).toEqual([]);
  });
});
