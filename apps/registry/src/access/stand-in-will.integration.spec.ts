import { deviceId, type DeviceId } from '@muster/contract';
import { readRetained } from '@muster/broker';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore } from '@muster/security';
import type { Logger } from '@muster/service';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { Downlink } from '../downlink/downlink.ts';
import { StandInWill } from './stand-in-will.ts';

const ignore = (): void => undefined;
const logger = { info: ignore, warn: ignore, debug: ignore, error: ignore } as unknown as Logger;

describe('what is said for a device that is disconnected with its account', () => {
  const { broker, postgresUrl } = inject('engines');
  // Nobody listens there: a broker that is away.
  const away = { ...broker, name: 'away', url: 'mqtt://127.0.0.1:9' };
  const downlink = new Downlink([broker, away], logger);
  let database: PrismaClient;
  let will: StandInWill;

  beforeAll(async () => {
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'stand-in-will-test');
    will = new StandInWill(database, new AccountStore(database), downlink, logger);
    await downlink.start(3_000);
  });
  afterAll(async () => {
    await will.close();
    await downlink.close();
    await database.$disconnect();
  });

  async function present(device: DeviceId, state: string, session: number, at = broker.name): Promise<void> {
    const evidence = { broker: at, topic: '', payload: '', retained: false, rule: '' };
    const values = { state, reason: 'birth', since: new Date(), session, evidence };
    await database.presence.upsert({ where: { device }, create: { device, ...values }, update: values });
  }

  async function applied(version: bigint, at = broker.name): Promise<void> {
    const values = { version, seenAt: new Date() };
    await database.brokerAgent.upsert({ where: { broker: at }, create: { broker: at, ...values }, update: values });
  }

  async function statusOf(device: DeviceId): Promise<readonly string[]> {
    const found = await readRetained(broker, [`devices/${device}/status`]);
    return found.map(({ payload }) => Buffer.from(payload).toString());
  }

  it('P9 R6 waits for a broker that has not taken the account away, and names the session that it ends', async () => {
    const device = deviceId('late');
    await present(device, 'online', 4);
    await applied(1n);
    await will.follow([device], 2n);
    expect([will.waiting, await statusOf(device)]).toEqual([1, []]);
    // It is still let in with what it had.
    await present(device, 'online', 5);
    await vi.waitFor(async () => expect(await statusOf(device)).toEqual([]));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await applied(2n);
    await vi.waitFor(() => expect(will.waiting).toBe(0), { timeout: 5_000 });
    expect(await statusOf(device)).toEqual(['{"status":"offline","session":5,"reason":"unexpected"}']);
  });

  it('P9 R6 is said of one behind a broker that nobody heard, too, and of none that is not there', async () => {
    const [unheard, offline] = [deviceId('unheard'), deviceId('offline')];
    await present(unheard, 'unknown', 1);
    await present(offline, 'offline', 1);
    await will.follow([unheard, offline], 2n);
    expect([will.waiting, (await statusOf(unheard)).length, await statusOf(offline)]).toEqual([0, 1, []]);
  });

  it('is not said any more when the device is there again', async () => {
    const device = deviceId('back');
    await applied(2n, away.name);
    await present(device, 'online', 1, away.name);
    await will.follow([device], 2n);
    expect(will.waiting).toBe(1);
    await present(device, 'online', 2);
    await vi.waitFor(() => expect(will.waiting).toBe(0), { timeout: 5_000 });
    expect(await statusOf(device)).toEqual([]);
  });
});
