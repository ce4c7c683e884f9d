import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { ClimateTenths } from './device-core.ts';

/** Chance that comes again with the same seed. */
export class Chance {
  readonly #generator;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
  }

  /** An integer of 32 bits, from 0 on. */
  integer(): number {
    return this.#generator.next() >>> 0;
  }

  /** A number from `least` to just below `most`. */
  between(least: number, most: number): number {
    return least + (this.integer() / 2 ** 32) * (most - least);
  }

  /** How long until something happens that happens so often on average. */
  wait(meanMs: number): number {
    return -Math.log(1 - this.between(0, 1)) * meanMs;
  }
}

const DAY_MS = 86_400_000;
const NEW_BATTERY_MILLIVOLTS = 4_150;
const EMPTY_BATTERY_MILLIVOLTS = 3_300;
/** How long a battery lasts here: long enough that nobody waits for its end, short enough to be seen. */
const BATTERY_DAYS = 180;

/** When an office is heated for people: from six to six, UTC. */
const WORK_BEGINS_MS = 6 * 3_600_000;
const WORK_ENDS_MS = 18 * 3_600_000;
const NIGHT_CYCLE_MS = 2 * 3_600_000;
/** The heating is on for a quarter of each cycle. */
const HEATED_SHARE = 0.25;
const NIGHT_SWING_TENTHS = 7;

/** What a device's sensors have around them: an office whose heating goes on and off, with somebody in it now and then. */
export class Surroundings {
  readonly #nightTenths: number;
  readonly #workTenths: number;
  readonly #swingTenths: number;
  readonly #cycleMs: number;
  readonly #phaseMs: number;
  readonly #batteryFrom: number;

  constructor(
    readonly chance: Chance,
    private readonly startMs: number,
  ) {
    this.#nightTenths = chance.between(180, 190);
    this.#workTenths = chance.between(200, 212);
    this.#swingTenths = chance.between(14, 18);
    this.#cycleMs = chance.between(18, 22) * 60_000;
    this.#phaseMs = chance.between(0, NIGHT_CYCLE_MS);
    this.#batteryFrom = chance.between(0.3, 1);
  }

  /** Temperature and humidity. */
  climateAt(nowMs: number): ClimateTenths {
    const timeOfDay = nowMs % DAY_MS;
    const isWork = timeOfDay >= WORK_BEGINS_MS && timeOfDay < WORK_ENDS_MS;
    const cycleMs = isWork ? this.#cycleMs : NIGHT_CYCLE_MS;
    const heatedMs = cycleMs * (isWork ? HEATED_SHARE : 0.5);
    const inCycleMs = (nowMs + this.#phaseMs) % cycleMs;
    const share = inCycleMs < heatedMs ? inCycleMs / heatedMs : (cycleMs - inCycleMs) / (cycleMs - heatedMs);
    const warmth = share * (isWork ? this.#swingTenths : NIGHT_SWING_TENTHS);
    return {
      temperature: Math.round((isWork ? this.#workTenths : this.#nightTenths) + warmth),
      humidity: Math.round(440 - warmth * 2),
    };
  }

  /** What is left in the battery. */
  batteryMillivoltsAt(nowMs: number): number {
    const used = (nowMs - this.startMs) / (BATTERY_DAYS * DAY_MS);
    const left = Math.max(0, this.#batteryFrom - used);
    return Math.round(EMPTY_BATTERY_MILLIVOLTS + left * (NEW_BATTERY_MILLIVOLTS - EMPTY_BATTERY_MILLIVOLTS));
  }

  /** How long it stays as it is: somebody in the room, or nobody. */
  motionLastsMs(isMoving: boolean): number {
    return isMoving ? this.chance.between(4_000, 12_000) : this.chance.between(15_000, 75_000);
  }
}
