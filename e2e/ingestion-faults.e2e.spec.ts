import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Alert, AlertPage } from '@muster/contract';
import { freePort, influxdbSource, startInfluxdb, type ManagedProcess } from '@muster/engines';
import mqtt from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { ingestionFigures } from './ingestion-figures.ts';
import { NumberedSender } from './numbered-sender.ts';
import { curl, psql, publish, StartedSystem, stateFolder } from './system.ts';

/** What stands between ingestion and InfluxDB: it lets everything through, or answers writes itself. */
type Mood = 'through' | 'gone' | 'hangs' | { readonly status: number; readonly headers?: Record<string, string> };

const account = { database: 'muster', username: 'muster', password: 'end-to-end-tests-only' };
const SPOOL_MEGABYTES = 2;
/** What ingestion believes that the broker keeps for it at most: few, so that a test comes near it. */
const MAX_QUEUED = 20_000;
/** More than a disk of that size, a receive window, and half of that queue hold. */
const FILLING = 110_000;
const FILLING_AT_ONCE = 5_000;

let influxd: ManagedProcess;
let influxPort = 0;
let metricsPort = 0;
let proxy: Server;
let mood: Mood = 'through';
let system: StartedSystem;
let isMounted = false;
const folder = stateFolder();
const spool = path.join(folder, 'spool');

function answer(incoming: IncomingMessage, outgoing: ServerResponse): void {
  if (mood === 'gone') {
    incoming.socket.destroy();
    return;
  }
  if (mood === 'hangs') return;
  if (mood !== 'through' && incoming.url?.startsWith('/write') === true) {
    incoming.resume();
    outgoing.writeHead(mood.status, mood.headers).end('{"error":"not now"}');
    return;
  }
  const { method, url, headers } = incoming;
  const onward = request({ host: '127.0.0.1', port: influxPort, method, path: url, headers }, (answered) => {
    outgoing.writeHead(answered.statusCode ?? 502, answered.headers);
    answered.pipe(outgoing);
  });
  onward.on('error', () => outgoing.destroy());
  incoming.pipe(onward);
}

beforeAll(async () => {
  const influxFolder = stateFolder();
  influxPort = await freePort();
  const plan = { ...account, folder: path.join(influxFolder, 'data'), logFile: path.join(influxFolder, 'log') };
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  influxd = await startInfluxdb({ ...plan, port: influxPort }, await influxdbSource('auto', say));
  proxy = createServer(answer);
  const port = await freePort();
  await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
  mkdirSync(spool, { mode: 0o700 });
  try {
    // A disk that is really full.
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SPOOL_MEGABYTES}m,mode=0700`, 'tmpfs', spool]);
    isMounted = true;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    process.stderr.write('no disk can be mounted here: the test of a full one is skipped\n');
  }
  // One device sends what a fleet does.
  process.env['MUSTER_DEVICE_MESSAGES_PER_SECOND'] = '100000';
  process.env['MUSTER_BROKER_MAX_QUEUED_MESSAGES'] = String(MAX_QUEUED);
  process.env['MUSTER_INFLUXDB_URL'] = `http://127.0.0.1:${port}`;
  process.env['MUSTER_INFLUXDB_USERNAME'] = account.username;
  process.env['MUSTER_INFLUXDB_PASSWORD'] = account.password;
  metricsPort = await freePort();
  system = await StartedSystem.start(['--devices', '0', '--port', `ingestion=${metricsPort}`, '--dir', folder]);
});

afterAll(async () => {
  await system.stop();
  if (isMounted) execFileSync('umount', [spool]);
  await influxd.stop(10_000);
  proxy.closeAllConnections();
  proxy.close();
});

afterEach(() => {
  mood = 'through';
});

async function startSender(device: string, pauseMs: number): Promise<NumberedSender> {
  const { urls, username, password } = system.address.broker;
  return NumberedSender.start({ url: urls[0] ?? '', username, password }, device, pauseMs);
}

/** Distinct sequence numbers of a device that InfluxDB has, and points: the same, or something is there twice. */
async function stored(device: string): Promise<{ readonly numbers: number; readonly points: number }> {
  const query = `SELECT count(distinct(seq)) AS numbers, count(seq) AS points FROM telemetry WHERE device = '${device}'`;
  const url = `http://127.0.0.1:${influxPort}/query?${new URLSearchParams({ db: 'muster', q: query, u: account.username, p: account.password }).toString()}`;
  const { results } = (await (await fetch(url)).json()) as { results: { series?: { values: number[][] }[] }[] };
  const [, numbers = 0, points = 0] = results[0]?.series?.[0]?.values[0] ?? [];
  return { numbers, points };
}

async function expectAll(device: string, sent: number): Promise<void> {
  await vi.waitFor(async () => expect(await stored(device)).toEqual({ numbers: sent, points: sent }), {
    timeout: 60_000,
    interval: 250,
  });
}

/** Waits until the alert of a queue that fills is in a state. */
async function whenAlert(state: Alert['state']): Promise<void> {
  await vi.waitFor(
    async () => {
      const { body } = await curl(system.address, `/api/v1/alerts?rule=broker-queue&state=${state}`);
      expect((body as AlertPage).items).toHaveLength(1);
    },
    { timeout: 60_000, interval: 500 },
  );
}

