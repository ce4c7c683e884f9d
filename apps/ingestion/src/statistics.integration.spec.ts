import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection } from '@muster/broker';
import { createLogger } from '@muster/service';
import { Influx } from '@muster/telemetry';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { BrokerQueues } from './broker-queue.ts';
import { IngestionMetrics } from './metrics.ts';
import { Statistics } from './statistics.ts';

const { broker, influxdb } = inject('engines');
const influx = new Influx(influxdb);
const running: Statistics[] = [];
const QUEUE_LIMIT = 40_000;

afterEach(async () => {
  await Promise.all(running.splice(0).map((statistics) => statistics.close()));
});

function statistics(
  target = influxdb,
  silentMs = 30_000,
): { statistics: Statistics; metrics: IngestionMetrics; warn: ReturnType<typeof vi.spyOn> } {
  const metrics = new IngestionMetrics(new Registry());
  const queues = new BrokerQueues({ messages: QUEUE_LIMIT, bytes: 0 });
  metrics.observeQueues(() => queues.forecasts());
  const logger = createLogger('test', 'silent');
  const warn = vi.spyOn(logger, 'warn');
  const made = new Statistics({
    ...{ influx: new Influx(target), metrics, logger, queues, intervalMs: 500, silentMs },
  });
  running.push(made);
  return { statistics: made, metrics, warn };
}

/** The shared broker hides nothing, and a service does not use what starts engines: this one is run by itself. */
const missing =
  spawnSync('mosquitto', ['-h']).error === undefined || process.env['CI'] === 'true'
    ? undefined
    : ' (skipped: mosquitto is not installed)';

/** An acl_file refuses no subscription in Mosquitto 2.0; its own plugin for dynamic security does. */
const PLUGIN = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
  .map((architecture) => `/usr/lib/${architecture}/mosquitto_dynamic_security.so`)
  .find(existsSync);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A Mosquitto with settings that may name files of the folder. */
async function ownBroker(
  settings: (file: (name: string, text: string) => string) => readonly string[],
): Promise<{ readonly url: string; readonly end: () => void }> {
  const folder = mkdtempSync(path.join(tmpdir(), 'muster-statistics-'));
  const port = await freePort();
  const file = (name: string, text: string): string => {
    const target = path.join(folder, name);
    writeFileSync(target, text);
    return target;
  };
  const user = process.getuid?.() === 0 ? ['user root'] : [];
  const lines = [`listener ${port} 127.0.0.1`, ...user, ...settings(file), ''];
  const mosquitto = spawn('mosquitto', ['-c', file('mosquitto.conf', lines.join('\n'))], { stdio: 'ignore' });
  return { url: `mqtt://127.0.0.1:${port}`, end: () => void mosquitto.kill() };
}

