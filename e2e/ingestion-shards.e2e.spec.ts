import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { IngestionEngines } from './ingestion-processes.ts';
import { NumberedSender } from './numbered-sender.ts';

const CONNECTED = 'connected to the broker';
const LOST = 'the broker is away';
/** Whoever is told that its session is taken over waits for so long at least (reconnectDelayMs). */
const GIVES_WAY_MS = 5_000;
/** DISCONNECT with reason code 0x8E, session taken over, and no properties (MQTT 5, section 3.14). */
const TAKEN_OVER = Buffer.from([0xe0, 2, 0x8e, 0]);

/** A way to a broker that says what Mosquitto 2.0 does not: that a connection was ended because its session is taken over. */
class TellingGate {
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  static async open(brokerPort: number): Promise<TellingGate> {
    const server = createServer((client) => {
      const broker = connect(brokerPort, '127.0.0.1');
      for (const socket of [client, broker]) socket.setNoDelay(true).on('error', () => undefined);
      broker.on('data', (bytes) => client.write(bytes));
      broker.on('close', () => client.end(TAKEN_OVER));
      client.on('data', (bytes) => broker.write(bytes));
      client.on('close', () => broker.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new TellingGate(server);
  }

  close(): void {
    this.#server.close();
  }
}

let engines: IngestionEngines;
const senders: NumberedSender[] = [];

beforeAll(async () => {
  engines = await IngestionEngines.start(2);
});

afterAll(() => engines.stop());

afterEach(async () => {
  await stopSenders();
  await engines.endProcesses();
});

/** A device at each of the two brokers. */
async function sendAtEach(name: string): Promise<void> {
  for (const [index, { url, account }] of engines.brokers.entries())
    senders.push(await NumberedSender.start({ url, ...account }, `${name}-${index}`, 20));
}

async function stopSenders(): Promise<readonly (readonly [device: string, sent: number])[]> {
  return Promise.all(senders.splice(0).map(async (sender) => [sender.device, await sender.stop()] as const));
}

/** None of what the brokers took is missing, and none is there twice. */
async function expectAllOfBoth(): Promise<void> {
  await Promise.all((await stopSenders()).map(([device, sent]) => engines.expectAll(device, sent)));
}

describe('ingestion over two brokers, under traffic at both', () => {
  it(
    'loses nothing and stores nothing twice when its processes become two and then one again',
    { timeout: 240_000 },
    async () => {
      const spools = [engines.newSpool(), engines.newSpool()] as const;
      const alone = await engines.run({ ordinal: 0, replicas: 1, spool: spools[0] });
      await sendAtEach('scaled');
      await delay(1_500);
      expect(await alone.stop()).toBe(0);
      const [first, second] = await Promise.all([
        engines.run({ ordinal: 0, replicas: 2, spool: spools[0] }),
        engines.run({ ordinal: 1, replicas: 2, spool: spools[1] }),
      ]);
      await delay(1_500);
      expect(await first.figures('messages_total')).toEqual({ 'mosquitto-0': expect.any(Number) as number });
      expect(await second.figures('messages_total')).toEqual({ 'mosquitto-1': expect.any(Number) as number });
      // As a StatefulSet does: the highest ordinal ends, and the others are started anew.
      expect(await second.stop()).toBe(0);
      expect(await first.stop()).toBe(0);
      const last = await engines.run({ ordinal: 0, replicas: 1, spool: spools[0] });
      await delay(1_500);
      for (const count of Object.values(await last.figures('messages_total'))) expect(count).toBeGreaterThan(0);
      await expectAllOfBoth();
    },
  );

  it(
    'tells what a process has left in its spool that does not run any more, and delivers it when it runs again',
    { timeout: 240_000 },
    async () => {
      const spools = [engines.newSpool(), engines.newSpool()] as const;
      const noInfluxdb = { MUSTER_INFLUXDB_URL: 'http://127.0.0.1:9' };
      // InfluxDB is away for it, so it is not ready: it receives all the same.
      const second = await engines.launch({ ordinal: 1, replicas: 2, spool: spools[1], environment: noInfluxdb });
      await vi.waitFor(() => expect(second.said(CONNECTED)).toBeGreaterThanOrEqual(2), { timeout: 30_000 });
      const { url, account } = engines.broker(1);
      senders.push(await NumberedSender.start({ url, ...account }, 'left-behind', 20));
      await vi.waitFor(async () => expect((await second.figures('lines_spooled_total'))['']).toBeGreaterThan(0), {
        timeout: 20_000,
      });
      const sent = await stopSenders();
      expect(await second.stop()).toBe(0);
      const alone = await engines.run({ ordinal: 0, replicas: 1, spool: spools[0] });
      const left = async (): Promise<number> =>
        Object.values(await alone.figures('stopped_spool_bytes')).reduce((sum, bytes) => sum + bytes, 0);
      await vi.waitFor(async () => expect(await left()).toBeGreaterThan(0), { timeout: 60_000, interval: 500 });
      expect(
        alone.said(
          'an ingestion process that does not run has left telemetry in its spool; run as many processes again until it is delivered',
        ),
      ).toBe(1);
      expect(await alone.stop()).toBe(0);
      await engines.run({ ordinal: 1, replicas: 2, spool: spools[1] });
      const first = await engines.run({ ordinal: 0, replicas: 2, spool: spools[0] });
      await Promise.all(sent.map(([device, count]) => engines.expectAll(device, count)));
      await vi.waitFor(async () => expect(Object.values(await first.figures('stopped_spool_bytes'))).toEqual([0]), {
        timeout: 60_000,
        interval: 500,
      });
    },
  );

  it(
    'loses nothing where the next processes begin while the one before still has both sessions',
    { timeout: 240_000 },
    async () => {
      const spool = engines.newSpool();
      const before = await engines.run({ ordinal: 0, replicas: 1, spool });
      await sendAtEach('rolled');
      await delay(1_000);
      // As a StatefulSet that is scaled up: the new ordinal is there before the old one has been told.
      const second = await engines.run({ ordinal: 1, replicas: 2, spool: engines.newSpool() });
      await delay(1_000);
      expect(await before.stop()).toBe(0);
      const first = await engines.run({ ordinal: 0, replicas: 2, spool });
      await second.whenReady();
      await delay(1_000);
      expect(Object.keys(await first.figures('messages_total'))).toEqual(['mosquitto-0']);
      await expectAllOfBoth();
    },
  );

  it(
    'B13 gives its sessions to another process that wants them, where the brokers say that they are taken over (0x8E)',
    { timeout: 240_000 },
    async () => {
      const gates = await Promise.all(engines.brokers.map(({ port }) => TellingGate.open(port)));
      const throughGates = gates.map(({ port }, index) => `mosquitto-${index}=mqtt://127.0.0.1:${port}`).join(',');
      const before = await engines.run({
        ...{ ordinal: 0, replicas: 1, spool: engines.newSpool() },
        environment: { MUSTER_BROKERS: throughGates },
      });
      await sendAtEach('given-over');
      await delay(1_000);
      const after = await engines.run({ ordinal: 0, replicas: 1, spool: engines.newSpool() });
      // Telemetry and digest at both.
      await vi.waitFor(() => expect(before.said(LOST)).toBeGreaterThanOrEqual(4), { timeout: 10_000 });
      const waitsMs = before.log.filter(({ msg }) => msg === LOST).map(({ retryInMs }) => Number(retryInMs));
      expect(Math.min(...waitsMs)).toBeGreaterThanOrEqual(GIVES_WAY_MS);
      await vi.waitFor(async () => expect(Object.keys(await after.figures('messages_total'))).toHaveLength(2));
      for (const count of Object.values(await after.figures('messages_total'))) expect(count).toBeGreaterThan(0);
      expect(await before.stop()).toBe(0);
      await expectAllOfBoth();
      for (const gate of gates) gate.close();
    },
  );

  it(
    'B13 does not kick another process for ever that wants the same sessions, where the brokers say nothing',
    { timeout: 240_000 },
    async () => {
      const before = await engines.run({ ordinal: 0, replicas: 1, spool: engines.newSpool() });
      await sendAtEach('fought-over');
      // Longer than a connection that counts as short: it fights for it once more than it would at once.
      await delay(11_000);
      const after = await engines.launch({ ordinal: 0, replicas: 1, spool: engines.newSpool() });
      await vi.waitFor(() => expect(after.said(CONNECTED)).toBeGreaterThan(0), { timeout: 30_000 });
      const connections = before.said(CONNECTED) + after.said(CONNECTED);
      const watchedMs = 15_000;
      await delay(watchedMs);
      // Two connections to each of two brokers: three times in a row until one gives way, and then every 5 s at most.
      const more = before.said(CONNECTED) + after.said(CONNECTED) - connections;
      expect(more).toBeLessThanOrEqual(4 * (3 + (3 * watchedMs) / GIVES_WAY_MS));
      expect(await before.stop()).toBe(0);
      await after.whenReady();
      await expectAllOfBoth();
    },
  );

  it('is taken over by another process when it is killed', { timeout: 240_000 }, async () => {
    const before = await engines.run({ ordinal: 0, replicas: 1, spool: engines.newSpool() });
    await sendAtEach('killed-for-another');
    await delay(1_000);
    await before.kill();
    await delay(500);
    await engines.run({ ordinal: 0, replicas: 1, spool: engines.newSpool() });
    await expectAllOfBoth();
  });
});