async function figure(name: string): Promise<number> {
  return (await ingestionFigures(`http://127.0.0.1:${metricsPort}`, [name]))[name] ?? 0;
}

describe('none of the messages that the broker took at QoS 1 is missing, and none is there twice', () => {
  it('when ingestion is killed with -9 again and again', { timeout: 120_000 }, async () => {
    const sender = await startSender('killed', 20);
    for (let kill = 0; kill < 3; kill += 1) {
      await delay(1_500);
      const earlier = system.events.length;
      process.kill(system.pidOf('ingestion'), 'SIGKILL');
      await vi.waitFor(
        () => expect(system.events.slice(earlier)).toMatchObject([{ event: 'ended' }, { event: 'restarted' }]),
        { timeout: 20_000 },
      );
    }
    await expectAll('killed', await sender.stop());
  });

  it.each<[string, Mood]>([
    ['is gone, and ingestion is killed meanwhile', 'gone'],
    ['hangs, and ingestion is killed meanwhile', 'hangs'],
    ['answers 503', { status: 503 }],
    ['answers 429 and wants a pause', { status: 429, headers: { 'retry-after': '2' } }],
    ['answers 401', { status: 401 }],
  ])('while InfluxDB %s: telemetry waits in the spool', { timeout: 120_000 }, async (name, fault) => {
    const device = name.replaceAll(/\W+/g, '-');
    const sender = await startSender(device, 20);
    await delay(1_000);
    mood = fault;
    await delay(4_000);
    // Not each time: what is killed six times within a minute is given up.
    if (name.endsWith('killed meanwhile')) process.kill(system.pidOf('ingestion'), 'SIGKILL');
    await delay(6_000);
    const meanwhile = (await stored(device)).numbers;
    mood = 'through';
    await delay(1_000);
    const sent = await sender.stop();
    expect(meanwhile).toBeLessThan(sent);
    await expectAll(device, sent);
  });

  it('when the broker is killed, its state saved', { timeout: 120_000 }, async () => {
    const sender = await startSender('broker-killed', 20);
    await delay(1_000);
    // Else its memory of who subscribes would be gone, and what it acknowledges meanwhile be for nobody (mqtt-pitfalls B7).
    process.kill(system.pidOf('mosquitto-0'), 'SIGUSR1');
    await delay(500);
    const earlier = system.events.length;
    process.kill(system.pidOf('mosquitto-0'), 'SIGKILL');
    await vi.waitFor(
      () => expect(system.events.slice(earlier)).toMatchObject([{ event: 'ended' }, { event: 'restarted' }]),
      { timeout: 20_000 },
    );
    await delay(2_000);
    await expectAll('broker-killed', await sender.stop());
  });

  it('when InfluxDB refuses a line among them, which is a dead letter', { timeout: 120_000 }, async () => {
    // A field that is a text already: of numbers InfluxDB says "partial write: field type conflict".
    const write = `http://127.0.0.1:${influxPort}/write?${new URLSearchParams({ db: 'muster', u: account.username, p: account.password, precision: 'ms' }).toString()}`;
    const line = `telemetry,device=elsewhere clash="text" ${Date.now() - 3_600_000}`;
    expect((await fetch(write, { method: 'POST', body: line })).status).toBe(204);
    const sender = await startSender('partial', 5);
    for (let seq = 1; seq <= 5; seq += 1) {
      const reading = JSON.stringify({ clash: seq, ts: Date.now() - 3_600_000 + seq, session: 1, seq });
      await publish(system.address, '-t', 'devices/clashing/telemetry', '-m', reading, '-q', '1');
      await delay(200);
    }
    await expectAll('partial', await sender.stop());
    const letters = "SELECT reason || ' ' || count || ' ' || detail FROM dead_letter WHERE device = 'clashing'";
    await vi.waitFor(
      async () => expect(await psql(system.address, letters)).toMatch(/^refused-by-influxdb 5 .*field type conflict/),
      { timeout: 20_000, interval: 250 },
    );
  });

  it('when PostgreSQL is killed', { timeout: 120_000 }, async () => {
    const sender = await startSender('postgres-killed', 20);
    await delay(1_000);
    process.kill(system.pidOf('postgres'), 'SIGKILL');
    await delay(4_000);
    const sent = await sender.stop();
    await expectAll('postgres-killed', sent);
    await vi.waitFor(
      async () =>
        expect((await curl(system.address, '/api/v1/devices/postgres-killed')).body).toMatchObject({
          traffic: { messages: sent, lost: 0 },
        }),
      { timeout: 30_000, interval: 250 },
    );
  });

  it('when the disk of the spool is full as well: QoS 1 stays with the broker, QoS 0 is dropped and counted', async (context) => {
    if (!isMounted) context.skip('no disk can be mounted here');
    const sender = await startSender('disk-full', 5);
    await delay(500);
    mood = 'gone';
    await vi.waitFor(async () => expect(await figure('spool_full')).toBe(1), { timeout: 60_000, interval: 250 });
    // From here on all of it stays with the broker: slowly enough for a receive window, so that nothing is queued.
    sender.slowDown(50);
    await delay(1_000);
    const droppedBefore = await figure('no_room_total');
    // A batch was too large for what is left of the disk; a message alone may find room there, as long as there is any.
    let offered = 0;
    const dropped = async (): Promise<number> => (await figure('no_room_total')) - droppedBefore;
    const texts = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`text${index}`, 'x'.repeat(250)]));
    await vi.waitFor(
      async () => {
        offered += 1;
        const reading = JSON.stringify({ ...texts, ts: Date.now() - 60_000, session: 1, seq: offered });
        await publish(system.address, '-t', 'devices/best-effort/telemetry', '-m', reading, '-q', '0');
        expect(await dropped()).toBeGreaterThanOrEqual(3);
      },
      { timeout: 30_000, interval: 250 },
    );
    expect(await figure('in_hand')).toBeGreaterThan(0);
    // Two looks at the broker, 10 s apart, say how fast the room goes that is left there.
    await vi.waitFor(async () => expect(await figure('broker_queue_minutes_left')).toBeGreaterThan(1), {
      timeout: 40_000,
      interval: 500,
    });
    expect(await figure('broker_queue_share')).toBe(0);
    const sent = await sender.stop();
    mood = 'through';
    await expectAll('disk-full', sent);
    await vi.waitFor(async () => expect([await figure('spool_full'), await figure('spool_bytes')]).toEqual([0, 0]), {
      timeout: 20_000,
      interval: 250,
    });
    expect((await stored('best-effort')).points).toBe(offered - (await dropped()));
  }, 240_000);

  it('when the queue of the broker fills behind a full disk, of which an alert tells before it is too late', async (context) => {
    if (!isMounted) context.skip('no disk can be mounted here');
    const { urls, username, password } = system.address.broker;
    const client = await mqtt.connectAsync(urls[0] ?? '', { username, password });
    mood = 'gone';
    const fromMs = Date.now() - 2 * FILLING;
    for (let seq = 1; seq <= FILLING;) {
      const publishing: Promise<unknown>[] = [];
      for (; seq <= FILLING && publishing.length < FILLING_AT_ONCE; seq += 1) {
        const reading = JSON.stringify({ temp: 20, ts: fromMs + seq, session: 1, seq });
        publishing.push(client.publishAsync('devices/filling/telemetry', reading, { qos: 1 }));
      }
      await Promise.all(publishing);
    }
    await client.endAsync();
    await whenAlert('firing');
    expect(await figure('broker_queue_share')).toBeGreaterThan(0.5);
    mood = 'through';
    await expectAll('filling', FILLING);
    await whenAlert('resolved');
  }, 240_000);
});