describe('statistics on real engines', () => {
  it('bring what the broker says about itself and what ingestion counts into InfluxDB', async () => {
    const name = `broker-${randomUUID()}`;
    const { statistics: started, metrics } = statistics();
    metrics.addBroker(name);
    metrics.readings.inc({ broker: name }, 12);
    started.start([{ ...broker, name }]);
    await vi.waitFor(
      async () => {
        const where = `WHERE broker = '${name}' AND time > now() - 1m`;
        expect(
          await influx.query(
            `SELECT last(clients_connected) AS clients, last(version) AS version FROM broker ${where}`,
          ),
        ).toMatchObject([{ clients: expect.any(Number), version: expect.stringContaining('mosquitto') }]);
        expect(await influx.query(`SELECT last(readings) AS readings FROM ingestion ${where}`)).toMatchObject([
          { readings: 12 },
        ]);
      },
      { timeout: 20_000, interval: 250 },
    );
  });

  it('that InfluxDB does not take are dropped and counted, and told once', async () => {
    const { statistics: started, metrics, warn } = statistics({ ...influxdb, url: 'http://127.0.0.1:9' });
    started.start([broker]);
    const dropped = async (): Promise<number> => (await metrics.statisticsDropped.get()).values[0]?.value ?? 0;
    await vi.waitFor(async () => expect(await dropped()).toBeGreaterThan(3), { timeout: 10_000 });
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn).toHaveBeenCalledWith(expect.anything(), expect.stringContaining('did not take statistics'));
  });

  it.skipIf(missing !== undefined)(
    `of a broker that hides $SYS are empty, and one line of the log says what to do${missing ?? ''}`,
    async () => {
      const { url, end } = await ownBroker((file) => [
        'allow_anonymous true',
        `acl_file ${file('rules', 'topic readwrite devices/#\n')}`,
      ]);
      try {
        const name = `hidden-${randomUUID()}`;
        const { statistics: started, warn } = statistics(influxdb, 600);
        started.start([{ name, url, username: undefined, password: undefined }]);
        await vi.waitFor(() => expect(warn).toHaveBeenCalled(), { timeout: 10_000 });
        await delay(1_500);
        expect(warn).toHaveBeenCalledTimes(1);
        expect(warn).toHaveBeenCalledWith(
          expect.objectContaining({ broker: name }),
          expect.stringContaining('let the account read $SYS/broker/#'),
        );
        expect(await influx.query(`SELECT * FROM broker WHERE broker = '${name}' AND time > now() - 1m`)).toEqual([]);
      } finally {
        end();
      }
    },
  );

  it.skipIf(PLUGIN === undefined || missing !== undefined)(
    `of a broker that refuses the subscription are asked for once${PLUGIN === undefined ? ' (skipped: Mosquitto has no plugin for dynamic security here)' : ''}`,
    async () => {
      const access = { publishClientSend: true, publishClientReceive: true, subscribe: false, unsubscribe: true };
      const security = {
        defaultACLAccess: access,
        clients: [],
        roles: [],
        groups: [{ groupname: 'all', roles: [] }],
        anonymousGroup: 'all',
      };
      const { url, end } = await ownBroker((file) => [
        'allow_anonymous true',
        `plugin ${PLUGIN ?? ''}`,
        `plugin_opt_config_file ${file('security.json', JSON.stringify(security))}`,
      ]);
      try {
        const { statistics: started, warn } = statistics(influxdb, 600);
        started.start([{ name: 'refusing', url, username: undefined, password: undefined }]);
        await vi.waitFor(() => expect(warn).toHaveBeenCalled(), { timeout: 10_000 });
        await delay(1_500);
        expect(warn).toHaveBeenCalledTimes(1);
        expect(warn).toHaveBeenCalledWith(
          {
            broker: 'refusing',
            reason: expect.stringContaining('refused $SYS/broker/# to muster-statistics-refusing'),
          },
          expect.stringContaining('let the account read $SYS/broker/#'),
        );
      } finally {
        end();
      }
    },
  );

  it.skipIf(missing !== undefined)(
    `tell how far a broker's queue for ingestion is filled, and when it will be full${missing ?? ''}`,
    { timeout: 60_000 },
    async () => {
      const { url, end } = await ownBroker(() => [
        'allow_anonymous true',
        'max_queued_messages 100000',
        'sys_interval 1',
      ]);
      const target = { name: `queue-${randomUUID()}`, url, username: undefined, password: undefined };
      const common = { broker: target, onMessage: () => undefined };
      const publisher = new BrokerConnection({
        ...common,
        clientId: 'device',
        sessionExpirySeconds: 0,
        subscriptions: [],
      });
      try {
        const away = new BrokerConnection({
          ...{
            ...common,
            clientId: 'away',
            sessionExpirySeconds: 60,
            subscriptions: [{ filter: 'telemetry', qos: 1 }],
          },
        });
        await away.whenReady(10_000);
        await away.close(0);
        await publisher.whenReady(10_000);
        const { statistics: started, metrics } = statistics();
        let inHand = 0;
        metrics.observe(() => ({
          ...{ waiting: 0, devices: 0, runaways: 0, spool: { bytes: 0, oldestAtMs: undefined, isFull: inHand > 0 } },
          inHand: new Map([[target.name, inHand]]),
        }));
        started.start([target]);
        const publish = (count: number): Promise<unknown> =>
          Promise.all(Array.from({ length: count }, () => publisher.publish('telemetry', 'x'.repeat(20))));
        const told = async (field: string): Promise<number | undefined> =>
          (await metrics.figures()).find((figure) => figure.field === field && figure.labels['broker'] === target.name)
            ?.value;
        await publish(40_000);
        await vi.waitFor(async () => expect(await told('queue_share')).toBe(0), { timeout: 10_000 });
        // As if ingestion had got so many of them.
        inHand = 35_000;
        await vi.waitFor(async () => expect(await told('queue_share')).toBeCloseTo(5_000 / QUEUE_LIMIT, 3), {
          timeout: 10_000,
        });
        await publish(5_000);
        await vi.waitFor(
          async () => {
            expect(await told('queue_share')).toBeCloseTo(10_000 / QUEUE_LIMIT, 3);
            expect(await told('queue_minutes_left')).toBeGreaterThan(0);
          },
          { timeout: 10_000 },
        );
        expect(await told('queue_minutes_left')).toBeLessThan(5);
      } finally {
        await publisher.close(0);
        end();
      }
    },
  );

  it('reach nobody who subscribes to everything with a wildcard', async () => {
    const topics: string[] = [];
    const connection = new BrokerConnection({
      broker,
      clientId: `listener-${randomUUID()}`,
      sessionExpirySeconds: 0,
      subscriptions: [{ filter: '#', qos: 0 }],
      onMessage: ({ topic }, settle) => {
        topics.push(topic);
        settle('acknowledge');
      },
    });
    await connection.whenReady(5_000);
    await connection.publish(`own/${randomUUID()}`, 'x');
    await connection.roundTrip(5_000);
    expect(topics.length).toBeGreaterThan(0);
    expect(topics.filter((topic) => topic.startsWith('$SYS'))).toEqual([]);
    await connection.close(0);
  });
});
