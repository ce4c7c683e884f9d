import { MAX_METRICS_PER_DEVICE, type DeviceId, type Reading, type ReadingValue } from '@muster/contract';
import { ClockOffset } from './clock-offset.ts';
import { UsualAge } from './lateness.ts';
import { DeviceQuota } from './quota.ts';
import { SequenceTracker } from './sequence.ts';

/** The newest value of a metric, by its own time; changed in place. */
export class NewestReading {
  value: ReadingValue = 0;
  unit: string | undefined = undefined;
  /** In milliseconds since 1970; before the first, longer ago than any. */
  epochMs = Number.NEGATIVE_INFINITY;
  /** It has changed, and no message of its device has become durable since. */
  isChanged = false;
  /** It is to be written to PostgreSQL. */
  isUnwritten = false;

  constructor(
    readonly device: DeviceId,
    readonly metric: string,
  ) {}
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

/** What ingestion keeps in memory for a device, from message to message. */
export class KnownDevice {
  readonly #metrics: Map<string, NewestReading>;
  /** By the places that their readings had in the last message: a device sends the same metrics in the same order. */
  readonly #lastOrder: NewestReading[] = [];
  /** The first of them have changed; what stands behind has not, and is written over: a new list each time is garbage. */
  readonly #changed: NewestReading[] = [];
  #changedCount = 0;
  lastReceiptMs = 0;
  /** It is no device of the fleet any more. */
  isForgotten = false;
  /** How old its readings have been when they came. */
  readonly usualAge = new UsualAge();
  /** The session whose boot time is known, with it; only the newest is kept. */
  boot: { readonly session: number; readonly bootedAtMs: number } | undefined = undefined;
  /** The session whose boot time is asked for at the moment. */
  booting: { readonly session: number; readonly bootedAtMs: Promise<number> } | undefined = undefined;
  readonly sequence = new SequenceTracker();
  readonly quota = new DeviceQuota();
  readonly clock = new ClockOffset();
  /** What PostgreSQL has not been told: messages, their bytes, the broker of the last, and when it was there for certain (0: unknown). */
  messages = 0;
  bytes = 0;
  broker = '';
  heardAtMs = 0;
  isUnwritten = false;
  /** When that was written last. */
  writtenAtMs = 0;
  #told = { lost: 0, duplicates: 0, dropped: 0 };

  constructor(
    readonly id: DeviceId,
    metrics: readonly string[],
  ) {
    this.#metrics = new Map(metrics.map((metric) => [metric, new NewestReading(id, metric)]));
  }

  /** The metrics that it has. */
  get metrics(): readonly string[] {
    return [...this.#metrics.keys()];
  }

  /**
   * The newest reading of a metric, which the device gets where it may have one more; else undefined.
   * @param place of the reading in its message
   */
  newest(metric: string, place: number): NewestReading | undefined {
    const expected = this.#lastOrder[place];
    if (expected?.metric === metric) return expected;
    let found = this.#metrics.get(metric);
    if (found === undefined) {
      if (this.#metrics.size >= MAX_METRICS_PER_DEVICE) return undefined;
      found = new NewestReading(this.id, metric);
      this.#metrics.set(metric, found);
    }
    // Dense: it grows by one at a time.
    if (place <= this.#lastOrder.length) this.#lastOrder[place] = found;
    return found;
  }

  /** Takes readings that were admitted. */
  learn(readings: readonly Reading[], epochMs: number): void {
    let place = 0;
    for (const { metric, value, unit } of readings) {
      const newest = this.newest(metric, place);
      place += 1;
      if (newest === undefined || newest.epochMs > epochMs) continue;
      newest.value = value;
      newest.unit = unit;
      newest.epochMs = epochMs;
      if (newest.isChanged) continue;
      newest.isChanged = true;
      this.#changed[this.#changedCount] = newest;
      this.#changedCount += 1;
    }
  }

  /** Gives what has changed since the last time, each once. */
  takeChanged(take: (newest: NewestReading) => void): void {
    const count = this.#changedCount;
    this.#changedCount = 0;
    for (let place = 0; place < count; place += 1) {
      const newest = this.#changed[place];
      if (newest === undefined) continue;
      newest.isChanged = false;
      take(newest);
    }
  }

  /** Its figures since the last time that this was asked. */
  newFigures(nowMs: number): DeviceFigures {
    const { lost, duplicates } = this.sequence.counts;
    const { dropped, runaway } = this.quota;
    const told = this.#told;
    this.#told = { lost, duplicates, dropped };
    return {
      lost: lost - told.lost,
      duplicates: duplicates - told.duplicates,
      dropped: dropped - told.dropped,
      clockOffsetMs: this.clock.offsetMs(nowMs),
      runawaySinceMs: runaway?.sinceMs,
    };
  }
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

  /** Makes a device that is not known; undefined when too many new ones came this minute. */
  meet(id: DeviceId, nowMs: number): KnownDevice | undefined {
    const minute = Math.floor(nowMs / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#newThisMinute = 0;
    }
    if (this.#newThisMinute >= MAX_NEW_DEVICES_PER_MINUTE) return undefined;
    this.#newThisMinute += 1;
    const device = new KnownDevice(id, []);
    this.#devices.set(id, device);
    return device;
  }

  /** Enters a device of which the database tells at start, with its metrics; it is not new. */
  restore(id: DeviceId, metrics: readonly string[]): void {
    this.#devices.set(id, new KnownDevice(id, metrics));
  }

  /** A device that is known. */
  known(id: string): KnownDevice | undefined {
    return this.#devices.get(id);
  }

  /** Forgets a device that has been tombstoned. */
  forget(id: string): void {
    const device = this.#devices.get(id);
    if (device !== undefined) device.isForgotten = true;
    this.#devices.delete(id);
  }
}

/** What of a message's readings a device may have. */
export interface Admission {
  readonly admitted: readonly Reading[];
  /** The metrics of the others. */
  readonly excess: readonly string[];
}

/** The readings whose metrics the device has or may still get. */
export function admittedReadings(device: KnownDevice, readings: readonly Reading[]): Admission {
  let place = 0;
  for (const { metric } of readings) {
    if (device.newest(metric, place) === undefined) return divided(device, readings);
    place += 1;
  }
  return { admitted: readings, excess: NONE };
}

function divided(device: KnownDevice, readings: readonly Reading[]): Admission {
  const admitted = readings.filter(({ metric }, place) => device.newest(metric, place) !== undefined);
  const excess = readings.filter((reading) => !admitted.includes(reading)).map(({ metric }) => metric);
  return { admitted, excess };
}

const NONE: readonly string[] = [];
