import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { defaultTopicMap, type AuditEntry } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore, BrokerSaves, ReportSigner } from '@muster/security';
import { createApplication, createLogger, createMetrics } from '@muster/service';
import type { SignedInRequest } from '@muster/service/rest';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { AccountTrials } from '../access/account-trials.ts';
import { DecommissionStore } from '../decommission/decommission-store.ts';
import { Decommissioning } from '../decommission/decommissioning.ts';
import { BulkChanges } from '../devices/bulk-changes.ts';
import { DeviceTransfer } from '../devices/device-transfer.ts';
import { Devices } from '../devices/devices.ts';
import { FleetController, IMPORT_PATH } from '../devices/fleet.controller.ts';
import { OperationNames } from './audit-detail.ts';
import { AuditInterceptor, AuditTrail } from './audit.interceptor.ts';
import { Audit } from './audit.ts';

const logger = createLogger('audit-notes-test', 'silent');
const HEX = /^[0-9a-f]{64}$/;

let database: PrismaClient;
let audit: Audit;
let address = '';
const stops: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  const { postgresUrl } = inject('engines');
  const url = await freshDatabase(postgresUrl);
  database = openDatabase(url, 'audit-notes-test');
  const accounts = new AccountStore(database);
  const trials = new AccountTrials(database, accounts, []);
  const signer = new ReportSigner('only-for-these-specifications-of-the-audit-log');
  const store = new DecommissionStore({
    ...{ database, accounts, trials, signer, topicMap: defaultTopicMap, managed: false },
    ...{ saves: new BrokerSaves(database), brokers: [] },
  });
  const decommissioning = new Decommissioning({
    ...{ database, store, accounts, trials, managed: false, brokers: [], logger },
  });
  audit = new Audit(database, logger);
  const trail = new AuditTrail(audit, new OperationNames({}), logger);
  const application = await createApplication(
    { configuration: {}, logger, metrics: createMetrics('audit-notes-test') },
    {
      controllers: [FleetController],
      unreadBodies: [IMPORT_PATH],
      readiness: [],
      providers: [
        { provide: APP_INTERCEPTOR, useClass: AuditInterceptor },
        { provide: AuditTrail, useValue: trail },
        { provide: Devices, useValue: new Devices(database) },
        { provide: BulkChanges, useValue: new BulkChanges(database, decommissioning, logger) },
        { provide: DeviceTransfer, useValue: new DeviceTransfer(database, logger) },
      ],
    },
  );
  application.use((request: SignedInRequest, _: unknown, next: () => void) => {
    request.session = { name: 'ada', scope: 'operator' };
    next();
  });
  await application.listen(0, '127.0.0.1');
  const { port } = application.getHttpServer().address() as AddressInfo;
  address = `http://127.0.0.1:${port}/api/v1/devices`;
  stops.push(
    () => application.close(),
    () => decommissioning.close(),
    () => audit.close(),
    () => database.$disconnect(),
  );
});
beforeEach(async () => {
  await database.device.deleteMany();
  await database.tombstone.deleteMany();
});
afterAll(async () => {
  for (const stop of stops) await stop();
});

async function aFleet(count: number): Promise<void> {
  await database.$executeRaw`
    INSERT INTO device (id, updated_at) SELECT 'n' || n, now() FROM generate_series(1, ${count}::int) AS n`;
}

async function post(path: string, type: string, body: string): Promise<number> {
  const answer = await fetch(`${address}/${path}`, { method: 'POST', headers: { 'content-type': type }, body });
  await answer.arrayBuffer();
  return answer.status;
}

async function bulk(request: object): Promise<number> {
  return post('bulk', 'application/json', JSON.stringify(request));
}

async function lastEntry(): Promise<AuditEntry | undefined> {
  return (await audit.page({ limit: 1 })).items[0];
}

/** As `LC_ALL=C sort | sha256sum` prints it. */
function hashOf(lines: readonly string[]): string {
  return createHash('sha256')
    .update(lines.map((line) => `${line}\n`).join(''))
    .digest('hex');
}

describe('the audit log of a bulk change by search', () => {
  it('names the devices that were changed, and not those that were only found', async () => {
    await aFleet(12);
    await database.device.update({ where: { id: 'n3' }, data: { tags: ['roof'] } });
    expect(await bulk({ action: 'tag', tags: ['roof'], select: { q: 'id:n*' } })).toBe(200);
    const devices = ['n1', 'n10', 'n11', 'n12', 'n2', 'n4', 'n5', 'n6', 'n7', 'n8', 'n9'];
    expect(await lastEntry()).toMatchObject({
      ...{ actor: 'ada', outcome: 'done' },
      detail: { changed: 11, devices, devicesSha256: hashOf(devices) },
    });
  });

  it('names those whose decommissioning has begun', async () => {
    await aFleet(3);
    expect(await bulk({ action: 'decommission', select: { q: 'id:n*' } })).toBe(202);
    const devices = ['n1', 'n2', 'n3'];
    expect((await lastEntry())?.detail).toEqual({ changed: 3, devices, devicesSha256: hashOf(devices) });
  });

  it('has of very many the number, the first 500 and a hash over all of them', async () => {
    await aFleet(3_000);
    expect(await bulk({ action: 'tag', tags: ['all'], limit: 10_000, select: { q: 'id:*' } })).toBe(200);
    const all = Array.from({ length: 3_000 }, (_, index) => `n${index + 1}`).sort();
    expect((await lastEntry())?.detail).toEqual({
      ...{ changed: 3_000, devices: all.slice(0, 500) },
      devicesSha256: hashOf(all),
    });
    expect(await audit.verify()).toMatchObject({ broken: null });
  });

  it('names none where nothing was changed: in a preview, and where it was refused', async () => {
    await aFleet(3);
    const request = { action: 'tag', tags: ['roof'], select: { q: 'id:n*' } };
    expect(await bulk({ ...request, preview: true })).toBe(200);
    expect(await lastEntry()).toMatchObject({ outcome: 'done', detail: {} });
    expect((await lastEntry())?.detail).toEqual({});
    expect(await bulk({ ...request, limit: 2 })).toBe(409);
    expect(await lastEntry()).toMatchObject({ outcome: 'refused' });
    expect((await lastEntry())?.detail).toEqual({});
  });
});

describe('the audit log of an import', () => {
  it('has the hash and the size of the file, its rows and what became of them', async () => {
    await aFleet(1);
    const file = 'id,name\nn1,Lab\nn2,Roof\nn3,\n';
    expect(await post('import', 'text/csv', file)).toBe(200);
    expect(await lastEntry()).toMatchObject({
      outcome: 'done',
      detail: {
        file: { bytes: file.length, sha256: createHash('sha256').update(file).digest('hex') },
        ...{ rows: 3, created: 2, updated: 1, unchanged: 0, refused: 0, groupsCreated: 0 },
      },
    });
  });

  it('has the hash of a file that was refused', async () => {
    expect(await post('import', 'text/csv', 'id,name\n#,Lab\n')).toBe(422);
    expect(await lastEntry()).toMatchObject({
      outcome: 'refused',
      detail: { file: { bytes: 14, sha256: expect.stringMatching(HEX) as string } },
    });
  });
});
