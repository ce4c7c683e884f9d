import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { FleetSummary } from '@muster/contract';
import mqtt from 'mqtt';
import { generate, parser } from 'mqtt-packet';
import { curl, StartedSystem, stateFolder, type ReadyLine } from '../system.ts';
import { atRate, quantile, rounded, say, spreadOf } from './figures.ts';
import { Inspector } from './inspector.ts';

const DEVICES = 10_000;
/** Connections that are made at once: as many as a broker's backlog takes. */
const AT_ONCE = 100;
const WILLS_PER_SECOND = 1_000;
const WILLS_MS = 8_000;
const ROUNDS = 3;
/** Every so many-th will is watched until REST shows it: to watch them all would measure the watching. */
const WATCHED_EVERY = 200;
const WATCH_INTERVAL_MS = 20;
const SETTLE_LIMIT_MS = 120_000;
const WANTED = { willToRestP99Ms: 250, stormMs: 5_000, bytesPerDevice: 1_536 };

/** A device that is nothing but a connection with a will: ten thousand of them have to fit into one process. */
class LeanDevice {
  readonly id: string;
  #session = 0;
  #socket: Socket | undefined;

  constructor(index: number) {
    this.id = `bench-${index}`;
  }

  /** Connects with a new session and says that it is online; resolves when the broker has it. */
  async birth({ broker: { urls, username, password } }: ReadyLine): Promise<void> {
    const { hostname, port } = new URL(urls[0] ?? '');
    this.#session += 1;
    const topic = `devices/${this.id}/status`;
    const says = (status: string): Buffer => Buffer.from(JSON.stringify({ status, session: this.#session }));
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      const packets = parser({ protocolVersion: 5 });
      packets.on('packet', ({ cmd }) => {
        if (cmd === 'connack')
          socket.write(
            generate(
              {
                ...{ cmd: 'publish', topic, payload: says('online'), qos: 1, retain: true, dup: false, messageId: 1 },
              },
              { protocolVersion: 5 },
            ),
          );
        if (cmd !== 'puback') return;
        socket.removeAllListeners('data').resume();
        resolve();
      });
      socket.on('data', (data) => packets.parse(data));
      socket.on('error', reject);
      socket.write(
        generate({
          ...{ cmd: 'connect', clientId: this.id, clean: true, protocolId: 'MQTT', protocolVersion: 5, keepalive: 0 },
          ...{ username, password: Buffer.from(password) },
          will: { topic, payload: says('offline'), qos: 1, retain: true },
        }),
      );
    });
    socket.on('error', () => undefined);
  }

  /** Loses its network. */
  cut(): void {
    this.#socket?.destroy();
  }
}

async function births(address: ReadyLine, devices: readonly LeanDevice[]): Promise<void> {
  for (let from = 0; from < devices.length; from += AT_ONCE)
    await Promise.all(devices.slice(from, from + AT_ONCE).map((device) => device.birth(address)));
}

async function summary(address: ReadyLine): Promise<FleetSummary['presence']> {
  return ((await curl(address, '/api/v1/presence/summary')).body as FleetSummary).presence;
}

/** Milliseconds until so many devices are in a state. */
async function until(address: ReadyLine, state: 'online' | 'lost', count: number): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    if ((await summary(address))[state] >= count) return performance.now() - startedMs;
    if (performance.now() - startedMs > SETTLE_LIMIT_MS)
      throw new Error(`not ${count} devices are ${state} within ${SETTLE_LIMIT_MS} ms`);
    await delay(100);
  }
}

/** Milliseconds until REST shows a device as lost; from before its network is cut. */
async function willToRest(address: ReadyLine, device: LeanDevice): Promise<number> {
  const headers = { authorization: `Bearer ${address.api.token}` };
  const url = `${address.api.url}/api/v1/devices/${device.id}`;
  const cutMs = performance.now();
  device.cut();
  for (;;) {
    const { presence } = (await (await fetch(url, { headers })).json()) as { presence: { state: string } };
    if (presence.state === 'lost') return performance.now() - cutMs;
    if (performance.now() - cutMs > SETTLE_LIMIT_MS) throw new Error(`${device.id} is not lost`);
    await delay(WATCH_INTERVAL_MS);
  }
}

interface Memory {
  /** Objects and buffers that are in use after all garbage was collected. */
  readonly liveBytes: number;
  readonly residentBytes: number;
}

