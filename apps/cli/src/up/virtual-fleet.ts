import { createHmac } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deviceId, ruleAppliedSchema, type DeviceId } from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import type { Secrets } from '@muster/engines';
import { lightNode, motionNode, sensorNode, VirtualDevice, type VirtualNode } from '@muster/simulator';
import { callApi, type ApiTarget } from '../api-client.ts';
import type { BrokerPlan } from './engines.ts';

const REPORT_INTERVAL_MS = 5_000;
const GOODBYE_LIMIT_MS = 5_000;
const ROOMS = ['hall', 'office'];
/** So many devices and more are a house, with rooms that have a motion sensor and a lamp each. */
const DEVICES_OF_A_HOUSE = 10;
const RULES_FILE = 'motion-light.yaml';

interface PlannedDevice {
  readonly id: DeviceId;
  readonly node: VirtualNode;
}

/** The virtual devices of a system. */
export class VirtualFleet {
  readonly #planned: readonly PlannedDevice[];
  #devices: readonly VirtualDevice[] = [];

  constructor(
    count: number,
    private readonly secrets: Secrets,
  ) {
    // Sensor and lamp of a room are at different brokers, where there are several: a rule joins them.
    const nodes = (count < DEVICES_OF_A_HOUSE ? [] : ROOMS).flatMap((room) => [
      { id: deviceId(`${room}-motion`), node: motionNode(room) },
      { id: deviceId(`${room}-light`), node: lightNode(room) },
    ]);
    const sensors = count - nodes.length;
    const width = String(sensors).length;
    const others = Array.from({ length: sensors }, (_, index) => ({
      id: deviceId(`virtual-${String(index + 1).padStart(width, '0')}`),
      node: sensorNode(REPORT_INTERVAL_MS),
    }));
    this.#planned = [...nodes, ...others];
  }

  /** How many there are. */
  get size(): number {
    return this.#planned.length;
  }

  /** Whether there are rooms, for which rules have something to do. */
  get hasRooms(): boolean {
    return this.#planned.length >= DEVICES_OF_A_HOUSE;
  }

  /** The account that each has at the brokers: the password is the same at every start, and kept nowhere. */
  get accounts(): readonly { readonly kind: 'device'; readonly username: string; readonly password: string }[] {
    return this.#planned.map(({ id }) => ({
      kind: 'device',
      username: id,
      password: createHmac('sha256', this.secrets.devices).update(id).digest('base64url'),
    }));
  }

  /** Connects them, one broker after the other. */
  start(brokers: BrokerPlan): void {
    const { accounts } = this;
    this.#devices = this.#planned.map(({ id, node }, index) => {
      const broker = brokers.devices[index % brokers.devices.length];
      if (broker === undefined) throw new Error('a system has at least one broker');
      const { username, password } = accounts[index] ?? { username: id, password: '' };
      const account = brokers.accounts === 'agent' ? { username, password } : {};
      return new VirtualDevice({ id, node, broker: { ...broker, ...account }, onError: () => undefined });
    });
    for (const device of this.#devices) device.start();
  }

  /** Lets them say goodbye, for a few seconds at most. */
  async stop(): Promise<void> {
    const farewell = Promise.allSettled(this.#devices.map((device) => device.stop('shutdown')));
    await Promise.race([farewell, delay(GOODBYE_LIMIT_MS, undefined, { ref: false })]);
  }
}

/**
 * Saves the example rules in a system that has never had any; answers whether it did. A rule that somebody has removed
 * does not come back.
 * @throws ApiError
 */
export async function saveFirstRules(database: PrismaClient, api: ApiTarget): Promise<boolean> {
  if ((await database.ruleVersion.count()) > 0) return false;
  const beside = path.join(import.meta.dirname, RULES_FILE);
  const file = existsSync(beside) ? beside : path.join(import.meta.dirname, '../../../../docs/examples', RULES_FILE);
  await callApi(api, 'POST', '/rules', ruleAppliedSchema, { yaml: readFileSync(file, 'utf8') });
  return true;
}
