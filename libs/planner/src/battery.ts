import { choice, compared, defineCalculator, found, formatted, quantity, summed, type Addition } from './calculator.ts';
import {
  batteryInputs,
  boardAddition,
  chargeUah,
  COURSE_RADIO_MA,
  COURSE_RADIO_ON_MS,
  drainForLife,
  DTIM_PERIODS,
  IDLE_MODES,
  idleMa,
  IDLE_SOURCE,
  lifeDays,
  selfDischargeAddition,
  type DtimPeriod,
  type IdleMode,
} from './power.ts';

const SECONDS_PER_DAY = 86_400;

const intervalSeconds = quantity('s', 0.1, 2_592_000, 'Time between two messages').default(60);
const connectedInputs = {
  qos: choice([0, 1, 2], 'Quality of service').default(0),
  radioMa: quantity('mA', 35, 1_000, 'Current while the radio is on').default(COURSE_RADIO_MA),
  radioOnMs: quantity(
    'ms',
    1,
    60_000,
    'How long a message keeps the radio on; by QoS 50, 150 or 300 unless given',
  ).optional(),
  idleMode: choice(IDLE_MODES, 'How the ESP32 saves power while it is connected').default('modem-sleep'),
  dtim: choice(DTIM_PERIODS, 'DTIM period of the access point, in beacons').default(1),
  keepAliveSeconds: quantity('s', 5, 65_535, 'Keep-alive: a device that is silent for so long sends a ping').default(
    60,
  ),
  /** PINGREQ is two bytes and wakes the radio as a message at QoS 0 does: the course's time for one. */
  pingMs: quantity('ms', 1, 60_000, 'How long a ping keeps the radio on, at most as long as a message').default(
    COURSE_RADIO_ON_MS[0],
  ),
  boardMa: batteryInputs.boardMa,
  selfDischargePercentPerMonth: batteryInputs.selfDischargePercentPerMonth,
};

/** A device that stays connected and publishes every so often. */
export interface ConnectedDevice {
  readonly batteryMah: number;
  readonly intervalSeconds: number;
  readonly radioMa: number;
  readonly radioOnMs: number;
  readonly idleMode: IdleMode;
  readonly dtim: DtimPeriod;
  readonly keepAliveSeconds: number;
  readonly pingMs: number;
  readonly boardMa: number;
  readonly selfDischargePercentPerMonth: number;
}

type RadioUse = Pick<ConnectedDevice, 'radioOnMs' | 'keepAliveSeconds' | 'pingMs'>;

/** A ping takes no longer than a message of the same device. */
function pingMsOf({ pingMs, radioOnMs }: RadioUse): number {
  return Math.min(pingMs, radioOnMs);
}

/** Pings a day: one for each keep-alive in which nothing is published. */
function pingsPerDay({ intervalSeconds: interval, keepAliveSeconds }: ConnectedDevice): number {
  return Math.max(0, SECONDS_PER_DAY / keepAliveSeconds - SECONDS_PER_DAY / interval);
}

function idleAddition(mode: IdleMode, dtim: DtimPeriod, hours: number): Addition {
  const current = idleMa(mode, dtim);
  return {
    name: `Wi-Fi between messages: ${mode} at DTIM ${dtim}, ${current} mA`,
    amount: current * hours,
    source: IDLE_SOURCE,
  };
}

/** What a connected device draws besides its messages, in mAh a day, without self-discharge. */
function connectedAdditions(device: ConnectedDevice): readonly Addition[] {
  const { intervalSeconds: interval, radioMa, radioOnMs, idleMode, dtim } = device;
  const pings = pingsPerDay(device);
  const radioHours = ((SECONDS_PER_DAY / interval) * radioOnMs + pings * pingMsOf(device)) / 3_600_000;
  return [
    idleAddition(idleMode, dtim, 24 - radioHours),
    ...(pings === 0
      ? []
      : [
          {
            name: `${formatted(pings)} keep-alive pings`,
            amount: (pings * chargeUah(radioMa, pingMsOf(device))) / 1_000,
            source: "assumed: a ping keeps the radio on as long as the course's message at QoS 0; pingMs",
          },
        ]),
    ...boardAddition(device.boardMa),
  ];
}

/** The course's drain in mAh a day: the radio's transmit time and nothing else. */
function courseDrain({ intervalSeconds: interval, radioMa, radioOnMs }: ConnectedDevice): number {
  return ((SECONDS_PER_DAY / interval) * chargeUah(radioMa, radioOnMs)) / 1_000;
}

/** Days that a connected device lives: by the course, and with everything that draws current. */
export function connectedLife(device: ConnectedDevice): { readonly course: number; readonly honest: number } {
  const course = courseDrain(device);
  const drain = connectedAdditions(device).reduce((sum, { amount }) => sum + amount, course);
  return {
    course: device.batteryMah / course,
    honest: lifeDays(device.batteryMah, drain, device.selfDischargePercentPerMonth),
  };
}

