import { choice, compared, count, defineCalculator, formatted, quantity, summed } from './calculator.ts';

/** The course's formula: required connections = devices × 1.2 + backend services × 2 + monitoring × 3. */
const CONNECTIONS = { device: 1.2, service: 2, monitor: 3 } as const;
/** The course: alert when 80 % of the limit are used. */
const ALERT_SHARE = 0.8;
/** The course: 2 to 10 KB for the state of each connection; the upper end. */
const COURSE_CONNECTION_BYTES = 10_240;
const MEGABYTE = 1_048_576;

/**
 * Microseconds of a core that Mosquitto spends on a message, with one subscriber that takes everything and with four
 * (mqtt-pitfalls B4, Mosquitto 2.0.11 and 2.1.2 on loopback).
 */
const MESSAGE_MICROSECONDS = { 0: { one: 6, four: 35 }, 1: { one: 12, four: 40 } } as const;
/** mqtt-pitfalls B14: 300,000 queued messages took 121 MB. */
const QUEUED_MESSAGE_BYTES = (121 * MEGABYTE) / 300_000;
/** Mosquitto's max_queued_messages (mqtt-pitfalls B1). */
const DEFAULT_QUEUE_MESSAGES = 1_000;
/**
 * Measured on Mosquitto 2.0.11 with OpenSSL 3.0.19 (Xeon, 2 cores): 2,000 and 5,000 clients of MQTT 3.1.1, each with an
 * account of one PBKDF2 round, a will, one subscription and no traffic; TLS 1.3 with a P-256 certificate and no resumed
 * sessions. Without TLS 2.0 to 2.1 KB and 0.08 ms of processor for each, with TLS 15.8 to 16.5 KB and 1.1 to 1.2 ms; the
 * broker had 8 files open and took 9 to 10 MB before the first client came.
 */
const CONNECTION_BYTES = { none: 2.1 * 1_024, tls: 16.5 * 1_024 } as const;
const CONNECT_MS = { none: 0.08, tls: 1.2 } as const;
const BROKER_FILES = 8;
const BROKER_BYTES = 10 * MEGABYTE;
const MEASURED = 'measured on Mosquitto 2.0.11 with 5,000 idle clients that have an account and a will';

/** Microseconds of a core for a message; between and beyond one and four subscribers on a straight line. */
export function brokerMicroseconds(qos: 0 | 1, subscribers: number): number {
  const { one, four } = MESSAGE_MICROSECONDS[qos];
  return one + ((four - one) / 3) * (subscribers - 1);
}

const loadInputs = {
  services: count(0, 10_000, 'Backend services').default(5),
  monitors: count(0, 10_000, 'Monitoring tools').default(2),
  connectionLimit: count(
    1,
    10_000_000,
    'What the broker may open: max_connections, or the open files of its process, 1,024 on most systems',
  ).default(1_024),
  messageIntervalSeconds: quantity('s', 0.1, 2_592_000, 'Time between two messages of a device').default(60),
  qos: choice([0, 1], 'Quality of service; 2 was not measured').default(1),
  subscribers: count(1, 100, 'Clients that take every message').default(1),
  security: choice(['tls', 'none'], 'How clients connect').default('tls'),
};

interface Load {
  readonly services: number;
  readonly monitors: number;
  readonly messageIntervalSeconds: number;
  readonly qos: 0 | 1;
  readonly subscribers: number;
  readonly security: 'tls' | 'none';
}

/** Connections by the course's formula. */
function courseConnections(devices: number, { services, monitors }: Load): number {
  return devices * CONNECTIONS.device + services * CONNECTIONS.service + monitors * CONNECTIONS.monitor;
}

/** Share of one core, in percent. */
function processorPercent(devices: number, { messageIntervalSeconds, qos, subscribers }: Load): number {
  return ((devices / messageIntervalSeconds) * brokerMicroseconds(qos, subscribers)) / 10_000;
}

