import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync, type MqttClient } from 'mqtt';
import { generate } from 'mqtt-packet';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { IngestionEngines, type IngestionProcess } from '../ingestion-processes.ts';
import { NumberedSender } from '../numbered-sender.ts';
import { SystemOfFile } from '../system-of-file.ts';
import { influxql } from '../system.ts';

/** Mosquitto tells of itself every 10 s, and ingestion writes that every 10 s. */
const BROKER_TELLS_MS = 21_000;

describe('telemetry at a broker with all services of a system', () => {
  const system = new SystemOfFile();

  /** What the broker has told of itself: messages that it was sent, and that it has sent. */
  async function traffic(): Promise<readonly number[]> {
    const figures = 'last(publish_received), last(publish_sent)';
    const answer = JSON.parse(
      await influxql(system.address, `SELECT ${figures} FROM broker WHERE time > now() - 1h`),
    ) as { results?: { series?: { values: number[][] }[] }[] };
    const [, ...counts] = answer.results?.[0]?.series?.[0]?.values[0] ?? [];
    if (counts.length !== 2) throw new Error('the broker has told nothing yet');
    return counts;
  }

  it('B4 is sent to one subscriber once, whoever else needs it', { timeout: 120_000 }, async () => {
    const { urls, username, password } = system.address.broker;
    const wait = { timeout: 40_000, interval: 500 };
    const [receivedBefore = 0, sentBefore = 0] = await vi.waitFor(traffic, wait);
    const everywhere = await NumberedSender.start({ url: urls[0] ?? '', username, password }, 'b4', 0);
    await vi.waitFor(() => expect(everywhere.sent).toBeGreaterThan(3_000), wait);
    const count = await everywhere.stop();
    // Not the first figure that has them all: it may be of a moment at which they were on their way.
    await vi.waitFor(async () => expect((await traffic())[0]).toBeGreaterThanOrEqual(receivedBefore + count), wait);
    await delay(BROKER_TELLS_MS);
    const [, sentAfter = 0] = await traffic();
    expect(sentAfter - sentBefore).toBeGreaterThanOrEqual(count);
    // Each subscriber more would double it; the rest is statuses, digests and what the broker tells of itself.
    expect(sentAfter - sentBefore).toBeLessThan(1.5 * count);
  });
});

let engines: IngestionEngines;
let ingestion: IngestionProcess;
let client: MqttClient;
let spool = '';

async function run(): Promise<IngestionProcess> {
  return engines.run({ ordinal: 0, replicas: 1, spool });
}

async function sender(device: string, pauseMs: number): Promise<NumberedSender> {
  const { url, account } = engines.broker(0);
  return NumberedSender.start({ url, ...account }, device, pauseMs);
}

async function say(topic: string, payload: string | Buffer): Promise<void> {
  await client.publishAsync(topic, payload, { qos: 1 });
}

/** Reasons of dead letters, with how many there are, once they are on record. */
async function letters(device: string, expected: Readonly<Record<string, number>>): Promise<void> {
  await vi.waitFor(
    async () => {
      const rows = await engines.sql(
        `SELECT reason, count::int FROM dead_letter WHERE device = '${device}' ORDER BY reason`,
      );
      expect(Object.fromEntries(rows.map(({ reason, count }) => [reason, count]))).toEqual(expected);
    },
    { timeout: 15_000, interval: 100 },
  );
}

/** How long after now the broker publishes a will, in milliseconds. */
async function untilWill(topic: string): Promise<number> {
  const { url, account } = engines.broker(0);
  const listener = await connectAsync(url, account);
  const sinceMs = performance.now();
  const told = new Promise<void>((resolve) => {
    listener.on('message', (_topic, payload) => {
      if (payload.toString().includes('unexpected')) resolve();
    });
  });
  await listener.subscribeAsync(topic);
  await told;
  const tookMs = performance.now() - sinceMs;
  await listener.endAsync();
  return tookMs;
}

