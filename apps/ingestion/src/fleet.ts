import { MAX_METRICS_PER_DEVICE, type DeviceId, type Reading } from '@muster/contract';
import type { UsualAge } from './lateness.ts';

/** What ingestion keeps in memory for a device. */
export interface KnownDevice {
  readonly id: DeviceId;
  readonly metrics: Set<string>;
  lastReceiptMs: number;
  /** How old its readings have been when they came. */
  usualAge: UsualAge | undefined;
  /** The session whose boot time is known, with it; only the newest is kept. */
  boot: { readonly session: number; readonly bootedAtMs: number } | undefined;
}

/** New devices a minute; above that they are counted and not created. */
export const MAX_NEW_DEVICES_PER_MINUTE = 1_000;

/** The devices that have sent telemetry, bounded in how fast they and their metrics can grow. */
export class Fleet {
  readonly #devices = new Map<string, KnownDevice>();
  #minute = 0;
  #newThisMinute = 0;

  /** Devices in memory. */
  get size(): number {
    return this.#devices.size;
  }

  /** The device, made when it is new; undefined when too many new ones came this minute. */
  device(id: DeviceId, nowMs: number): { readonly device: KnownDevice; readonly isNew: boolean } | undefined {
    const known = this.#devices.get(id);
    if (known !== undefined) return { device: known, isNew: false };
    const minute = Math.floor(nowMs / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#newThisMinute = 0;
    }
    if (this.#newThisMinute >= MAX_NEW_DEVICES_PER_MINUTE) return undefined;
    this.#newThisMinute += 1;
    const device = unheard(id, []);
    this.#devices.set(id, device);
    return { device, isNew: true };
  }

  /** Enters a device of which the database tells at start, with its metrics; it is not new. */
  restore(id: DeviceId, metrics: readonly string[]): void {
    this.#devices.set(id, unheard(id, metrics));
  }

  /** Forgets a device that has been tombstoned. */
  forget(id: string): void {
    this.#devices.delete(id);
  }
}

function unheard(id: DeviceId, metrics: readonly string[]): KnownDevice {
  return { id, metrics: new Set(metrics), lastReceiptMs: 0, usualAge: undefined, boot: undefined };
}

/** The readings whose metrics the device has or may still get; the others' names. */
export function admittedReadings(
  device: KnownDevice,
  readings: readonly Reading[],
): { readonly admitted: readonly Reading[]; readonly excess: readonly string[] } {
  const excess: string[] = [];
  const admitted = readings.filter(({ metric }) => {
    if (device.metrics.has(metric)) return true;
    if (device.metrics.size >= MAX_METRICS_PER_DEVICE) {
      excess.push(metric);
      return false;
    }
    device.metrics.add(metric);
    return true;
  });
  return { admitted, excess };
}
