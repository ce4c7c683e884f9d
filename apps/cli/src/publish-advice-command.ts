import { publishAdviceSchema, type PublishAdviceAnswer } from '@muster/contract';
import { formatted } from '@muster/planner';
import type { Command } from 'commander';
import { callApi } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { collected, deviceArgument } from './arguments.ts';
import { plain, table, waitingFor, write, type OutputOptions } from './output.ts';
import { figureText } from './plan-commands.ts';

interface AdviceOptions extends OutputOptions {
  readonly deadband: readonly string[];
  readonly metric: readonly string[];
  readonly heartbeat?: string;
  readonly range?: string;
  readonly price?: string;
}

/** What the API is asked; it says what is wrong with a value. */
export function adviceParameters({ deadband, metric, heartbeat, range, price }: AdviceOptions): URLSearchParams {
  const single = Object.entries({ heartbeat, range, price });
  return new URLSearchParams([
    ...deadband.map((band): [string, string] => ['deadband', band]),
    ...metric.map((name): [string, string] => ['metric', name]),
    ...single.flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, value]])),
  ]);
}

/** An advice as people read it. */
export function adviceText(advice: PublishAdviceAnswer): string {
  const { device, from, to, terms, everySample, onChange, saved, savedPerMonth, metrics } = advice;
  const rows = [
    ['at every sample', everySample],
    ['on change', onChange],
    ['saved', saved],
    ...(savedPerMonth === null ? [] : [['saved in 30 days', savedPerMonth] as const]),
  ] as const;
  const inUnit = (value: number, unit: string | null): string =>
    unit === null ? formatted(value) : `${formatted(value)} ${unit}`;
  return [
    `${device}  ${plain(advice.explanation)}`,
    `from ${from} to ${to}`,
    ...(advice.truncated === null ? [] : [`(${plain(advice.truncated)})`]),
    '',
    table(
      ['', 'MESSAGES', 'BYTES', 'DOLLARS'],
      rows.map(([name, { messages, bytes, dollars }]) => [
        name,
        formatted(Math.round(messages)),
        formatted(Math.round(bytes)),
        figureText(dollars, '$'),
      ]),
    ),
    '',
    table(
      ['METRIC', 'DEAD-BAND', 'SAMPLES', 'MESSAGES ALONE', 'LARGEST ERROR', 'MEAN ERROR'],
      metrics.map(({ metric, unit, deadBand, samples, messages, maximumError, meanError }) => [
        metric,
        inUnit(deadBand, unit),
        formatted(samples),
        formatted(messages),
        inUnit(maximumError, unit),
        inUnit(meanError, unit),
      ]),
    ),
    '',
    `heartbeat ${formatted(terms.heartbeatSeconds)} s`,
    `${formatted(terms.messageBytes)} bytes a message: ${plain(terms.messageBytesFrom)}`,
    `${figureText(terms.dollarsPerMillionMessages, '$')} a million messages: ${plain(terms.priceFrom)}`,
  ].join('\n');
}

/** Adds `muster device advice` to `muster device`. */
export function addPublishAdviceCommand(devices: Command): void {
  withApi(
    devices
      .command('advice')
      .description('what publishing on change would have saved, by its history, and the error that it would have made')
      .argument('<device>', 'its id', deviceArgument)
      .option(
        '--deadband <change>',
        'send a value that differs by more, in its unit: 0.5, or vbat:0.05 of one metric; repeat it (default 0)',
        collected,
        [],
      )
      .option('--heartbeat <duration>', 'send at the latest after this time: 300s, 5m, 1h (default 300s)')
      .option('--metric <name>', 'as if the device sent only this one; repeat it for several', collected, [])
      .option('--range <duration>', 'how far to look back: 6h, 24h, 7d, at most 31d (default 24h)')
      .option('--price <dollars>', 'for a million messages (default 1, AWS IoT Core)'),
  ).action(async (id: string, options: AdviceOptions, command: Command) => {
    const path = `/devices/${id}/publish-advice?${adviceParameters(options).toString()}`;
    const answer = callApi(apiTarget(command), 'GET', path, publishAdviceSchema);
    const advice = await waitingFor(`reading the history of ${id}`, answer);
    write(options.json ? JSON.stringify(advice) : adviceText(advice));
  });
}
