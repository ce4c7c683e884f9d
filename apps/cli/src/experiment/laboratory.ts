import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { deviceId } from '@muster/contract';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess } from '@muster/engines';
import {
  Chance,
  DeviceCore,
  FaultLine,
  Surroundings,
  VirtualDevice,
  VirtualTime,
  type DeviceObserver,
} from '@muster/simulator';
import mqtt, { type MqttClient } from 'mqtt';

/** A message as a subscriber received it. */
export interface Received {
  readonly topic: string;
  readonly text: string;
  readonly retained: boolean;
  readonly duplicate: boolean;
  readonly atMs: number;
}

/** How a virtual device of an experiment is made. */
export interface LabDevice {
  readonly id: string;
  readonly settings: Readonly<Record<string, number | string>>;
  /** How much faster its own time passes. */
  readonly speed?: number;
  /** A temperature, in tenths, for each time that its sensor is read. */
  readonly temperature?: () => number;
  readonly observer?: DeviceObserver;
}

const STOP_LIMIT_MS = 5_000;

/** A broker of its own, a line to it that can fail, and whoever looks on past the line. */
export class Laboratory {
  readonly line: FaultLine;
  readonly #folder: string;
  readonly #broker: ManagedProcess;
  readonly #url: string;
  readonly #account: { readonly username: string; readonly password: string };
  readonly #core: DeviceCore;
  readonly #clients: MqttClient[] = [];
  readonly #devices: VirtualDevice[] = [];

  private constructor(parts: {
    readonly folder: string;
    readonly broker: ManagedProcess;
    readonly port: number;
    readonly account: { readonly username: string; readonly password: string };
    readonly line: FaultLine;
    readonly core: DeviceCore;
  }) {
    this.#folder = parts.folder;
    this.#broker = parts.broker;
    this.#url = `mqtt://127.0.0.1:${parts.port}`;
    this.#account = parts.account;
    this.line = parts.line;
    this.#core = parts.core;
  }

  /** Opens one: a Mosquitto that nobody else uses. @throws EngineError */
  static async open(onProgress: (text: string) => void): Promise<Laboratory> {
    const core = await DeviceCore.load();
    const source = await mosquittoSource('auto', onProgress);
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-experiment-'));
    const account = { username: 'experiment', password: randomBytes(16).toString('hex') };
    const port = await freePort();
    const logFile = path.join(folder, 'mosquitto.log');
    const plan = { name: 'experiment', folder: path.join(folder, 'broker'), logFile, port, account };
    const broker = await startMosquitto(plan, source);
    const line = await FaultLine.open({ host: '127.0.0.1', port });
    return new Laboratory({ folder, broker, port, account, line, core });
  }

  /** A device at the far end of the line; it is not started. */
  device({ id, settings, speed = 1, temperature, observer }: LabDevice): VirtualDevice {
    const time = new VirtualTime(speed);
    const surroundings = new Surroundings(new Chance(1), time.nowMs);
    const device = new VirtualDevice({
      ...{ id: deviceId(id), node: 'dht22', settings, time, core: this.#core },
      broker: { name: 'experiment', url: this.line.url, ...this.#account },
      surroundings: {
        chance: surroundings.chance,
        climateAt: () => ({ temperature: temperature?.() ?? 215, humidity: 450 }),
        batteryMillivoltsAt: () => 3_900,
        motionLastsMs: () => 60_000,
      },
      // Without reason codes and properties, in which clients differ: what the specification asks for, and no byte more.
      version: '3.1.1',
      ...(observer === undefined ? {} : { observer }),
    });
    this.#devices.push(device);
    return device;
  }

  /** A subscriber that is connected to the broker itself, not over the line. */
  async subscriber(filter: string): Promise<readonly Received[]> {
    const received: Received[] = [];
    const client = await mqtt.connectAsync(this.#url, { ...this.#account, protocolVersion: 5 });
    this.#clients.push(client);
    client.on('message', (topic, payload, { retain, dup }) =>
      received.push({ topic, text: payload.toString(), retained: retain, duplicate: dup, atMs: performance.now() }),
    );
    await client.subscribeAsync(filter, { qos: 2 });
    return received;
  }

  /** Ends everything, and leaves nothing behind. */
  async close(): Promise<void> {
    for (const device of this.#devices) device.crash();
    await Promise.all(this.#clients.map((client) => client.endAsync(true)));
    await this.line.close();
    await this.#broker.stop(STOP_LIMIT_MS);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What an experiment waits for did not come. */
export class ExperimentError extends Error {
  override readonly name = 'ExperimentError';
  readonly code = 'experiment-failed';
}

/**
 * Resolves when a condition holds.
 * @throws ExperimentError after so long, with what was waited for
 */
export async function until(condition: () => boolean, what: string, limitMs: number): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadlineMs)
      throw new ExperimentError(`${what} did not happen within ${Math.round(limitMs / 1_000)} s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
