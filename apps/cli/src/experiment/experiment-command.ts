import type { Command } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { say, table, write } from '../output.ts';
import { batteryOf, compareQos, countDuplicates } from './exchange-experiments.ts';
import { ExperimentError, Laboratory } from './laboratory.ts';
import { interrupt, subscribeLate } from './status-experiments.ts';

interface ExperimentOptions {
  readonly json: boolean;
  readonly messages: number;
  readonly roundTrip: number;
  readonly keepAlive: number;
  readonly losses: number;
  readonly battery: number;
}

/** What an experiment found: for programs, for people, and as a picture. */
interface Finding {
  readonly figures: unknown;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly picture: readonly { readonly name: string; readonly value: number; readonly unit: string }[];
  readonly conclusion: string;
}

const BAR_WIDTH = 50;

function picture(bars: Finding['picture']): string {
  const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
  const width = Math.max(...bars.map(({ name }) => name.length));
  return bars
    .map(({ name, value, unit }) => {
      const length = Math.round((value / most) * BAR_WIDTH);
      return `${name.padEnd(width)}  ${'█'.repeat(length)}${length === 0 ? '▏' : ''} ${value} ${unit}`;
    })
    .join('\n');
}

type Experiment = (
  laboratory: Laboratory,
  options: ExperimentOptions,
  onProgress: (text: string) => void,
) => Promise<Finding>;

const qos: Experiment = async (laboratory, { messages, roundTrip }, onProgress) => {
  const figures = await compareQos(laboratory, messages, roundTrip, onProgress);
  return {
    figures,
    headings: ['QOS', 'MESSAGES', 'RECEIVED', 'EXCHANGE', 'P99', 'PUBLISH', 'ACKNOWLEDGEMENTS'],
    rows: figures.map((one) => [
      String(one.qos),
      String(one.messages),
      String(one.received),
      one.qos === 0 ? 'none' : `${one.exchangeMs.median} ms`,
      one.qos === 0 ? 'none' : `${one.exchangeMs.p99} ms`,
      `${one.publishBytesPerMessage} B`,
      `${one.acknowledgementBytesPerMessage} B`,
    ]),
    picture: figures.map((one) => ({ name: `QoS ${one.qos}`, value: one.exchangeMs.median, unit: 'ms' })),
    conclusion: `With a round trip of ${roundTrip} ms: QoS 1 takes one and 4 bytes more, QoS 2 takes two and 12 bytes more.`,
  };
};

const battery: Experiment = async (laboratory, { messages, roundTrip, battery: batteryMah }, onProgress) => {
  const figures = batteryOf(await compareQos(laboratory, messages, roundTrip, onProgress), batteryMah);
  return {
    figures,
    headings: ['QOS', 'EXCHANGE', 'RADIO ON', 'BATTERY (RADIO ALONE)', 'BATTERY (HONEST)'],
    rows: figures.map((one) => [
      String(one.qos),
      `${one.exchangeMs} ms`,
      `${one.radioOnMs} ms`,
      `${one.courseDays} d`,
      `${one.honestDays} d`,
    ]),
    picture: figures.map((one) => ({ name: `QoS ${one.qos}`, value: one.courseDays, unit: 'd' })),
    conclusion: `${batteryMah} mAh, a message a minute, 120 mA while the radio is on: 50 ms and the measured exchange. Who stays connected lives on what is between the messages ("muster plan battery").`,
  };
};

const interruption: Experiment = async (laboratory, { keepAlive }, onProgress) => {
  const figures = await interrupt(laboratory, keepAlive, onProgress);
  return {
    figures,
    headings: ['THE NETWORK', 'WILL AFTER', 'OF THE KEEP-ALIVE'],
    rows: [
      ['is reset', `${figures.afterResetMs} ms`, '-'],
      ['falls silent', `${figures.afterSilenceSeconds} s`, `× ${figures.ofKeepAlive}`],
    ],
    picture: [
      { name: 'reset', value: Math.round(figures.afterResetMs / 100) / 10, unit: 's' },
      { name: 'silence', value: figures.afterSilenceSeconds, unit: 's' },
      { name: '1.5 × keep-alive', value: 1.5 * keepAlive, unit: 's' },
    ],
    conclusion: `A broker hears of a reset at once; silence it believes for about 1.5 times the keep-alive of ${keepAlive} s.`,
  };
};

