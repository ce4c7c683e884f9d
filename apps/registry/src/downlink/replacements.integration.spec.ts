import { setTimeout as delay } from 'node:timers/promises';
import { deviceId, type DeviceId } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { AccountStore } from '@muster/security';
import { createLogger, createMetrics } from '@muster/service';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { Credentials } from '../access/credentials.ts';
import { StandInWill } from '../access/stand-in-will.ts';
import { BrokerGate } from './broker-gate.ts';
import { Commands } from './commands.ts';
import { Downlink } from './downlink.ts';
import { Replacements } from './replacements.ts';

const { broker: here, postgresUrl } = inject('engines');
const logger = createLogger('replacements-test', 'silent');
const AWAY = 'mosquitto-1';

describe('a replacement that waits for a broker', () => {
  const gate = new BrokerGate(here, AWAY);
  let database: PrismaClient;
  let replacements: Replacements;
  const connected: string[] = [];
  const stops: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'replacements-test');
    // Each attempt ends with one update.
    await database.$executeRaw`CREATE TABLE attempt (at timestamptz NOT NULL DEFAULT clock_timestamp())`;
    await database.$executeRaw`CREATE FUNCTION note_attempt() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN INSERT INTO attempt DEFAULT VALUES; RETURN NULL; END'`;
    await database.$executeRaw`CREATE TRIGGER note_attempt AFTER UPDATE ON device_replacement
      FOR EACH ROW EXECUTE FUNCTION note_attempt()`;
    await gate.open();
    await gate.close();
    const brokers = [here, gate.target];
    const accounts = new AccountStore(database);
    const downlink = new Downlink(brokers, logger);
    const standInWill = new StandInWill(database, accounts, downlink, logger);
    const addresses = brokers.map(({ name, url: address }) => ({ name, url: address }));
    const credentials = new Credentials(database, accounts, addresses, true, logger, () => Promise.resolve());
    const metrics = createMetrics('replacements-test');
    const commands = new Commands({ database, postgresUrl: url, downlink, logger, metrics });
    replacements = new Replacements({
      ...{ database, accounts, credentials, commands, downlink, standInWill, brokers, logger },
    });
    downlink.onConnected((broker) => connected.push(broker));
    await downlink.start(1_000);
    replacements.start();
    stops.push(
      () => replacements.close(),
      () => downlink.close(),
      () => gate.close(),
      () => database.$disconnect(),
    );
  });
  afterAll(async () => {
    for (const stop of stops) await stop();
  });

  /** The agent of a broker says that it has taken every account. */
  async function apply(broker: string): Promise<void> {
    const values = { version: 1_000_000n, appliedAt: new Date(), seenAt: new Date(), fault: null };
    await database.brokerAgent.upsert({ where: { broker }, create: { broker, ...values }, update: values });
  }

  async function stateOf(device: DeviceId): Promise<string | undefined> {
    return (await replacements.list(device)).items[0]?.state;
  }

  it('is tried less and less often while the broker is away, and goes on at once when it is back', async () => {
    await apply(here.name);
    const device = deviceId('swapped');
    await database.device.create({ data: { id: device, state: 'registered' } });
    const { report } = await replacements.replace(device, 'tester');
    expect(report.brokers).toMatchObject([{ fault: null }, { broker: AWAY, accountApplied: false }]);
    await database.$executeRaw`TRUNCATE attempt`;
    await delay(15_000);
    const [tried] = await database.$queryRaw<{ attempts: number }[]>`SELECT count(*)::int AS attempts FROM attempt`;
    // After 1, 2 and 4 s, or less often where the machine is busy; every 2 s it would be 7.
    expect(tried?.attempts).toBeGreaterThanOrEqual(2);
    expect(tried?.attempts).toBeLessThanOrEqual(4);
    await apply(AWAY);
    await gate.open();
    // The way to a broker that has been away for so long is tried every 30 s at least.
    await vi.waitFor(() => expect(connected).toContain(AWAY), { timeout: 35_000, interval: 10 });
    await vi.waitFor(async () => expect(await stateOf(device)).toBe('complete'), { timeout: 3_000, interval: 50 });
  }, 90_000);
});
