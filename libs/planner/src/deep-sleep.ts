import { connectedLife } from './battery.ts';
import {
  choice,
  compared,
  defineCalculator,
  formatted,
  found,
  quantity,
  summed,
  type Addition,
  type Fault,
  type Figure,
} from './calculator.ts';
import {
  batteryForLife,
  batteryInputs,
  boardAddition,
  chargeUah,
  COURSE_RADIO_MA,
  COURSE_RADIO_ON_MS,
  drainForLife,
  lifeDays,
  selfDischargeAddition,
} from './power.ts';

const SECONDS_PER_DAY = 86_400;
/** The largest battery that a calculator takes, and so the largest that is worth an answer. */
const LARGEST_BATTERY_MAH = 1_000_000;
/** The course: "persistent session with keepalive = 5 min". */
const COURSE_KEEP_ALIVE_SECONDS = 300;

const phaseMs = (about: string): ReturnType<typeof quantity> => quantity('ms', 0, 60_000, `Time for ${about}`);
/** An ESP32 that is awake draws more than 5 mA, so a phase always costs more than sleeping through it. */
const phaseMa = (about: string): ReturnType<typeof quantity> => quantity('mA', 5, 1_000, `Current for ${about}`);

const wakeIntervalSeconds = quantity('s', 1, 2_592_000, 'Time between two wakes, each with one message').default(60);
const wantedLifeDays = quantity('d', 0.01, 7_300, 'How long the battery is to last').default(730);

/** Times and currents of the phases: the course's "Deep sleep scenario"; boot, TLS and sleep are what it leaves out. */
const wakeInputs = {
  qos: choice([0, 1, 2], 'Quality of service').default(0),
  scanMs: phaseMs('the scan of channels').default(200),
  scanMa: phaseMa('the scan of channels').default(80),
  associateMs: phaseMs('association and DHCP').default(1_500),
  associateMa: phaseMa('association and DHCP').default(100),
  tcpMs: phaseMs('the TCP handshake').default(150),
  tcpMa: phaseMa('the TCP handshake').default(80),
  connectMs: phaseMs('CONNECT and CONNACK').default(100),
  connectMa: phaseMa('CONNECT and CONNACK').default(80),
  publishMs: quantity('ms', 1, 60_000, 'Time for the message; by QoS 50, 150 or 300 unless given').optional(),
  publishMa: quantity('mA', 35, 1_000, 'Current for the message').default(COURSE_RADIO_MA),
  /** Thorsten von Eicken, "ESP32 Deep-Sleep with Periodic Wake-up" (2018): about 270 ms before setup() runs. */
  bootMs: phaseMs('the boot after deep sleep, before the sketch runs').default(270),
  /** lucidar.me: an ESP32-DevKitC V4 awake without Wi-Fi takes 43 mA. */
  bootMa: phaseMa('the boot after deep sleep').default(43),
  /** micropython-esp32 issue 131: 1.18 to 1.28 s on an ESP32; esp-idf issue 8852: up to 2.5 s with a client certificate. */
  tlsMs: phaseMs('the TLS handshake; 0 without TLS').default(1_200),
  tlsMa: phaseMa('the TLS handshake').default(100),
  /** ESP-IDF Programming Guide, "Introduction to Low Power Mode in Wi-Fi Scenarios": 5 µA for the ESP32. */
  sleepUa: quantity('µA', 0.1, 1_000, 'Current of the chip in deep sleep').default(5),
  boardMa: batteryInputs.boardMa,
  selfDischargePercentPerMonth: batteryInputs.selfDischargePercentPerMonth,
};

interface Phases {
  readonly qos: 0 | 1 | 2;
  readonly scanMs: number;
  readonly scanMa: number;
  readonly associateMs: number;
  readonly associateMa: number;
  readonly tcpMs: number;
  readonly tcpMa: number;
  readonly connectMs: number;
  readonly connectMa: number;
  readonly publishMs?: number | undefined;
  readonly publishMa: number;
  readonly bootMs: number;
  readonly bootMa: number;
  readonly tlsMs: number;
  readonly tlsMa: number;
}

/** What one wake takes. */
interface Wake {
  readonly wifiUah: number;
  readonly mqttUah: number;
  readonly messageUah: number;
  /** Of the three, as the course adds them. */
  readonly courseUah: number;
  readonly bootUah: number;
  readonly tlsUah: number;
  readonly publishMs: number;
  readonly awakeSeconds: number;
}

/** The course rounds each step to 0.01 µAh before it adds: 3.33 + 2.22 = 5.55, and not 5.56. */
function sumOfSteps(...stepsUah: readonly number[]): number {
  return stepsUah.reduce((sum, step) => sum + Math.round(step * 100), 0) / 100;
}

