import { MAX_METRICS_PER_DEVICE, type DeviceId, type Reading } from '@muster/contract';
import { clockOffsetMs, type ClockOffset } from './clock-offset.ts';
import type { UsualAge } from './lateness.ts';
import { DeviceQuota } from './quota.ts';
import { SequenceTracker } from './sequence.ts';

/** What ingestion keeps in memory for a device. */
export interface KnownDevice {
  readonly id: DeviceId;
  readonly metrics: Set<string>;
  lastReceiptMs: number;
  /** How old its readings have been when they came. */
  usualAge: UsualAge | undefined;
  /** The session whose boot time is known, with it; only the newest is kept. */
  boot: { readonly session: number; readonly bootedAtMs: number } | undefined;
  /** The session whose boot time is asked for at the moment. */
  booting: { readonly session: number; readonly bootedAtMs: Promise<number> } | undefined;
  readonly sequence: SequenceTracker;
  readonly quota: DeviceQuota;
  clock: ClockOffset | undefined;
  /** What {@link newFigures} has given out. */
  told: { readonly lost: number; readonly duplicates: number; readonly dropped: number };
}

/** What ingestion has learned of a device on the way since it was last asked; times are milliseconds. */
export interface DeviceFigures {
  /** Messages that were lost, by their numbers; below 0 where what was missing came late. */
  readonly lost: number;
  readonly duplicates: number;
  /** Messages beyond the quota. */
  readonly dropped: number;
  /** How far its clock is ahead of ours; undefined where that is not known. */
  readonly clockOffsetMs: number | undefined;
  /** Since when it sends more than its quota. */
  readonly runawaySinceMs: number | undefined;
}

/** The figures of a device since the last time that this was asked. */
export function newFigures(device: KnownDevice, nowMs: number): DeviceFigures {
  const { lost, duplicates } = device.sequence.counts;
  const { dropped, runaway } = device.quota;
  const { told } = device;
  device.told = { lost, duplicates, dropped };
  return {
    lost: lost - told.lost,
    duplicates: duplicates - told.duplicates,
    dropped: dropped - told.dropped,
    clockOffsetMs: clockOffsetMs(device.clock, nowMs),
    runawaySinceMs: runaway?.sinceMs,
  };
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

  /** A device that is known. */
  known(id: string): KnownDevice | undefined {
    return this.#devices.get(id);
  }

  /** Forgets a device that has been tombstoned. */
  forget(id: string): void {
    this.#devices.delete(id);
  }
}

function unheard(id: DeviceId, metrics: readonly string[]): KnownDevice {
  return {
    ...{ id, metrics: new Set(metrics), lastReceiptMs: 0, usualAge: undefined, boot: undefined, clock: undefined },
    ...{
      booting: undefined,
      sequence: new SequenceTracker(),
      quota: new DeviceQuota(),
      told: { lost: 0, duplicates: 0, dropped: 0 },
    },
  };
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