/** The course's "MQTT QoS Battery Life Calculator" (2.4, 7.2, 14.4 mAh a day; 833, 278, 139 days). */
export const battery = defineCalculator({
  id: 'battery',
  title: 'Battery life of a connected device',
  question: 'How long does a battery last when the device stays connected and publishes at a QoS?',
  inputs: { batteryMah: batteryInputs.batteryMah, intervalSeconds, ...connectedInputs },
  check: ({ intervalSeconds: interval, qos, radioOnMs = COURSE_RADIO_ON_MS[qos] }) =>
    radioOnMs <= interval * 1_000
      ? []
      : [
          {
            field: 'intervalSeconds',
            message: `expected at least ${formatted(radioOnMs / 1_000)} s, for which each message keeps the radio on; found ${found(interval)}`,
          },
        ],
  calculate: (input) => {
    const device = { ...input, radioOnMs: input.radioOnMs ?? COURSE_RADIO_ON_MS[input.qos] };
    const charge = chargeUah(device.radioMa, device.radioOnMs);
    const course = courseDrain(device);
    const life = connectedLife(device);
    const lost = selfDischargeAddition(device.batteryMah, life.honest, device.selfDischargePercentPerMonth);
    return {
      figures: {
        messageUah: compared('Charge of a message', 'µAh', charge, charge),
        drainMahPerDay: summed('Drain a day', 'mAh', course, [...connectedAdditions(device), ...lost]),
        lifeDays: compared('Battery life', 'd', life.course, life.honest),
        bareModuleLifeDays: compared(
          'Battery life on a bare module',
          'd',
          null,
          connectedLife({ ...device, boardMa: 0 }).honest,
        ),
      },
      notes: [
        "The course's figure counts the radio's transmit time alone: a device that stays connected never stops listening.",
      ],
    };
  },
});

/** The inverse of {@link battery}: the time between messages for a wanted life. */
export const publishInterval = defineCalculator({
  id: 'publish-interval',
  title: 'Publish interval for a wanted battery life',
  question: 'How often may a device that stays connected publish, if its battery is to last?',
  inputs: {
    lifeDays: quantity('d', 0.01, 7_300, 'How long the battery is to last').default(730),
    batteryMah: batteryInputs.batteryMah,
    ...connectedInputs,
  },
  calculate: (input) => {
    const device = { ...input, radioOnMs: input.radioOnMs ?? COURSE_RADIO_ON_MS[input.qos] };
    const { batteryMah, radioMa, radioOnMs, idleMode, dtim, keepAliveSeconds, selfDischargePercentPerMonth } = device;
    const course =
      (SECONDS_PER_DAY * chargeUah(radioMa, radioOnMs)) / 1_000 / drainForLife(batteryMah, input.lifeDays, 0);
    const silentMah = (boardMa: number): number => 24 * (idleMa(idleMode, dtim) + boardMa);
    const silentLife = (boardMa: number): number => {
      const pings = (SECONDS_PER_DAY / keepAliveSeconds) * pingMsOf(device);
      const extra = ((radioMa - idleMa(idleMode, dtim)) * pings) / 3_600_000;
      return lifeDays(batteryMah, silentMah(boardMa) + extra, selfDischargePercentPerMonth);
    };
    const interval = (boardMa: number): number | null => {
      const spare = drainForLife(batteryMah, input.lifeDays, selfDischargePercentPerMonth) - silentMah(boardMa);
      const radioMsPerDay = (spare / (radioMa - idleMa(idleMode, dtim))) * 3_600_000;
      return intervalFor(radioMsPerDay, device);
    };
    const honest = interval(input.boardMa);
    return {
      figures: {
        intervalSeconds: compared('Publish at most every', 's', Math.max(course, radioOnMs / 1_000), honest),
        bareModuleIntervalSeconds: compared('On a bare module', 's', null, interval(0)),
        silentMahPerDay: summed('Drain a day without a message or a ping', 'mAh', null, [
          idleAddition(idleMode, dtim, 24),
          ...boardAddition(input.boardMa),
          ...selfDischargeAddition(batteryMah, input.lifeDays, selfDischargePercentPerMonth),
        ]),
        silentLifeDays: compared('Battery life without a message', 'd', null, silentLife(input.boardMa)),
      },
      notes:
        honest === null
          ? [
              `No interval is long enough: connected and silent, the battery is empty after ${formatted(silentLife(input.boardMa))} d. Deep sleep is the way: see heartbeat.`,
            ]
          : [],
    };
  },
});

/** Seconds between messages that use so much radio time a day, pings included; null where pings alone use more. */
function intervalFor(radioMsPerDay: number, device: RadioUse): number | null {
  const { radioOnMs, keepAliveSeconds } = device;
  if (radioMsPerDay <= 0) return null;
  const interval = (SECONDS_PER_DAY * radioOnMs) / radioMsPerDay;
  if (interval <= keepAliveSeconds) return Math.max(interval, radioOnMs / 1_000);
  // Beyond the keep-alive each message that is left out is replaced by a ping, which may cost as much.
  const saved = radioOnMs - pingMsOf(device);
  const spare = radioMsPerDay - (SECONDS_PER_DAY / keepAliveSeconds) * pingMsOf(device);
  return saved === 0 || spare <= 0 ? null : (SECONDS_PER_DAY * saved) / spare;
}