/** What a service keeps in memory: its own debugger collects its garbage first. */
async function memoryOf(pid: number): Promise<Memory> {
  return Inspector.use(pid, async (inspector) => {
    await inspector.ask('HeapProfiler.collectGarbage');
    await inspector.ask('HeapProfiler.collectGarbage');
    const expression = 'JSON.stringify(process.memoryUsage())';
    const { result } = (await inspector.ask('Runtime.evaluate', { expression })) as { result: { value: string } };
    const { heapUsed, external, rss } = JSON.parse(result.value) as Record<'heapUsed' | 'external' | 'rss', number>;
    return { liveBytes: heapUsed + external, residentBytes: rss };
  });
}

/**
 * Presence with 10,000 connected devices: memory of each above the idle process; from the moment at which a device's
 * network is cut until REST shows it as lost, with a thousand wills a second; and how long after the broker's last
 * publication a storm of 10,000 wills is settled.
 */
export async function measure(): Promise<unknown> {
  say('starting the system');
  const system = await StartedSystem.start(['--devices', '0', '--dir', stateFolder()]);
  try {
    const { address } = system;
    const pid = system.pidOf('presence');
    const devices = Array.from({ length: DEVICES }, (_, index) => new LeanDevice(index));
    // What any traffic costs the process is no cost of its devices: a few of them come and go many times first.
    const few = devices.slice(0, 100);
    for (let round = 0; round < 50; round += 1) {
      await births(address, few);
      for (const device of few) device.cut();
      await delay(150);
    }
    await until(address, 'lost', few.length);
    const idle = await memoryOf(pid);
    say(`idle: ${megabytes(idle)}; ${DEVICES} devices connect`);
    await births(address, devices);
    await until(address, 'online', DEVICES);
    await delay(2_000);
    const full = await memoryOf(pid);
    const bytesPerDevice = Math.round((full.liveBytes - idle.liveBytes) / (DEVICES - few.length));
    say(`full: ${megabytes(full)}; ${bytesPerDevice} bytes live per device (wanted ≤ ${WANTED.bytesPerDevice})`);

    const rounds = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      const watched: Promise<number>[] = [];
      const wills = await atRate(WILLS_PER_SECOND, WILLS_MS, (index) => {
        const device = devices[index];
        if (device === undefined) return;
        if (index % WATCHED_EVERY === 0) watched.push(willToRest(address, device));
        else device.cut();
      });
      const waits = await Promise.all(watched);
      await until(address, 'lost', wills);
      rounds.push(waits);
      const { p50Ms, p99Ms, maxMs } = spreadOf(waits);
      say(
        `will → REST, ${WILLS_PER_SECOND} wills/s: p50 ${p50Ms} p99 ${p99Ms} (wanted ≤ ${WANTED.willToRestP99Ms}) max ${maxMs} ms`,
      );
      await births(address, devices.slice(0, wills));
      await until(address, 'online', DEVICES);
    }

    const storms = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      let lastWillMs = 0;
      const { urls, username, password } = address.broker;
      const listener = await mqtt.connectAsync(urls[0] ?? '', { username, password });
      listener.on('message', (_topic, _payload, { retain }) => {
        if (!retain) lastWillMs = performance.now();
      });
      await listener.subscribeAsync('devices/+/status');
      for (const device of devices) device.cut();
      await until(address, 'lost', DEVICES);
      const settledMs = Math.round(performance.now() - lastWillMs);
      await listener.endAsync();
      storms.push(settledMs);
      say(
        `storm of ${DEVICES} wills: settled ${settledMs} ms after the broker's last publication (wanted ≤ ${WANTED.stormMs})`,
      );
      await births(address, devices);
      await until(address, 'online', DEVICES);
    }
    return {
      ...{ devices: DEVICES, bytesPerDevice, idle, full },
      willToRest: {
        ...spreadOf(rounds.flat()),
        worstRoundP99Ms: rounded(Math.max(...rounds.map((one) => quantile(one, 0.99)))),
      },
      stormMs: storms,
      wanted: WANTED,
    };
  } finally {
    await system.stop();
  }
}

function megabytes({ liveBytes, residentBytes }: Memory): string {
  return `${rounded(liveBytes / 1e6)} MB live, ${Math.round(residentBytes / 1e6)} MB resident`;
}