/** The course's "MQTT Broker Capacity Planner" (1,000 devices, 5 services, 2 monitors: 1,216 connections). */
export const capacity = defineCalculator({
  id: 'capacity',
  title: 'Broker capacity',
  question: 'Which connections, memory and processor does a broker need for a fleet?',
  inputs: {
    devices: count(0, 10_000_000, 'Devices').default(1_000),
    ...loadInputs,
    outageSeconds: quantity('s', 0, 604_800, 'How long a service may be away; its QoS 1 messages queue').default(60),
    queueMessages: count(0, 100_000_000, "Mosquitto's max_queued_messages").default(DEFAULT_QUEUE_MESSAGES),
  },
  calculate: (input) => {
    const { devices, connectionLimit, security, outageSeconds, queueMessages } = input;
    const connections = courseConnections(devices, input);
    const needed = summed('Connections', '', Math.ceil(connections - 1e-9), [
      { name: "the broker's own files", amount: BROKER_FILES, source: MEASURED },
    ]);
    const alert = Math.floor(ALERT_SHARE * connectionLimit);
    const files = needed.honest;
    const queued = input.qos === 0 ? 0 : Math.ceil((devices * outageSeconds) / input.messageIntervalSeconds - 1e-9);
    const kept = Math.min(queued, queueMessages);
    const microseconds = brokerMicroseconds(input.qos, input.subscribers);
    const processor = processorPercent(devices, input);
    return {
      figures: {
        connections: needed,
        alertConnections: compared('Alert from', '', alert, alert),
        limitPercent: compared(
          'Share of the limit',
          '%',
          (connections / connectionLimit) * 100,
          (files / connectionLimit) * 100,
        ),
        memoryMegabytes: summed('Memory', 'MB', (connections * COURSE_CONNECTION_BYTES) / MEGABYTE, [
          {
            name: `${formatted(CONNECTION_BYTES[security] / 1_024)} KB a connection instead of 10`,
            amount: (connections * (CONNECTION_BYTES[security] - COURSE_CONNECTION_BYTES)) / MEGABYTE,
            source: MEASURED,
          },
          { name: 'the broker itself', amount: BROKER_BYTES / MEGABYTE, source: MEASURED },
          {
            name: 'what queues while a service is away',
            amount: (kept * QUEUED_MESSAGE_BYTES) / MEGABYTE,
            source: 'measured: 300,000 queued messages took 121 MB',
          },
        ]),
        messagesPerSecond: compared('Messages a second', '', null, devices / input.messageIntervalSeconds),
        processorPercent: summed('Share of one core', '%', null, [
          {
            name: `${formatted(microseconds)} µs a message`,
            amount: processor,
            source: 'measured on Mosquitto 2.0.11 and 2.1.2 at QoS 0 and 1, with one and four subscribers',
          },
        ]),
        reconnectSeconds: summed('All devices connect again in', 's', null, [
          {
            name: `${formatted(CONNECT_MS[security])} ms a connection`,
            amount: (devices * CONNECT_MS[security]) / 1_000,
            source: `${MEASURED}; what devices and network take comes on top`,
          },
        ]),
        queuedMessages: compared('Messages that queue for a service', '', null, queued),
        lostMessages: compared('Of these lost, silently', '', null, queued - kept),
      },
      notes: [
        ...(files > ALERT_SHARE * connectionLimit
          ? [
              'More than 80 % of the limit: raise LimitNOFILE (and max_connections, if it is set) before devices are refused.',
            ]
          : []),
        ...(processor > 100
          ? ['More than one core, and Mosquitto uses one: more brokers, each with a part of the fleet.']
          : []),
        ...(queued > queueMessages
          ? [
              'What does not fit into max_queued_messages is dropped, and the publisher has its PUBACK: raise it to a large finite number.',
            ]
          : []),
        ...(devices > queueMessages
          ? [
              'When the network fails, the wills of all devices come at once and do not fit into the queue of a subscriber.',
            ]
          : []),
        'After a restart all devices come back at once (reconnect storm): let each wait for a random time before it connects again.',
      ],
    };
  },
});

/** The inverse of {@link capacity}: the devices that a broker takes. */
export const fleetSize = defineCalculator({
  id: 'fleet-size',
  title: 'Devices within the limits of a broker',
  question: 'How many devices does one broker take?',
  inputs: {
    ...loadInputs,
    processorPercent: quantity('%', 1, 100, 'Share of a core that messages may use').default(50),
    reconnectSeconds: quantity('s', 1, 86_400, 'Time in which all devices are to be back after a restart').default(60),
  },
  calculate: (input) => {
    const { connectionLimit, security } = input;
    const fixed = courseConnections(0, input);
    const fit = (limit: number, perDevice: number): number => Math.max(0, Math.floor(limit / perDevice + 1e-9));
    const byConnections = fit(Math.floor(ALERT_SHARE * connectionLimit) - BROKER_FILES - fixed, CONNECTIONS.device);
    const byProcessor = fit(input.processorPercent, processorPercent(1, input));
    const byReconnect = fit(input.reconnectSeconds * 1_000, CONNECT_MS[security]);
    const course = fit(connectionLimit - fixed, CONNECTIONS.device);
    return {
      figures: {
        devices: compared('Devices', '', course, Math.min(byConnections, byProcessor, byReconnect)),
        devicesByConnections: compared('Devices by connections, up to the alert at 80 %', '', course, byConnections),
        devicesByProcessor: compared('Devices by processor', '', null, byProcessor),
        devicesByReconnect: compared('Devices by connecting again', '', null, byReconnect),
      },
      notes: ['The smallest of the three limits counts.'],
    };
  },
});
