import { choice, compared, defineCalculator, formatted, quantity, summed, type Addition } from './calculator.ts';
import { DTIM_PERIODS, IDLE_MODES, IDLE_SOURCE, idleMa } from './power.ts';

const SECONDS_PER_DAY = 86_400;
/** The course's table of QoS levels: about 5, 15 and 30 ms from publisher to subscriber. */
const COURSE_DELIVERY_MS = { 0: 5, 1: 15, 2: 30 } as const;
/**
 * mqtt-pitfalls B5: 1,000 sequential messages took 44 to 60 s without TCP_NODELAY: Nagle holds the second message of a
 * sketch (motion, then ON) until the first is acknowledged.
 */
const NAGLE_MS = { typical: 44, worst: 60 } as const;
/** Motion on and off, light on and off, and the state of the light for each of the two. */
const MESSAGES_PER_EVENT = 6;
/** Of USB, which feeds both boards of the lab. */
const SUPPLY_VOLTS = 5;
const BOARDS = 2;

const latencyInputs = {
  /** The course's sketch ends its loop with delay(200). */
  pollMs: quantity('ms', 0, 60_000, 'Time between two looks at the sensor; 0 with an interrupt').default(200),
  qos: choice([0, 1, 2], 'Quality of service of the command').default(0),
  automationMs: quantity(
    'ms',
    0,
    60_000,
    'Time in a rule between motion and command; 0 where the sensor commands the light, as in the course',
  ).default(0),
  tcpNoDelay: choice(
    ['no', 'yes'],
    'Whether the sensor sets TCP_NODELAY; without it the command waits behind the motion',
  ).default('no'),
  idleMode: choice(IDLE_MODES, "How both boards save power; the ESP32's default is modem sleep").default('modem-sleep'),
  dtim: choice(DTIM_PERIODS, 'DTIM period of the access point, in beacons').default(1),
  /** 100 time units of 1,024 µs (IEEE 802.11): what access points use unless they are told otherwise. */
  beaconMs: quantity('ms', 10, 2_000, 'Time between two beacons of the access point').default(102.4),
};

interface LatencyInput {
  readonly qos: 0 | 1 | 2;
  readonly automationMs: number;
  readonly tcpNoDelay: 'yes' | 'no';
  readonly dtim: 1 | 3 | 10;
  readonly beaconMs: number;
}

/** What comes to the course's delivery time until the light is on, apart from polling; `typical` or at `worst`. */
function delays(input: LatencyInput, which: 'typical' | 'worst'): readonly Addition[] {
  const waitMs = input.beaconMs * input.dtim;
  const all: readonly Addition[] = [
    {
      name: 'the command waits behind the motion message (Nagle)',
      amount: input.tcpNoDelay === 'yes' ? 0 : NAGLE_MS[which],
      source: 'measured: 44 to 60 ms for each of 1,000 messages that waited for the one before, without TCP_NODELAY',
    },
    {
      name: `the light's radio sleeps until DTIM ${input.dtim}`,
      amount: which === 'worst' ? waitMs : waitMs / 2,
      source:
        'ESP-IDF: a station in modem sleep wakes at each DTIM; beaconMs is assumed, 100 time units of IEEE 802.11',
    },
    { name: 'rule', amount: input.automationMs, source: 'given as automationMs' },
  ];
  return all.filter(({ amount }) => amount > 0);
}

