import { createHmac } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { deviceId, ruleAppliedSchema, type DeviceId } from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import type { Secrets } from '@muster/engines';
import { DeviceCore, plannedDevices, VirtualFleet, VirtualTime, type PlannedDevice } from '@muster/simulator';
import { callApi, type ApiTarget } from '../api-client.ts';
import type { BrokerPlan } from './engines.ts';

/** So that there is something to see: the firmware itself reports changes, and every five minutes. */
const LIVELY = { sample: 5, heartbeat: 5 };
const SEED = 1;
const CONNECTS_PER_SECOND = 200;
const GOODBYE_LIMIT_MS = 5_000;
const ROOMS = ['hall', 'office'];
/** So many devices and more are a house, with rooms that have a motion sensor and a lamp each. */
const DEVICES_OF_A_HOUSE = 10;
const RULES_FILE = 'motion-light.yaml';

/** The virtual devices that a started system has. */
export class HomeFleet {
  readonly #devices: readonly PlannedDevice[];
  #fleet: VirtualFleet | undefined;

  constructor(
    count: number,
    private readonly secrets: Secrets,
  ) {
    // Sensor and lamp of a room are at different brokers, where there are several: a rule joins them.
    const nodes = (count < DEVICES_OF_A_HOUSE ? [] : ROOMS).flatMap((room): readonly PlannedDevice[] => [
      { id: deviceId(`${room}-motion`), node: 'motion', room, settings: {} },
      { id: deviceId(`${room}-light`), node: 'light', room, settings: {} },
    ]);
    const sensors = plannedDevices(count - nodes.length, 'office', 'virtual-');
    this.#devices = [...nodes, ...sensors.map((device) => ({ ...device, settings: LIVELY }))];
  }

  /** How many there are. */
  get size(): number {
    return this.#devices.length;
  }

  /** Whether there are rooms, for which rules have something to do. */
  get hasRooms(): boolean {
    return this.#devices.length >= DEVICES_OF_A_HOUSE;
  }

  /** The account that each has at the brokers: the password is the same at every start, and kept nowhere. */
  get accounts(): readonly { readonly kind: 'device'; readonly username: string; readonly password: string }[] {
    return this.#devices.map(({ id }) => ({ kind: 'device', username: id, password: this.#passwordOf(id) }));
  }

  /** Connects them, one broker after the other. */
  async start(brokers: BrokerPlan): Promise<void> {
    const brokerOf = new Map(
      this.#devices.map(({ id }, index) => {
        const broker = brokers.devices[index % brokers.devices.length];
        if (broker === undefined) throw new Error('a system has at least one broker');
        const account = brokers.accounts === 'agent' ? { username: id, password: this.#passwordOf(id) } : {};
        return [id, { ...broker, ...account }];
      }),
    );
    this.#fleet = new VirtualFleet({
      devices: this.#devices,
      brokerOf: (id) => {
        const broker = brokerOf.get(id);
        if (broker === undefined) throw new Error(`${id} is none of these devices`);
        return broker;
      },
      ...{ profile: 'office', faults: [], seed: SEED, connectsPerSecond: CONNECTS_PER_SECOND },
      core: await DeviceCore.load(),
      time: new VirtualTime(),
    });
    this.#fleet.start();
  }

  /** Lets them say goodbye, for a few seconds at most. */
  async stop(): Promise<void> {
    await this.#fleet?.stop(GOODBYE_LIMIT_MS);
  }

  #passwordOf(id: DeviceId): string {
    return createHmac('sha256', this.secrets.devices).update(id).digest('base64url');
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
