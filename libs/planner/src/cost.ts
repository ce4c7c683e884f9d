import { brokerMicroseconds } from './capacity.ts';
import {
  choice,
  compared,
  count,
  defineCalculator,
  formatted,
  found,
  quantity,
  summed,
  type Addition,
  type Fault,
} from './calculator.ts';

const SECONDS_PER_DAY = 86_400;
/** The course counts months of 30 days. */
const DAYS_PER_MONTH = 30;
const MINUTES_PER_MONTH = DAYS_PER_MONTH * 1_440;
const MILLION = 1_000_000;
/** AWS IoT Core meters each message in steps of 5 KB (its pricing page, Messaging). */
const METERED_BYTES = 5_120;
/** Of a bill below a cent nothing can be saved. */
const CENT = 0.01;
const MOST_DEVICES = 10_000_000;
/** Above so many messages a month AWS charges less for each (its pricing page); a flat price is used here. */
const FIRST_TIER_MESSAGES = 1_000_000_000;

/** Up to the brokers the inputs of the course's Lab 1, publish on change; the others are what it leaves out. */
const costInputs = {
  sampleIntervalSeconds: quantity('s', 0.1, 86_400, 'Time between two samples; each is a message before').default(5),
  changesPerDay: quantity('', 0, 86_400, 'Changes a day of one device that are worth a message').default(72),
  heartbeatSeconds: quantity('s', 1, 2_592_000, 'A message at the latest after this time without a change').default(
    300,
  ),
  dollarsPerMillionMessages: quantity('$', 0, 1_000, 'Price of a million messages').default(1),
  brokerDollarsPerMonth: quantity(
    '$',
    0,
    1_000_000,
    'A month of the broker before; the course has an m5.large',
  ).default(70),
  reducedBrokerDollarsPerMonth: quantity(
    '$',
    0,
    1_000_000,
    'A month of the broker when messages are sent on change; the course has a t3.small',
  ).default(15),
  messageBytes: count(1, 131_072, 'Topic and payload of a message, which AWS meters in steps of 5 KB', 'B').default(50),
  /** AWS IoT Core meters what the service sends as it meters what it receives. */
  subscribers: count(0, 1_000, 'Clients to which each message is delivered').default(1),
  qos: choice([0, 1], 'Of the deliveries: at 1, AWS counts each acknowledgement of a client as a message').default(0),
  connectsPerDay: quantity('', 0, 86_400, 'Connections a day of one device; with deep sleep one for each wake').default(
    1,
  ),
  /** AWS IoT Core, pricing page, Connectivity: 0.08 dollars a million minutes. */
  dollarsPerMillionMinutes: quantity('$', 0, 1_000, 'Price of a million minutes of connection').default(0.08),
};
const devices = count(1, MOST_DEVICES, 'Devices').default(50);

interface Prices {
  readonly dollarsPerMillionMessages: number;
  readonly messageBytes: number;
  readonly subscribers: number;
  readonly qos: 0 | 1;
  readonly connectsPerDay: number;
  readonly dollarsPerMillionMinutes: number;
}

interface Traffic extends Prices {
  readonly sampleIntervalSeconds: number;
  readonly changesPerDay: number;
  readonly heartbeatSeconds: number;
}

const AWS = 'AWS IoT Core, pricing';

/** What a month costs for one device besides its messages and the broker, in dollars. */
function deviceAdditions(messagesPerMonth: number, prices: Prices): readonly Addition[] {
  const { dollarsPerMillionMessages, messageBytes, subscribers, qos, connectsPerDay } = prices;
  const price = dollarsPerMillionMessages / MILLION;
  const steps = Math.ceil(messageBytes / METERED_BYTES);
  const paid: readonly Addition[] = [
    {
      name: `deliveries, ${formatted(subscribers)} for each message`,
      amount: messagesPerMonth * steps * subscribers * price,
      source: `${AWS}: what the service sends is metered too; subscribers is assumed`,
    },
    {
      name: 'acknowledgements of subscribers at QoS 1',
      amount: qos === 0 ? 0 : messagesPerMonth * subscribers * price,
      source: `${AWS}: a PUBACK from a client is metered as one message`,
    },
    {
      name: `connections, ${formatted(connectsPerDay)} a day and device`,
      amount: connectsPerDay * DAYS_PER_MONTH * price,
      source: `${AWS}: CONNECT is metered as a message; connectsPerDay is assumed`,
    },
    {
      name: 'minutes of connection',
      amount: (MINUTES_PER_MONTH / MILLION) * prices.dollarsPerMillionMinutes,
      source: `${AWS}: 0.08 dollars a million minutes, for devices that stay connected`,
    },
  ];
  return [
    {
      name: `minimum billed size: ${formatted(messageBytes)} bytes count as ${formatted(steps * METERED_BYTES)}`,
      amount: messagesPerMonth * (steps - 1) * price,
      source: `${AWS}: metered in steps of 5 KB; costs more than the course's only above one step`,
    },
    ...paid.filter(({ amount }) => amount > 0),
  ];
}

/** Messages a month of one device: each sample, or changes and heartbeats, but never more than samples. */
function messagesPerMonth(traffic: Traffic): { readonly before: number; readonly onChange: number } {
  const samples = SECONDS_PER_DAY / traffic.sampleIntervalSeconds;
  const onChange = Math.min(samples, traffic.changesPerDay + SECONDS_PER_DAY / traffic.heartbeatSeconds);
  return { before: samples * DAYS_PER_MONTH, onChange: onChange * DAYS_PER_MONTH };
}