/** The course's "Motion-to-Light Automation Timing". */
export const motionLight = defineCalculator({
  id: 'motion-light',
  title: 'Timing from motion to light',
  question: 'How soon is the light on, how long does it stay on, and what does it use?',
  inputs: {
    ...latencyInputs,
    /** Data sheets of the HC-SR501: adjustable from 0.3 s to 5 min. */
    pirHoldSeconds: quantity(
      's',
      0.3,
      600,
      'How long the sensor stays high after the last motion (repeatable trigger); HC-SR501: 0.3 s to 5 min',
    ).default(3),
    /** Data sheets of the HC-SR501: 2.5 s; Elegoo's manual says about 3 s. */
    pirBlindSeconds: quantity('s', 0, 60, 'How long the sensor sees nothing after that; HC-SR501: 2.5 s').default(2.5),
    motionSeconds: quantity('s', 0, 86_400, 'How long somebody moves').default(120),
    offDelaySeconds: quantity('s', 0, 86_400, 'AUTO_OFF_DELAY').default(30),
    eventsPerDay: quantity('', 0, 10_000, 'How often somebody comes').default(20),
    lampWatts: quantity('W', 0, 10_000, 'Power of the lamp; assumed').default(9),
    boardMa: quantity('mA', 0, 500, "What each board draws besides its ESP32: 3.8 on Espressif's DevKitC V4").default(
      3.8,
    ),
  },
  calculate: (input) => {
    const { pollMs, qos, pirHoldSeconds, motionSeconds, offDelaySeconds, eventsPerDay, lampWatts } = input;
    const highSeconds = motionSeconds + pirHoldSeconds;
    // S1: the sketch counts from the start of motion, and looks only when the sensor is low.
    const courseOn = Math.max(highSeconds, offDelaySeconds);
    const honestOn = highSeconds + offDelaySeconds;
    const hoursPerDay = (onSeconds: number): number => Math.min(24, (eventsPerDay * onSeconds) / 3_600);
    const courseWh = lampWatts * hoursPerDay(courseOn);
    const boardMa = idleMa(input.idleMode, input.dtim) + input.boardMa;
    const idleSeconds = Math.max(0, SECONDS_PER_DAY - eventsPerDay * courseOn);
    const repeated = pollMs < 1 ? 0 : (idleSeconds * 2_000) / pollMs;
    return {
      figures: {
        typicalLatencyMs: summed(
          'Light on, typically after',
          'ms',
          pollMs / 2 + COURSE_DELIVERY_MS[qos],
          delays(input, 'typical'),
        ),
        worstLatencyMs: summed(
          'Light on, at the latest after',
          'ms',
          pollMs + COURSE_DELIVERY_MS[qos],
          delays(input, 'worst'),
        ),
        onSeconds: summed('Light on for', 's', courseOn, [
          {
            name: 'the delay runs from the last motion, not from the first',
            amount: honestOn - courseOn,
            source: "the course's sketch starts its timer when motion starts",
          },
        ]),
        stillSeconds: compared(
          'Somebody who sits still has light for',
          's',
          courseOn - motionSeconds,
          honestOn - motionSeconds,
        ),
        blindSeconds: compared('The sensor then sees nothing for', 's', null, input.pirBlindSeconds),
        lampWhPerDay: summed('Energy a day', 'Wh', courseWh, [
          {
            name: 'lamp, off later',
            amount: lampWatts * hoursPerDay(honestOn) - courseWh,
            source: 'the delay after the last motion',
          },
          {
            name: `both boards, ${formatted(boardMa)} mA each at ${SUPPLY_VOLTS} V`,
            amount: (BOARDS * boardMa * SUPPLY_VOLTS * 24) / 1_000,
            source: IDLE_SOURCE,
          },
        ]),
        messagesPerDay: summed('Messages a day', '', eventsPerDay * MESSAGES_PER_EVENT + repeated, [
          {
            name: 'OFF, and the state of the light, at every look while nobody is there',
            amount: -repeated,
            source:
              "the course's sketch adds 1,000,000 to an unsigned time, and the difference wraps; OFF is sent once",
          },
        ]),
      },
      notes: [
        ...(eventsPerDay * honestOn > SECONDS_PER_DAY ? ['So many events keep the light on all day.'] : []),
        ...(input.pirBlindSeconds >= offDelaySeconds
          ? ['The light can go off while the sensor is blind: let the delay be longer than that.']
          : []),
      ],
    };
  },
});

/** The inverse of {@link motionLight}: the poll interval for a wanted latency. */
export const pollInterval = defineCalculator({
  id: 'poll-interval',
  title: 'Poll interval for a wanted latency',
  question: 'How often must the sensor be read, if the light is to be on within a time?',
  inputs: {
    withinMs: quantity('ms', 1, 60_000, 'The light is to be on at the latest after this time').default(300),
    qos: latencyInputs.qos,
    automationMs: latencyInputs.automationMs,
    tcpNoDelay: latencyInputs.tcpNoDelay,
    dtim: latencyInputs.dtim,
    beaconMs: latencyInputs.beaconMs,
  },
  calculate: (input) => {
    const spare = input.withinMs - COURSE_DELIVERY_MS[input.qos];
    const adds = delays(input, 'worst');
    const honest = adds.reduce((sum, { amount }) => sum - amount, spare);
    return {
      figures: {
        pollMs: compared('Look at the sensor every', 'ms', spare < 0 ? null : spare, honest < 0 ? null : honest),
        deliveryMs: summed('Of the time, after the look', 'ms', COURSE_DELIVERY_MS[input.qos], adds),
      },
      notes:
        honest < 0
          ? [
              'Even an interrupt is not fast enough: set TCP_NODELAY, a shorter DTIM period, or keep the radio of the light awake.',
            ]
          : [],
    };
  },
});
