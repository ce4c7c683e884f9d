import { choice, compared, count, defineCalculator, formatted, quantity, summed, type Addition } from './calculator.ts';
import { chargeUah, COURSE_RADIO_MA, COURSE_RADIO_ON_MS } from './power.ts';

const SECONDS_PER_DAY = 86_400;
/** The client library of Mosquitto refuses less (mosquitto-dev, September 2023). */
const SHORTEST_SECONDS = 5;
/** Two bytes of CONNECT (MQTT 5, section 3.1.2.10); 0 would turn the keep-alive off. */
const LONGEST_SECONDS = 65_535;
/** MQTT 5 and 3.1.1, section 3.1.2.10: the broker waits one and a half times the keep-alive. */
const SPECIFIED_FACTOR = 1.5;
/** mqtt-pitfalls B10: the will of a silent client came after 0.8 to 1.7 × keep-alive (Mosquitto 2.0.11 and 2.1.2). */
const MEASURED_FACTORS = { earliest: 0.8, latest: 1.7 } as const;
/** mqtt-pitfalls B10: 6 to 13 ms after kill -9, because the system closes the connection. */
const KILLED_SECONDS = 0.013;
/** The course: "Set very short keep-alive (<30s)" is a don't. */
const COURSE_SHORTEST_SECONDS = 30;
/** The course: "Use large LWT messages (keep <100 bytes)" is a don't. */
const COURSE_LARGEST_WILL_BYTES = 100;
/** RFC 5382, REQ-5: a NAT keeps an idle established connection for at least 2 hours 4 minutes. */
const NAT_SECONDS = 7_440;

/** Bytes of PINGREQ and PINGRESP (MQTT 5, sections 3.12 and 3.13). */
const PING_BYTES = 2 + 2;
/** A header of IPv4 and one of TCP without options (RFC 791, RFC 9293): ping, answer, and its acknowledgement. */
const PACKET_BYTES = 3 * (20 + 20);
/** A TLS 1.3 record adds header, content type and tag (RFC 8446, section 5.2): one each way. */
const TLS_BYTES = 2 * (5 + 1 + 16);

const sharedInputs = {
  devices: count(1, 10_000_000, 'Devices').default(1),
  messageIntervalSeconds: quantity(
    's',
    0.1,
    2_592_000,
    'Time between two messages of a device: a message takes the place of a ping',
  ).optional(),
  willDelaySeconds: quantity('s', 0, 86_400, 'Will Delay Interval of MQTT 5').default(0),
  willBytes: count(0, 65_535, 'Payload of the will', 'B').default(7),
  security: choice(['tls', 'none'], 'How clients connect').default('tls'),
  radioMa: quantity('mA', 1, 1_000, 'Current while the radio is on').default(COURSE_RADIO_MA),
  pingMs: quantity('ms', 1, 60_000, 'How long a ping keeps the radio on; assumed as a message at QoS 0').default(
    COURSE_RADIO_ON_MS[0],
  ),
};

const DELAY_SOURCE =
  'measured: the will of a silent client comes up to 1.7 × keep-alive after it (Mosquitto 2.0.11, 2.1.2)';

function detectionAdditions(keepAliveSeconds: number, willDelaySeconds: number): readonly Addition[] {
  const late = (MEASURED_FACTORS.latest - SPECIFIED_FACTOR) * keepAliveSeconds;
  return [{ name: 'the broker looks late', amount: late, source: DELAY_SOURCE }, ...willDelay(willDelaySeconds)];
}

function willDelay(amount: number): readonly Addition[] {
  if (amount === 0) return [];
  return [
    { name: 'will delay', amount, source: 'MQTT 5, section 3.1.3.2.2: the will waits for the device to come back' },
  ];
}

function warnings(keepAliveSeconds: number, willBytes: number): readonly string[] {
  return [
    ...(keepAliveSeconds < COURSE_SHORTEST_SECONDS
      ? ['The course advises against less than 30 s: a short loss of Wi-Fi becomes a lost device.']
      : []),
    ...(keepAliveSeconds > NAT_SECONDS
      ? ['A router may forget the connection before a ping passes: 2 h 4 min is the least that RFC 5382 asks of it.']
      : []),
    ...(willBytes >= COURSE_LARGEST_WILL_BYTES
      ? ['The course advises a will below 100 bytes; its text is fixed when the device connects.']
      : []),
  ];
}

