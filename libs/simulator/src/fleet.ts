import type { BrokerTarget } from '@muster/broker';
import { deviceId, type DeviceId } from '@muster/contract';
import type { DeviceCore, NodeKind } from './device-core.ts';
import { Chance, Surroundings } from './surroundings.ts';
import { VirtualDevice } from './virtual-device.ts';
import type { Cancel, VirtualTime } from './virtual-time.ts';

/** How a fleet behaves. */
export const FLEET_PROFILES = ['office', 'flapping', 'sleepy', 'storm'] as const;
/** See {@link FLEET_PROFILES}. */
export type FleetProfile = (typeof FLEET_PROFILES)[number];

/** What goes wrong in a fleet, now and then. */
export const FLEET_FAULTS = ['half-open', 'crash', 'clock-jump'] as const;
/** See {@link FLEET_FAULTS}. */
export type FleetFault = (typeof FLEET_FAULTS)[number];

/** A device of a fleet, before it has an account. */
export interface PlannedDevice {
  readonly id: DeviceId;
  readonly node: NodeKind;
  readonly room?: string;
  readonly settings: Readonly<Record<string, number | string>>;
}

/** What a fleet is made of. */
export interface FleetOptions {
  readonly devices: readonly PlannedDevice[];
  /** Where a device connects, and as whom. */
  readonly brokerOf: (id: DeviceId) => BrokerTarget;
  readonly profile: FleetProfile;
  readonly faults: readonly FleetFault[];
  /** The same seed gives the same surroundings and the same faults, at the same times. */
  readonly seed: number;
  readonly core: DeviceCore;
  readonly time: VirtualTime;
  /** Connections begun in a second of ours. */
  readonly connectsPerSecond: number;
}

/** How a fleet is doing. */
export interface FleetFigures {
  readonly devices: number;
  readonly online: number;
  readonly asleep: number;
  readonly faults: Readonly<Record<FleetFault, number>>;
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** Mean times, of the devices' own time. */
const FLAP_EVERY_MS = MINUTE_MS;
const STORM_EVERY_MS = 5 * MINUTE_MS;
const STORM_BACK_WITHIN_MS = 20_000;
const FAULT_EVERY_MS = 10 * MINUTE_MS;
const CRASHED_FOR_MS = 15_000;
const TICK_MS = 50;

/**
 * The sensors of a fleet; those of a sleepy one sleep for five minutes between two readings.
 * @param prefix begins the ids of sensors
 */
export function plannedDevices(count: number, profile: FleetProfile, prefix: string): readonly PlannedDevice[] {
  const settings: PlannedDevice['settings'] = profile === 'sleepy' ? { sleep: 300 } : {};
  const width = String(count).length;
  return Array.from({ length: count }, (_, index) => ({
    id: deviceId(`${prefix}${String(index + 1).padStart(width, '0')}`),
    node: 'dht22',
    settings,
  }));
}

/** Virtual devices at real brokers, with what happens to them. */
export class VirtualFleet {
  readonly #options: FleetOptions;
  readonly #devices: readonly VirtualDevice[];
  readonly #chance: Chance;
  readonly #faults: Record<FleetFault, number> = { 'half-open': 0, crash: 0, 'clock-jump': 0 };
  readonly #pending = new Set<Cancel>();
  #connecting: NodeJS.Timeout | undefined;
  #isStopping = false;

  constructor(options: FleetOptions) {
    const { devices, brokerOf, core, time, seed } = options;
    this.#options = options;
    this.#chance = new Chance(seed);
    const startMs = time.nowMs;
    this.#devices = devices.map((device, index) => {
      const surroundings = new Surroundings(new Chance(seed + index + 1), startMs);
      return new VirtualDevice({ ...device, broker: brokerOf(device.id), core, time, surroundings });
    });
  }

  /** How the devices are doing. */
  get figures(): FleetFigures {
    const phases = this.#devices.map(({ phase }) => phase);
    return {
      devices: phases.length,
      online: phases.filter((phase) => phase === 'online').length,
      asleep: this.#devices.filter(({ isAsleep }) => isAsleep).length,
      faults: { ...this.#faults },
    };
  }

  /** Gives all of them power, so many a second. */
  start(): void {
    let started = 0;
    let allowed = 0;
    this.#connecting = setInterval(() => {
      allowed += (this.#options.connectsPerSecond * TICK_MS) / 1_000;
      for (; started < Math.min(allowed, this.#devices.length); started += 1) this.#begin(this.#devices[started]);
      if (started >= this.#devices.length) clearInterval(this.#connecting);
    }, TICK_MS);
    if (this.#options.profile === 'storm') this.#storm();
  }

  /** Lets them say goodbye, for so long at most. */
  async stop(limitMs: number): Promise<void> {
    this.#isStopping = true;
    clearInterval(this.#connecting);
    for (const cancel of this.#pending) cancel();
    const farewell = Promise.all(this.#devices.map((device) => device.stop('shutdown')));
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => (timer = setTimeout(resolve, limitMs)));
    await Promise.race([farewell, limit]);
    clearTimeout(timer);
    for (const device of this.#devices) device.crash();
  }

  #begin(device: VirtualDevice | undefined): void {
    if (device === undefined) return;
    device.start();
    if (this.#options.profile === 'flapping') this.#often(FLAP_EVERY_MS, () => device.cutNetwork());
    for (const fault of this.#options.faults)
      this.#often(FAULT_EVERY_MS, () => {
        if (device.phase !== 'online') return;
        this.#faults[fault] += 1;
        this.#happen(device, fault);
      });
  }

  #happen(device: VirtualDevice, fault: FleetFault): void {
    switch (fault) {
      case 'half-open':
        device.goHalfOpen();
        return;
      case 'crash':
        device.crash();
        this.#after(CRASHED_FOR_MS, () => device.start('watchdog'));
        return;
      case 'clock-jump':
        device.jumpClock(this.#chance.between(-DAY_MS, DAY_MS / 2));
    }
  }

  /** All lose power at once, and come back one after the other. */
  #storm(): void {
    this.#after(STORM_EVERY_MS, () => {
      for (const device of this.#devices) {
        if (device.phase === 'off') continue;
        device.crash();
        this.#after(this.#chance.between(0, STORM_BACK_WITHIN_MS), () => device.start());
      }
      this.#storm();
    });
  }

  #often(meanMs: number, work: () => void): void {
    this.#after(this.#chance.wait(meanMs), () => {
      work();
      this.#often(meanMs, work);
    });
  }

  #after(waitMs: number, work: () => void): void {
    if (this.#isStopping) return;
    const cancel = this.#options.time.after(waitMs, () => {
      this.#pending.delete(cancel);
      work();
    });
    this.#pending.add(cancel);
  }
}