describe('ingestion and the limits of brokers', () => {
  beforeAll(async () => {
    engines = await IngestionEngines.start(1);
    spool = engines.newSpool();
    client = await connectAsync(engines.broker(0).url, { ...engines.broker(0).account, reconnectPeriod: 250 });
    client.on('error', () => undefined);
  });

  beforeEach(async () => {
    ingestion = await run();
  });

  afterEach(() => engines.endProcesses());

  afterAll(async () => {
    await client.endAsync();
    await engines.stop();
  });

  it(
    'B1 what waits at the broker while ingestion is away is more than its defaults keep, and all of it comes',
    { timeout: 120_000 },
    async () => {
      expect(await ingestion.stop()).toBe(0);
      const waiting = await sender('b1', 0);
      // By default Mosquitto keeps 1,000 for a client that is away, and acknowledges the others to nobody.
      await vi.waitFor(() => expect(waiting.sent).toBeGreaterThan(5_000), { timeout: 60_000 });
      const sent = await waiting.stop();
      await run();
      await engines.expectAll('b1', sent);
    },
  );

  it(
    'B7 a broker that is killed with its state saved comes back under traffic: nothing it acknowledged is lost',
    { timeout: 120_000 },
    async () => {
      const steady = await sender('b7', 20);
      await delay(1_000);
      await engines.broker(0).save();
      await delay(500);
      await engines.broker(0).kill();
      await engines.broker(0).startAgain();
      await delay(2_000);
      await engines.expectAll('b7', await steady.stop());
      // Back before anybody could publish: at once, and not with a delay that grows.
      const [first] = ingestion.log.filter(({ msg }) => msg === 'the broker is away');
      expect(first?.['retryInMs']).toBeLessThanOrEqual(100);
    },
  );

  it(
    'B8 topics of any characters and payloads of any size are refused by their names, and cost nobody else anything',
    { timeout: 60_000 },
    async () => {
      const ids = ['with space', 'a,b', 'a=b', String.raw`a\b`, '🌡', 'x'.repeat(65)];
      for (const id of ids) await say(`devices/${id}/telemetry`, '{"temp":1}');
      await say('devices//telemetry', '{"temp":1}');
      await say('devices/b8-large/telemetry', Buffer.alloc(1_000_000, '1'));
      await say('devices/b8-good/telemetry', JSON.stringify({ temp: 1, ts: Date.now(), session: 1, seq: 1 }));
      await engines.expectAll('b8-good', 1);
      await letters('', { 'invalid-device-id': ids.length + 1 });
      await vi.waitFor(async () =>
        expect(await engines.sql(`SELECT count::int FROM dead_letter WHERE device = 'b8-large'`)).toEqual([
          { count: 1 },
        ]),
      );
      expect(ingestion.said('the broker is away')).toBe(0);
    },
  );

  it(
    'B9 a field whose type InfluxDB has otherwise costs its line alone; numbers without an end and deep JSON cost theirs',
    { timeout: 60_000 },
    async () => {
      // As another writer may have it.
      const clash = `telemetry,device=b9-other clash="text" ${Date.now() - 3_600_000}`;
      expect(await engines.writeLines(clash)).toEqual({ kind: 'stored' });
      const beginMs = Date.now() - 3_600_000;
      const good = Array.from({ length: 200 }, (_, index) =>
        say('devices/b9/telemetry', JSON.stringify({ temp: 1, ts: beginMs + index, session: 1, seq: index + 1 })),
      );
      await Promise.all([
        ...good.slice(0, 100),
        say('devices/b9-clash/telemetry', JSON.stringify({ clash: 1, ts: beginMs, session: 1, seq: 1 })),
        say('devices/b9-endless/telemetry', '{"temp":1e999}'),
        say('devices/b9-deep/telemetry', `${'['.repeat(30_000)}${']'.repeat(30_000)}`),
        ...good.slice(100),
      ]);
      await engines.expectAll('b9', good.length);
      await letters('b9-clash', { 'refused-by-influxdb': 1 });
      for (const device of ['b9-endless', 'b9-deep'])
        await vi.waitFor(async () =>
          expect(await engines.sql(`SELECT count::int FROM dead_letter WHERE device = '${device}'`)).toEqual([
            { count: 1 },
          ]),
        );
      await letters('b9', {});
      // None of them is left to be tried again.
      expect(await ingestion.figures('spool_bytes')).toEqual({ '': 0 });
      expect(await ingestion.figures('in_hand')).toEqual({ 'mosquitto-0': 0 });
    },
  );

  it('B10 ingestion that is killed is told by its will at once', { timeout: 60_000 }, async () => {
    const will = untilWill('muster/services/ingestion');
    await delay(500);
    await ingestion.kill();
    expect(await will).toBeLessThan(500 + 2_000);
  });

  it(
    'B10 the will of a client that falls silent comes after 0.8 to 1.7 times its keep-alive',
    { timeout: 60_000 },
    async () => {
      const keepAliveSeconds = 6;
      const { port, account } = engines.broker(0);
      const socket = connect(port, '127.0.0.1');
      socket.write(
        generate({
          ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: 'b10', clean: true },
          ...{ keepalive: keepAliveSeconds, username: account.username, password: Buffer.from(account.password) },
          will: { topic: 'test/b10', payload: Buffer.from('unexpected'), qos: 1, retain: false },
        }),
      );
      await once(socket, 'data');
      const tookMs = await untilWill('test/b10');
      socket.destroy();
      expect(tookMs / 1_000).toBeGreaterThan(0.8 * keepAliveSeconds - 1);
      // The machine may be busy.
      expect(tookMs / 1_000).toBeLessThan(1.7 * keepAliveSeconds + 5);
    },
  );
});