/** The course counts millions to three digits: 25.92 million are 25.9, and so 25.90 dollars. */
function threeDigits(value: number): number {
  return Number(value.toPrecision(3));
}

function rounding(messages: number, price: number): readonly Addition[] {
  const amount = (messages - threeDigits(messages)) * price;
  if (amount === 0) return [];
  return [{ name: 'messages that the course rounds off', amount, source: 'the course counts to three digits' }];
}

function trafficFaults({ sampleIntervalSeconds, changesPerDay }: Traffic): readonly Fault[] {
  const samples = SECONDS_PER_DAY / sampleIntervalSeconds;
  if (changesPerDay <= samples) return [];
  const message = `expected at most ${formatted(samples)}, the samples a day; found ${found(changesPerDay)}`;
  return [{ field: 'changesPerDay', message }];
}

/** The course's "MQTT Message Cost Estimator" (25.9 M to 540,000 messages a month, 95.90 to 15.54 dollars). */
export const cost = defineCalculator({
  id: 'cost',
  title: 'Message cost with publish on change',
  question: 'What do the messages of a fleet cost a month, and what does publishing on change save?',
  inputs: { devices, ...costInputs },
  check: trafficFaults,
  calculate: (input) => {
    const { brokerDollarsPerMonth, reducedBrokerDollarsPerMonth } = input;
    const perDevice = messagesPerMonth(input);
    const before = input.devices * perDevice.before;
    const onChange = input.devices * perDevice.onChange;
    const price = input.dollarsPerMillionMessages / MILLION;
    const courseBefore = threeDigits(before) * price + brokerDollarsPerMonth;
    const courseOnChange = threeDigits(onChange) * price + reducedBrokerDollarsPerMonth;
    const additions = (messages: number, messagesOfDevice: number): readonly Addition[] => [
      ...rounding(messages, price),
      ...deviceAdditions(messagesOfDevice, input).map((addition) => ({
        ...addition,
        amount: addition.amount * input.devices,
      })),
    ];
    const figureBefore = summed(
      'A month of messages at every sample',
      '$',
      courseBefore,
      additions(before, perDevice.before),
    );
    const figureOnChange = summed(
      'A month of messages on change',
      '$',
      courseOnChange,
      additions(onChange, perDevice.onChange),
    );
    const percentLess = (from: number, to: number): number => (1 - to / from) * 100;
    const saving = (from: number, to: number): number | null => (from < CENT ? null : percentLess(from, to));
    const perSecond = before / (DAYS_PER_MONTH * SECONDS_PER_DAY);
    return {
      figures: {
        messagesPerMonth: compared('Messages a month at every sample', '', threeDigits(before), before),
        messagesPerMonthOnChange: compared('Messages a month on change', '', threeDigits(onChange), onChange),
        dollarsPerMonth: figureBefore,
        dollarsPerMonthOnChange: figureOnChange,
        savingPercent: compared(
          'Saving',
          '%',
          saving(courseBefore, courseOnChange),
          saving(figureBefore.honest, figureOnChange.honest),
        ),
        messageSavingPercent: compared(
          'Saving in messages',
          '%',
          percentLess(threeDigits(before), threeDigits(onChange)),
          percentLess(before, onChange),
        ),
      },
      notes: [
        'The course pays for a broker and for AWS IoT Core; where one of them does the work, set the price of the other to 0.',
        `The smaller broker would do before as well: ${formatted(perSecond)} messages a second keep a Mosquitto busy for ${formatted((perSecond * brokerMicroseconds(1, 1)) / 10_000)} % of a core.`,
        ...(before * (1 + input.subscribers) > FIRST_TIER_MESSAGES
          ? ['Above a billion messages a month AWS charges less for each; that is not counted.']
          : []),
      ],
    };
  },
});

/** The inverse of {@link cost}: the devices that a monthly bill pays for. */
export const budget = defineCalculator({
  id: 'budget',
  title: 'Devices within a monthly bill',
  question: 'How many devices that publish on change does a monthly bill pay for?',
  inputs: {
    dollarsPerMonth: quantity('$', 0.01, 100_000_000, 'What a month may cost').default(20),
    ...costInputs,
  },
  check: trafficFaults,
  calculate: (input) => {
    const { onChange } = messagesPerMonth(input);
    const forMessages = input.dollarsPerMonth - input.reducedBrokerDollarsPerMonth;
    const course = (onChange * input.dollarsPerMillionMessages) / MILLION;
    const adds = deviceAdditions(onChange, input);
    const honest = adds.reduce((sum, { amount }) => sum + amount, course);
    const fit = (dollarsPerDevice: number): number =>
      forMessages <= 0 ? 0 : Math.min(MOST_DEVICES, Math.floor(forMessages / dollarsPerDevice));
    return {
      figures: {
        devices: compared('Devices', '', fit(course), fit(honest)),
        dollarsPerDevice: summed('A month of one device', '$', course, adds),
      },
      notes: [
        ...(forMessages <= 0 ? ['The broker alone costs that much.'] : []),
        ...(fit(honest) === MOST_DEVICES ? [`More than ${formatted(MOST_DEVICES)} devices are not counted.`] : []),
      ],
    };
  },
});