const retained: Experiment = async (laboratory, _options, onProgress) => {
  const figures = await subscribeLate(laboratory, onProgress);
  return {
    figures,
    headings: ['SUBSCRIBED', 'AFTER', 'STATUS'],
    rows: [
      ['while it is online', `${figures.online.afterMs} ms`, figures.online.text],
      ['after it lost power', `${figures.afterPowerLoss.afterMs} ms`, figures.afterPowerLoss.text],
    ],
    picture: [
      { name: 'retained status', value: 1, unit: 'at once' },
      { name: 'telemetry', value: figures.telemetryAtOnce, unit: 'at once' },
    ],
    conclusion:
      'Whoever comes late learns what is retained at once, the will included; of telemetry only what is still to come.',
  };
};

const duplicates: Experiment = async (laboratory, { losses }, onProgress) => {
  const figures = await countDuplicates(laboratory, losses, onProgress);
  return {
    figures,
    headings: ['SENT', 'RECEIVED', 'DUPLICATES', 'LEFT BY SESSION AND SEQ'],
    rows: [[figures.sent, figures.received, figures.duplicates, figures.distinct].map(String)],
    picture: [
      { name: 'sent', value: figures.sent, unit: '' },
      { name: 'received', value: figures.received, unit: '' },
      { name: 'distinct', value: figures.distinct, unit: '' },
    ],
    conclusion: `${losses} acknowledgements were lost with their connections: QoS 1 brings those messages again, and their session and number tell which.`,
  };
};

const EXPERIMENTS: Readonly<Record<string, { readonly about: string; readonly run: Experiment }>> = {
  qos: { about: 'what a message costs at each QoS: time, bytes, acknowledgements', run: qos },
  interruption: { about: 'how long until the will says that the network is gone', run: interruption },
  retained: { about: 'what somebody learns that subscribes later', run: retained },
  duplicates: { about: 'QoS 1 delivers twice, and numbers tell it', run: duplicates },
  battery: { about: 'what measured exchanges leave of a battery', run: battery },
};

async function perform(run: Experiment, options: ExperimentOptions): Promise<void> {
  const laboratory = await Laboratory.open(say);
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new ExperimentError('interrupted')));
  });
  try {
    const finding = await Promise.race([run(laboratory, options, say), interrupted]);
    if (options.json) write(JSON.stringify(finding.figures));
    else write(`${table(finding.headings, finding.rows)}\n\n${picture(finding.picture)}\n\n${finding.conclusion}`);
  } finally {
    await laboratory.close();
  }
}

/** Adds `muster experiment` to the command line. */
export function addExperimentCommands(muster: Command): void {
  const experiments = muster
    .command('experiment')
    .description('see for yourself: a virtual device, a real broker, and a line between them that fails');
  for (const [name, { about, run }] of Object.entries(EXPERIMENTS))
    experiments
      .command(name)
      .description(about)
      .option('--messages <number>', 'how many at each QoS', wholeNumber(1, 10_000), 100)
      .option('--round-trip <ms>', 'of the line, in milliseconds', wholeNumber(0, 2_000), 40)
      .option('--keep-alive <seconds>', 'of the device', wholeNumber(30, 3_600), 30)
      .option('--losses <number>', 'acknowledgements that are lost', wholeNumber(1, 100), 5)
      .option('--battery <mAh>', 'its charge', wholeNumber(1, 1_000_000), 2_000)
      .option('--json', 'print JSON on standard output', false)
      .action((options: ExperimentOptions) => perform(run, options));
}