function wakeOf(phases: Phases): Wake {
  const publishMs = phases.publishMs ?? COURSE_RADIO_ON_MS[phases.qos];
  const wifiUah = sumOfSteps(
    chargeUah(phases.scanMa, phases.scanMs),
    chargeUah(phases.associateMa, phases.associateMs),
  );
  const mqttUah = sumOfSteps(chargeUah(phases.tcpMa, phases.tcpMs), chargeUah(phases.connectMa, phases.connectMs));
  const messageUah = sumOfSteps(chargeUah(phases.publishMa, publishMs));
  const { scanMs, associateMs, tcpMs, connectMs, bootMs, tlsMs } = phases;
  return {
    wifiUah,
    mqttUah,
    messageUah,
    courseUah: sumOfSteps(wifiUah, mqttUah, messageUah),
    bootUah: chargeUah(phases.bootMa, bootMs),
    tlsUah: chargeUah(phases.tlsMa, tlsMs),
    publishMs,
    awakeSeconds: (scanMs + associateMs + tcpMs + connectMs + publishMs + bootMs + tlsMs) / 1_000,
  };
}

const BOOT_SOURCE = 'about 270 ms (von Eicken, ESP32 Deep-Sleep with Periodic Wake-up) at 43 mA (lucidar.me)';
const TLS_SOURCE = '1.2 s measured (micropython-esp32 issue 131), assumed at 100 mA; tlsMs is 0 without TLS';

function wakeFigure(wake: Wake): Figure {
  return summed('A wake', 'µAh', wake.courseUah, [
    { name: 'boot', amount: wake.bootUah, source: BOOT_SOURCE },
    ...(wake.tlsUah === 0 ? [] : [{ name: 'TLS handshake', amount: wake.tlsUah, source: TLS_SOURCE }]),
  ]);
}

function sleepAddition(sleepUa: number, hours: number): Addition {
  return {
    name: `chip in deep sleep, ${sleepUa} µA`,
    amount: (hours * sleepUa) / 1_000,
    source: 'ESP-IDF Programming Guide, Low Power Mode in Wi-Fi Scenarios: 5 µA',
  };
}

/** What a day of sleeping and waking draws besides the course's wakes, in mAh, without self-discharge. */
function sleepingAdditions(
  wake: Wake,
  wakesPerDay: number,
  { sleepUa, boardMa }: { readonly sleepUa: number; readonly boardMa: number },
): readonly Addition[] {
  const asleepHours = 24 - (wakesPerDay * wake.awakeSeconds) / 3_600;
  return [
    { name: 'boot at each wake', amount: (wakesPerDay * wake.bootUah) / 1_000, source: BOOT_SOURCE },
    ...(wake.tlsUah === 0
      ? []
      : [{ name: 'TLS handshake at each wake', amount: (wakesPerDay * wake.tlsUah) / 1_000, source: TLS_SOURCE }]),
    sleepAddition(sleepUa, asleepHours),
    ...boardAddition(boardMa),
  ];
}

/** A device cannot wake again before it has gone to sleep. */
function intervalFaults(input: Phases & { readonly wakeIntervalSeconds: number }): readonly Fault[] {
  const { awakeSeconds } = wakeOf(input);
  if (awakeSeconds <= input.wakeIntervalSeconds) return [];
  const message = `expected at least ${formatted(awakeSeconds)} s, which a wake takes; found ${found(input.wakeIntervalSeconds)}`;
  return [{ field: 'wakeIntervalSeconds', message }];
}

function drainOf(course: number, additions: readonly Addition[]): number {
  return additions.reduce((sum, { amount }) => sum + amount, course);
}

/** The course's "MQTT Deep Sleep Energy Calculator" (53.33 µAh a wake, 76.8 mAh a day, 26 days). */
export const deepSleep = defineCalculator({
  id: 'deep-sleep',
  title: 'Battery life with deep sleep',
  question: 'How long does a battery last when the device sleeps and connects anew for each message?',
  inputs: { batteryMah: batteryInputs.batteryMah, wakeIntervalSeconds, ...wakeInputs },
  check: intervalFaults,
  calculate: (input) => {
    const { batteryMah, boardMa, selfDischargePercentPerMonth } = input;
    const wake = wakeOf(input);
    const wakesPerDay = SECONDS_PER_DAY / input.wakeIntervalSeconds;
    const course = (wakesPerDay * wake.courseUah) / 1_000;
    const life = (board: number): number =>
      lifeDays(
        batteryMah,
        drainOf(course, sleepingAdditions(wake, wakesPerDay, { ...input, boardMa: board })),
        selfDischargePercentPerMonth,
      );
    const lost = selfDischargeAddition(batteryMah, life(boardMa), selfDischargePercentPerMonth);
    const connected = connectedLife({
      batteryMah,
      intervalSeconds: input.wakeIntervalSeconds,
      radioMa: input.publishMa,
      radioOnMs: wake.publishMs,
      idleMode: 'modem-sleep',
      dtim: 1,
      keepAliveSeconds: COURSE_KEEP_ALIVE_SECONDS,
      pingMs: COURSE_RADIO_ON_MS[0],
      boardMa,
      selfDischargePercentPerMonth,
    });
    return {
      figures: {
        wifiUah: compared('Wi-Fi of a wake', 'µAh', wake.wifiUah, wake.wifiUah),
        mqttUah: compared('MQTT set-up of a wake', 'µAh', wake.mqttUah, wake.mqttUah),
        messageUah: compared('Message of a wake', 'µAh', wake.messageUah, wake.messageUah),
        wakeUah: wakeFigure(wake),
        drainMahPerDay: summed('Drain a day', 'mAh', course, [...sleepingAdditions(wake, wakesPerDay, input), ...lost]),
        lifeDays: compared('Battery life', 'd', batteryMah / course, life(boardMa)),
        bareModuleLifeDays: compared('Battery life on a bare module', 'd', null, life(0)),
        connectedLifeDays: compared('Battery life if it stays connected', 'd', connected.course, connected.honest),
      },
      notes: [
        'The course lets a device that stays connected live on its transmit time alone; honestly, its Wi-Fi is what empties the battery (modem sleep, DTIM 1, keep-alive 300 s).',
      ],
    };
  },
});