describe('telemetry that waits in the spool when its device is decommissioned', () => {
  it('is left out of the replay, so that a history that was deleted stays so, and the report true', async () => {
    // Written before, so that there is a history to delete.
    const early = await startSender('gone-for-good', 20);
    await delay(500);
    await expectAll('gone-for-good', await early.stop());
    mood = { status: 503 };
    const spooledBefore = await figure('lines_spooled_total');
    const senders = [await startSender('gone-for-good', 20), await startSender('staying', 20)] as const;
    await delay(1_500);
    const [waiting, staying] = await Promise.all(senders.map((sender) => sender.stop()));
    await vi.waitFor(
      async () =>
        expect((await figure('lines_spooled_total')) - spooledBefore).toBeGreaterThanOrEqual(
          (waiting ?? 0) + (staying ?? 0),
        ),
      { timeout: 10_000 },
    );
    const decommission = '/api/v1/devices/gone-for-good/decommission';
    expect(await curl(system.address, `${decommission}?wait=20s`, '-X', 'POST')).toMatchObject({ status: 200 });
    const report = await vi.waitFor(
      async () => {
        const { body } = await curl(system.address, decommission);
        expect(body).toMatchObject({ state: 'done', after: [] });
        return body;
      },
      { timeout: 20_000, interval: 250 },
    );
    const purge = await curl(system.address, '/api/v1/devices/gone-for-good?purgeHistory=true', '-X', 'DELETE');
    expect(purge.status).toBe(200);
    expect(await stored('gone-for-good')).toEqual({ numbers: 0, points: 0 });
    // The next process knows nothing yet of the tombstone when it finds the spool.
    const earlier = system.events.length;
    process.kill(system.pidOf('ingestion'), 'SIGKILL');
    await vi.waitFor(
      () => expect(system.events.slice(earlier)).toMatchObject([{ event: 'ended' }, { event: 'restarted' }]),
      { timeout: 20_000 },
    );
    mood = 'through';
    await expectAll('staying', staying ?? 0);
    await vi.waitFor(async () => expect(await figure('spool_bytes')).toBe(0), { timeout: 20_000, interval: 250 });
    expect(await figure('lines_tombstoned_total')).toBe(waiting);
    await delay(500);
    expect(await stored('gone-for-good')).toEqual({ numbers: 0, points: 0 });
    expect((await curl(system.address, decommission)).body).toEqual(report);
  }, 120_000);
});
