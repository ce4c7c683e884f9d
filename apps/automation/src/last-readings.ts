import type { DigestReading, ReadingValue } from '@muster/contract';

/** A reading that is not late and so much older than the one before comes from a clock that was set right. */
const CLOCK_JUMP_MS = 60_000;

/** The last reading of each metric of each device, by the clock of the device. */
export class LastReadings {
  readonly #readings = new Map<string, { readonly value: ReadingValue; readonly atMs: number }>();

  /** Takes a reading; answers whether none is known that is newer. */
  take({ device, metric, value, atMs, late }: Omit<DigestReading, 'unit' | 'qos'>): boolean {
    const key = `${device} ${metric}`;
    const before = this.#readings.get(key);
    const wasSetRight = before !== undefined && !late && before.atMs - atMs > CLOCK_JUMP_MS;
    if (before !== undefined && before.atMs > atMs && !wasSetRight) return false;
    this.#readings.set(key, { value, atMs });
    return true;
  }

  /** The last value; undefined where there is none. */
  of(device: string, metric: string): ReadingValue | undefined {
    return this.#readings.get(`${device} ${metric}`)?.value;
  }
}