/** The inverse of {@link deepSleep}: "what heartbeat for two years?" */
export const heartbeat = defineCalculator({
  id: 'heartbeat',
  title: 'Heartbeat for a wanted battery life',
  question: 'How often may a device that sleeps in between wake and report, if its battery is to last?',
  inputs: {
    lifeDays: wantedLifeDays,
    batteryMah: batteryInputs.batteryMah,
    changesPerDay: quantity('', 0, 86_400, 'Wakes a day for a change, besides the heartbeat').default(0),
    ...wakeInputs,
  },
  calculate: (input) => {
    const { batteryMah, changesPerDay, sleepUa, selfDischargePercentPerMonth } = input;
    const wake = wakeOf(input);
    const interval = (wakesPerDay: number): number | null =>
      wakesPerDay > changesPerDay ? Math.max(SECONDS_PER_DAY / (wakesPerDay - changesPerDay), wake.awakeSeconds) : null;
    const honestWakes = (boardMa: number): number => {
      const wakeUah = wake.courseUah + wake.bootUah + wake.tlsUah - (sleepUa * wake.awakeSeconds) / 3_600;
      const floorMah = 24 * (sleepUa / 1_000 + boardMa);
      return ((drainForLife(batteryMah, input.lifeDays, selfDischargePercentPerMonth) - floorMah) * 1_000) / wakeUah;
    };
    const wakesPerDay = honestWakes(input.boardMa);
    const honest = interval(wakesPerDay);
    const silentDays = lifeDays(batteryMah, 24 * (sleepUa / 1_000 + input.boardMa), selfDischargePercentPerMonth);
    return {
      figures: {
        heartbeatSeconds: compared(
          'Report at most every',
          's',
          interval((drainForLife(batteryMah, input.lifeDays, 0) * 1_000) / wake.courseUah),
          honest,
        ),
        bareModuleHeartbeatSeconds: compared('On a bare module', 's', null, interval(honestWakes(0))),
        wakeUah: wakeFigure(wake),
        silentMahPerDay: summed('Drain a day without a wake', 'mAh', null, [
          sleepAddition(sleepUa, 24),
          ...boardAddition(input.boardMa),
          ...selfDischargeAddition(batteryMah, input.lifeDays, selfDischargePercentPerMonth),
        ]),
        silentLifeDays: compared('Battery life without a wake', 'd', null, silentDays),
      },
      notes: [
        ...(wakesPerDay <= 0
          ? [`No heartbeat is long enough: asleep all the time, the battery is empty after ${formatted(silentDays)} d.`]
          : []),
        ...(wakesPerDay > 0 && honest === null
          ? [`The battery has charge for ${formatted(wakesPerDay)} wakes a day, and the changes need them all.`]
          : []),
      ],
    };
  },
});

/** The other inverse of {@link deepSleep}: the battery for a wanted life. */
export const batterySize = defineCalculator({
  id: 'battery-size',
  title: 'Battery for a wanted life with deep sleep',
  question: 'Which battery does a device need that sleeps between its messages?',
  inputs: { lifeDays: wantedLifeDays, wakeIntervalSeconds, ...wakeInputs },
  check: intervalFaults,
  calculate: (input) => {
    const wake = wakeOf(input);
    const wakesPerDay = SECONDS_PER_DAY / input.wakeIntervalSeconds;
    const course = (wakesPerDay * wake.courseUah) / 1_000;
    const { lifeDays: days, selfDischargePercentPerMonth } = input;
    const size = (boardMa: number): number | null => {
      const drain = drainOf(course, sleepingAdditions(wake, wakesPerDay, { ...input, boardMa }));
      const mah = batteryForLife(drain, days, selfDischargePercentPerMonth);
      return mah > LARGEST_BATTERY_MAH ? null : mah;
    };
    const honest = size(input.boardMa);
    return {
      figures: {
        batteryMah: compared('Battery', 'mAh', batteryForLife(course, days, 0), honest),
        bareModuleBatteryMah: compared('Battery on a bare module', 'mAh', null, size(0)),
        drainMahPerDay: summed('Drain a day', 'mAh', course, [
          ...sleepingAdditions(wake, wakesPerDay, input),
          ...(honest === null ? [] : selfDischargeAddition(honest, days, selfDischargePercentPerMonth)),
        ]),
      },
      notes: honest === null ? [`It would have more than ${formatted(LARGEST_BATTERY_MAH)} mAh.`] : [],
    };
  },
});
