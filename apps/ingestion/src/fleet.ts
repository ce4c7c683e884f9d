import { MAX_METRICS_PER_DEVICE, type DeviceId, type Reading, type ReadingValue } from '@muster/contract';
import { ClockOffset } from './clock-offset.ts';
import { UsualAge } from './lateness.ts';
import { DeviceQuota } from './quota.ts';
import { SequenceTracker } from './sequence.ts';

/** The newest value of a metric, by its own time; changed in place. */
export class NewestReading {
  /** The value where it is a number, in a field of its own: that is written over in place, and is no garbage. */
  number = Number.NaN;
  /** The value where it is none. */
  other: Exclude<ReadingValue, number> | undefined = undefined;
  unit: string | undefined = undefined;
  /** In milliseconds since 1970; before the first, longer ago than any. */
  epochMs = Number.NEGATIVE_INFINITY;
  /** It has changed, and no message of its device has become durable since; then the one that changed before it. */
  isChanged = false;
  changedBefore: NewestReading | undefined = undefined;
  /** It is to be written to PostgreSQL. */
  isUnwritten = false;

  constructor(
    readonly device: DeviceId,
    readonly metric: string,
  ) {}
}

/** What PostgreSQL has not been told of a device. */
export interface Untold {
  /** Messages that are durable, and bytes of their payloads. */
  readonly messages: number;
  readonly bytes: number;
  /** Messages that were lost, by their numbers; below 0 where what was missing came late. */
  readonly lost: number;
  readonly duplicates: number;
  /** Messages beyond the quota. */
  readonly dropped: number;
}

/** What ingestion keeps in memory for a device, from message to message. */
export class KnownDevice {
  /**
   * By the places that they had in the last message: a device sends the same metrics in the same order. Of no more length
   * than is needed, as there are hundreds of thousands.
   */
  #readings: NewestReading[];
  /** The one that has changed last. */
  #changed: NewestReading | undefined = undefined;
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
  /** Durable messages that PostgreSQL has not been told of, their bytes, the broker of the last, and when it was there for certain (0: unknown). */
  messages = 0;
  bytes = 0;
  broker = '';
  heardAtMs = 0;
  isUnwritten = false;
  /** When that was written last. */
  writtenAtMs = 0;
  #toldLost = 0;
  #toldDuplicates = 0;
  #toldDropped = 0;

  constructor(
    readonly id: DeviceId,
    metrics: readonly string[],
  ) {
    this.#readings = metrics.map((metric) => new NewestReading(id, metric));
  }

  /** The metrics that it has. */
  get metrics(): readonly string[] {
    return this.#readings.map(({ metric }) => metric);
  }

  /**
   * The newest reading of a metric, which the device gets where it may have one more; else undefined.
   * @param place of the reading in its message
   */
  newest(metric: string, place: number): NewestReading | undefined {
    const expected = this.#readings[place];
    return expected?.metric === metric ? expected : this.#moved(metric, place);
  }

  /** The newest reading of a metric, which stands at that place from now on. */
  #moved(metric: string, place: number): NewestReading | undefined {
    let index = this.#readings.findIndex((newest) => newest.metric === metric);
    if (index === -1) {
      if (this.#readings.length >= MAX_METRICS_PER_DEVICE) return undefined;
      index = this.#readings.length;
      this.#readings = [...this.#readings, new NewestReading(this.id, metric)];
    }
    const readings = this.#readings;
    const [found, instead] = [readings[index], readings[place]];
    if (found !== undefined && instead !== undefined) {
      readings[place] = found;
      readings[index] = instead;
    }
    return found;
  }

  /** Takes readings that were admitted. */
  learn(readings: readonly Reading[], epochMs: number): void {
    let place = 0;
    for (const { metric, value, unit } of readings) {
      const newest = this.newest(metric, place);
      place += 1;
      if (newest === undefined || newest.epochMs > epochMs) continue;
      if (typeof value === 'number') {
        newest.number = value;
        newest.other = undefined;
      } else newest.other = value;
      newest.unit = unit;
      newest.epochMs = epochMs;
      if (newest.isChanged) continue;
      newest.isChanged = true;
      newest.changedBefore = this.#changed;
      this.#changed = newest;
    }
  }

  /** Gives what has changed since the last time, each once. */
  takeChanged(take: (newest: NewestReading) => void): void {
    let newest = this.#changed;
    this.#changed = undefined;
    while (newest !== undefined) {
      const before = newest.changedBefore;
      newest.isChanged = false;
      newest.changedBefore = undefined;
      take(newest);
      newest = before;
    }
  }

  /** What PostgreSQL has not been told. */
  get untold(): Untold {
    const { messages, bytes, sequence, quota } = this;
    return {
      messages,
      bytes,
      lost: sequence.lost - this.#toldLost,
      duplicates: sequence.duplicates - this.#toldDuplicates,
      dropped: quota.dropped - this.#toldDropped,
    };
  }

  /** Takes that PostgreSQL has been told. */
  told({ messages, bytes, lost, duplicates, dropped }: Untold): void {
    this.messages -= messages;
    this.bytes -= bytes;
    this.#toldLost += lost;
    this.#toldDuplicates += duplicates;
    this.#toldDropped += dropped;
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
