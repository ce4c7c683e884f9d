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

/** What a device's sensors have around them: a room that is warmed by day, with somebody in it now and then. */
export class Surroundings {
  readonly #warmestAtMs: number;
  readonly #meanTenths: number;
  readonly #swingTenths: number;
  readonly #batteryFrom: number;

  constructor(
    readonly chance: Chance,
    private readonly startMs: number,
  ) {
    this.#warmestAtMs = 15 * 3_600_000 + chance.between(-2, 2) * 3_600_000;
    this.#meanTenths = chance.between(200, 225);
    this.#swingTenths = chance.between(8, 22);
    this.#batteryFrom = chance.between(0.3, 1);
  }

  /** Temperature and humidity: a turn a day, and a draught that comes and goes. */
  climateAt(nowMs: number): ClimateTenths {
    const turn = (((nowMs % DAY_MS) - this.#warmestAtMs) / DAY_MS) * 2 * Math.PI;
    const draught = Math.sin(nowMs / 1_700_000 + this.#meanTenths) * Math.sin(nowMs / 470_000);
    const warmth = Math.cos(turn) * this.#swingTenths + draught * 2;
    return {
      temperature: Math.round(this.#meanTenths + warmth),
      humidity: Math.round(Math.min(950, Math.max(50, 450 - warmth * 2))),
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
