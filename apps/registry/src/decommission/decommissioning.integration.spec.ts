import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { defaultTopicMap, deviceId, type DeviceId } from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore, BrokerSaves, ReportSigner } from '@muster/security';
import type { Logger } from '@muster/service';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { AccountTrials } from '../access/account-trials.ts';
import { newReport, withVerification } from './decommission-report.ts';
import { DecommissionStore } from './decommission-store.ts';
import { Decommissioning } from './decommissioning.ts';

const logger = { info: () => undefined, warn: () => undefined } as unknown as Logger;

describe('decommissioning', () => {
  const { broker, postgresUrl } = inject('engines');
  const sockets = new Set<Socket>();
  let database: PrismaClient;
  /** Takes connections and says nothing, as the kernel does for a broker that is stopped. */
  let hung: Server;

  beforeAll(async () => {
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'decommissioning-test');
    hung = createServer((socket) => sockets.add(socket));
    await new Promise<void>((resolve) => hung.listen(0, '127.0.0.1', resolve));
  });
  afterAll(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => hung.close(resolve));
    await database.$disconnect();
  });

  function decommissioning(brokers: readonly BrokerTarget[], managed = false): Decommissioning {
    const accounts = new AccountStore(database);
    const trials = new AccountTrials(database, accounts, brokers);
    const store = new DecommissionStore({
      ...{ database, accounts, trials, managed, topicMap: defaultTopicMap },
      saves: new BrokerSaves(database),
      signer: new ReportSigner('a secret of the registry for tests'),
      brokers: brokers.map(({ name }) => name),
    });
    return new Decommissioning({ ...{ database, accounts, trials, managed, store, brokers, logger } });
  }

  it('stops in time while a broker hangs, and goes on with what was cut off at the next start', async () => {
    const device = deviceId('cut-off');
    await database.device.create({ data: { id: device } });
    const { port } = hung.address() as AddressInfo;
    const first = decommissioning([{ ...broker, url: `mqtt://127.0.0.1:${port}` }]);
    await first.decommission(device, 0);
    await vi.waitFor(() => expect(sockets.size).toBeGreaterThan(0));
    const closingMs = performance.now();
    await first.close();
    expect(performance.now() - closingMs).toBeLessThan(4_500);
    expect(await first.report(device)).toMatchObject({ state: 'incomplete', brokers: [broker.name] });
    const next = decommissioning([broker]);
    next.start();
    await vi.waitFor(async () => expect((await next.report(device)).state).toBe('verified'), { timeout: 15_000 });
    await next.close();
  });

  /** A decommissioning that is verified on these brokers, and was asked to be saved now. */
  async function verifiedOn(device: DeviceId, brokers: readonly string[]): Promise<void> {
    const now = new Date();
    const begun = newReport({ ...{ device, now, brokers, managed: true, hadAccount: false, filters: [] } });
    const at = new Map(brokers.map((name) => [name, now]));
    const report = withVerification(begun, { at, left: [], faults: new Map() }, true, now);
    await database.device.create({ data: { id: device, state: 'decommissioned' } });
    await database.tombstone.create({ data: { device } });
    await database.decommission.create({
      data: { device, state: 'verified', report, requestedAt: now, verifiedAt: now, saveRequestedAt: now },
    });
  }

  /** An agent that has applied every account, and has saved what is asked for from now on, or nothing. */
  async function agent(name: string, hasSaved: boolean): Promise<void> {
    const values = { version: 1_000_000n, seenAt: new Date(), savedAt: hasSaved ? new Date('2100-01-01') : null };
    await database.brokerAgent.upsert({ where: { broker: name }, create: { broker: name, ...values }, update: values });
  }

  it('verifies again on all brokers where one was added before what was verified is saved', async () => {
    const device = deviceId('one-more');
    await verifiedOn(device, ['mosquitto-0']);
    await agent('mosquitto-0', true);
    await agent('added', false);
    const more = decommissioning([broker, { ...broker, name: 'added' }], true);
    more.start();
    const brokers = ['mosquitto-0', 'added'];
    await vi.waitFor(
      async () =>
        expect(await more.report(device)).toMatchObject({
          ...{ state: 'verified', brokers },
          verification: brokers.map((name) => ({ broker: name, againAt: null })),
        }),
      { timeout: 20_000 },
    );
    await agent('added', true);
    await vi.waitFor(async () => expect((await more.report(device)).state).toBe('done'), { timeout: 20_000 });
    await more.close();
  });

  it('is done on the brokers that are left where one was taken out that had not saved', async () => {
    const device = deviceId('one-less');
    await verifiedOn(device, ['mosquitto-0', 'taken-out']);
    await agent('mosquitto-0', true);
    const less = decommissioning([broker], true);
    less.start();
    await vi.waitFor(async () => expect((await less.report(device)).state).toBe('done'), { timeout: 20_000 });
    await less.close();
    const report = await less.report(device);
    expect([report.brokers, report.notDone]).toEqual([['mosquitto-0'], []]);
    expect(report.verification).toMatchObject([{ broker: 'mosquitto-0', againAt: expect.any(String) as string }]);
  });
});