/** The course's "MQTT Keep-Alive and LWT Timeout Planner" (detection after 1.5 × keep-alive). */
export const keepAlive = defineCalculator({
  id: 'keep-alive',
  title: 'Keep-alive and will timeout',
  question: 'After what time is a silent device seen to be lost, and what do its pings cost?',
  inputs: {
    keepAliveSeconds: count(SHORTEST_SECONDS, LONGEST_SECONDS, 'Keep-alive', 's').default(60),
    ...sharedInputs,
  },
  calculate: (input) => {
    const { keepAliveSeconds, devices, messageIntervalSeconds, willDelaySeconds } = input;
    const messages = messageIntervalSeconds === undefined ? 0 : SECONDS_PER_DAY / messageIntervalSeconds;
    const coursePings = SECONDS_PER_DAY / keepAliveSeconds;
    const pings = Math.max(0, coursePings - messages);
    const adds = detectionAdditions(keepAliveSeconds, willDelaySeconds);
    const bytes = pings * PING_BYTES;
    return {
      figures: {
        detectionSeconds: summed(
          'A silent device is lost at the latest after',
          's',
          SPECIFIED_FACTOR * keepAliveSeconds,
          adds,
        ),
        earliestDetectionSeconds: summed('At the earliest after', 's', null, [
          {
            name: `${MEASURED_FACTORS.earliest} × keep-alive`,
            amount: MEASURED_FACTORS.earliest * keepAliveSeconds,
            source: 'measured: the device may have been silent for a while when it is lost (Mosquitto 2.0.11, 2.1.2)',
          },
          ...willDelay(willDelaySeconds),
        ]),
        killedProcessSeconds: summed('A process that is killed is lost after', 's', null, [
          {
            name: 'its system closes the connection',
            amount: KILLED_SECONDS,
            source: 'measured: 6 to 13 ms after kill -9 (Mosquitto 2.0.11, 2.1.2)',
          },
          ...willDelay(willDelaySeconds),
        ]),
        pingsPerDay: compared('Pings a day and device', '', coursePings, pings),
        pingBytesPerDay: summed('Bytes of pings a day and device', 'B', bytes, [
          {
            name: 'headers of IP and TCP',
            amount: pings * PACKET_BYTES,
            source: 'RFC 791 and 9293: 3 packets of 40 bytes',
          },
          ...(input.security === 'none'
            ? []
            : [{ name: 'TLS records', amount: pings * TLS_BYTES, source: 'RFC 8446, section 5.2: 22 bytes each way' }]),
        ]),
        pingMahPerDay: summed('Charge of pings a day and device', 'mAh', null, [
          {
            name: `${formatted(input.pingMs)} ms at ${formatted(input.radioMa)} mA for each`,
            amount: (pings * chargeUah(input.radioMa, input.pingMs)) / 1_000,
            source: "assumed: a ping keeps the radio on as long as the course's message at QoS 0; pingMs, radioMa",
          },
        ]),
        pingsPerSecond: compared('Pings a second at the broker', '', null, (devices * pings) / SECONDS_PER_DAY),
      },
      notes: warnings(keepAliveSeconds, input.willBytes),
    };
  },
});

/** The inverse of {@link keepAlive}: the keep-alive for a wanted detection. */
export const detection = defineCalculator({
  id: 'detection',
  title: 'Keep-alive for a wanted detection',
  question: 'Which keep-alive lets a silent device be seen as lost within a time?',
  inputs: {
    withinSeconds: quantity('s', 1, 131_070, 'A silent device is to be lost within this time').default(90),
    willDelaySeconds: sharedInputs.willDelaySeconds,
  },
  calculate: ({ withinSeconds, willDelaySeconds }) => {
    const seconds = (factor: number, delaySeconds: number): number | null => {
      // A product such as 1.7 × 60 may lie a rounding error above what was asked for.
      const fits = Math.floor((withinSeconds - delaySeconds) / factor + 1e-9);
      return fits < SHORTEST_SECONDS ? null : Math.min(fits, LONGEST_SECONDS);
    };
    const honest = seconds(MEASURED_FACTORS.latest, willDelaySeconds);
    return {
      figures: {
        keepAliveSeconds: compared('Keep-alive', 's', seconds(SPECIFIED_FACTOR, 0), honest),
        detectionSeconds:
          honest === null
            ? compared('A silent device is then lost at the latest after', 's', null, null)
            : summed(
                'A silent device is then lost at the latest after',
                's',
                SPECIFIED_FACTOR * honest,
                detectionAdditions(honest, willDelaySeconds),
              ),
        pingsPerDay: compared('Pings a day and device', '', null, honest === null ? null : SECONDS_PER_DAY / honest),
      },
      notes:
        honest === null
          ? [
              `No keep-alive is that short: ${SHORTEST_SECONDS} s is the shortest that is asked for here, and the will may come after ${formatted(MEASURED_FACTORS.latest)} times as long.`,
            ]
          : warnings(honest, 0),
    };
  },
});
