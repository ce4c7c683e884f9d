import { quantity, type Addition } from './calculator.ts';

/** Microampere-hours of so many milliamperes for so many milliseconds. */
export function chargeUah(currentMa: number, durationMs: number): number {
  return (currentMa * durationMs) / 3_600;
}

/** How an ESP32 saves power while its Wi-Fi stays connected. */
export const IDLE_MODES = ['modem-sleep', 'light-sleep'] as const;
/** Every how many beacons an access point tells of waiting messages; a connected station wakes for these. */
export const DTIM_PERIODS = [1, 3, 10] as const;

/**
 * Average milliamperes of an ESP32 that is connected and sends nothing. Source: ESP-IDF Programming Guide,
 * "Introduction to Low Power Mode in Wi-Fi Scenarios", table of the ESP32, measured by Espressif in a shielded box.
 */
const IDLE_MA = {
  'modem-sleep': { 1: 31.12, 3: 28.81, 10: 29.66 },
  'light-sleep': { 1: 3.34, 3: 2.33, 10: 2.19 },
} as const;

/** See {@link IDLE_MODES}. */
export type IdleMode = (typeof IDLE_MODES)[number];
/** See {@link DTIM_PERIODS}. */
export type DtimPeriod = (typeof DTIM_PERIODS)[number];

/** Average milliamperes of a connected ESP32 between its messages. */
export function idleMa(mode: IdleMode, dtim: DtimPeriod): number {
  return IDLE_MA[mode][dtim];
}

/** Where {@link idleMa} comes from. */
export const IDLE_SOURCE = 'ESP-IDF Programming Guide, Low Power Mode in Wi-Fi Scenarios: average of the ESP32';

/** The course's "Battery Life Calculation": milliamperes while the radio is on. */
export const COURSE_RADIO_MA = 120;
/** The course's "Battery Life Calculation": milliseconds for which a message keeps the radio on, by QoS. */
export const COURSE_RADIO_ON_MS = { 0: 50, 1: 150, 2: 300 } as const;

/** What the calculators that drain a battery all ask. */
export const batteryInputs = {
  batteryMah: quantity('mAh', 1, 1_000_000, 'Capacity of the battery').default(2_000),
  /** 3.8 mA: an ESP32-DevKitC V4 in deep sleep (lucidar.me); other boards took 0.13 to 11.4 mA (grillbaer, kohacraft). */
  boardMa: quantity(
    'mA',
    0,
    500,
    "What regulator, USB bridge and LED of the board draw all the time: 3.8 on Espressif's DevKitC V4, 0 on a bare module",
  ).default(3.8),
  /** Lithium-ion loses 2 to 3 % a month (Wikipedia, Self-discharge); low self-discharge NiMH 0.25 %, NiMH 30 %. */
  selfDischargePercentPerMonth: quantity(
    '%',
    0,
    50,
    'What the battery loses a month by itself: lithium-ion 2 to 3, low self-discharge NiMH from 0.25, other NiMH 30',
  ).default(2.5),
};

const BOARD_SOURCE =
  'measured on an ESP32-DevKitC V4 (lucidar.me); other boards 0.13 to 11.4 mA; boardMa is 0 for a bare module';

/** The share of the board in a day's drain, in mAh. */
export function boardAddition(boardMa: number): readonly Addition[] {
  if (boardMa === 0) return [];
  return [{ name: `board: regulator, USB bridge, LED at ${boardMa} mA`, amount: 24 * boardMa, source: BOARD_SOURCE }];
}

const DAYS_PER_MONTH = 365.25 / 12;

/** The share of its charge that a battery loses in a day, as the exponent of the decay. */
function decayPerDay(selfDischargePercentPerMonth: number): number {
  return -Math.log1p(-selfDischargePercentPerMonth / 100) / DAYS_PER_MONTH;
}

/**
 * Days until a battery is empty that is drained evenly and loses a part of what is left each month:
 * Q' = -k Q - i, so Q = 0 at ln(1 + k Q0 / i) / k.
 */
export function lifeDays(batteryMah: number, drainMahPerDay: number, selfDischargePercentPerMonth: number): number {
  const decay = decayPerDay(selfDischargePercentPerMonth);
  if (decay === 0) return batteryMah / drainMahPerDay;
  return Math.log1p((decay * batteryMah) / drainMahPerDay) / decay;
}

/** The even drain in mAh a day with which a battery lasts so many days; the inverse of {@link lifeDays}. */
export function drainForLife(batteryMah: number, days: number, selfDischargePercentPerMonth: number): number {
  const decay = decayPerDay(selfDischargePercentPerMonth);
  return decay === 0 ? batteryMah / days : (decay * batteryMah) / Math.expm1(decay * days);
}

/** The battery in mAh that lasts so many days with an even drain; the other inverse of {@link lifeDays}. */
export function batteryForLife(drainMahPerDay: number, days: number, selfDischargePercentPerMonth: number): number {
  const decay = decayPerDay(selfDischargePercentPerMonth);
  return decay === 0 ? drainMahPerDay * days : (drainMahPerDay * Math.expm1(decay * days)) / decay;
}

/** What a battery loses by itself while it is drained evenly for so many days, as an average in mAh a day. */
export function selfDischargeAddition(
  batteryMah: number,
  days: number,
  selfDischargePercentPerMonth: number,
): readonly Addition[] {
  if (selfDischargePercentPerMonth === 0) return [];
  return [
    {
      name: `self-discharge, ${selfDischargePercentPerMonth} % a month`,
      amount: batteryMah / days - drainForLife(batteryMah, days, selfDischargePercentPerMonth),
      source: 'assumed, lithium-ion (Wikipedia, Self-discharge: 2 to 3 % a month); selfDischargePercentPerMonth',
    },
  ];
}
