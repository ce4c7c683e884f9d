import { loadTopicMap } from '@muster/service';
import type { Command } from 'commander';
import { apiTarget, withApi, type ApiOptions } from '../api-target.ts';
import { EXIT_FAILURE } from '../output.ts';
import { durationMs, UsageError } from '../up/settings.ts';
import { apiFeed } from './api-feed.ts';
import { brokerFeed } from './broker-feed.ts';
import { brokerTarget, type BrokerOptions } from './broker-target.ts';
import { Dashboard } from './dashboard.ts';
import type { Feed, Output } from './feed.ts';
import { parseDeviceFilters, parseTopicFilters } from './filters.ts';
import { lineOutput } from './line-output.ts';
import type { Source } from './screen-lines.ts';
import { parseThreshold, withDefaults, type Threshold } from './thresholds.ts';
import { Clock, countText } from './value-text.ts';

interface WatchOptions extends ApiOptions, Partial<BrokerOptions> {
  readonly json: boolean;
  readonly plain: boolean;
  readonly color: boolean;
  readonly threshold: readonly Threshold[];
  readonly topicMap?: string;
  readonly for?: number;
}

/** Whoever watches wants to know soon that nobody answers. */
const ANSWER_LIMIT_MS = 10_000;

const HELP = `
Filters
  of the API:       DEVICE or DEVICE/METRIC, * any part of a name, + any name: lab1  virtual-*  +/temp  lab1/t*
  of a broker:      MQTT topic filters: home/#  devices/+/telemetry  iotclass/lab1/temperature
                    none: all topics of telemetry and status that the topic map names
Thresholds
  --threshold 'temp>30' --threshold 'temp>35:critical' --threshold 'hum<20'
  Without one for vbat: 'vbat<3.4' and 'vbat<3.2:critical' (volts of a lithium cell).

On a terminal: q or Ctrl-C leaves, ? explains, arrows and PgUp PgDn scroll. Anywhere else: a line for each reading and
each change of presence, with --json one JSON object a line. NO_COLOR, FORCE_COLOR and --no-color are respected.
A password comes from MUSTER_BROKER_PASSWORD or --password-file. A watcher of a broker is one subscriber more: a busy
broker has so much more to send.
`;

/** Whether the screen has colours: what the command line says, then FORCE_COLOR, then NO_COLOR (no-color.org). */
export function wantsColour(option: boolean, environment: Readonly<Record<string, string | undefined>>): boolean {
  const { FORCE_COLOR: force, NO_COLOR: none } = environment;
  if (!option) return false;
  if (force !== undefined && force !== '') return force !== '0' && force !== 'false';
  return none === undefined || none === '';
}

/** Runs a feed until somebody leaves, a signal comes, the time is over, or whoever reads our lines has left. */
async function watch(feed: Feed, options: WatchOptions, source: Source): Promise<void> {
  const abort = new AbortController();
  const leave = (): void => abort.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, leave);
  process.stdout.on('error', leave);
  const timer = options.for === undefined ? undefined : setTimeout(leave, options.for);
  const isTerminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb' && !options.json && !options.plain;
  const colour = wantsColour(options.color, process.env);
  const dashboard = isTerminal ? new Dashboard({ source, clock: new Clock(), colour, onQuit: leave }) : undefined;
  const output: Output = dashboard ?? lineOutput({ json: options.json, thresholds: source.thresholds });
  const states = new Set<string>();
  try {
    await feed((news) => {
      if (news.kind === 'feed') states.add(news.feed.state);
      output.tell(news);
    }, abort.signal);
  } finally {
    clearTimeout(timer);
    output.close();
  }
  if (!states.has('live') && !states.has('polling') && options.for !== undefined) process.exitCode = EXIT_FAILURE;
  if (dashboard === undefined) return;
  const { totals, devices } = dashboard.state;
  const seconds = Math.round((Date.now() - source.startedAtMs) / 1000);
  process.stderr.write(
    `muster: ${countText(totals[source.counts])} ${source.counts} of ${countText(devices.size)} devices in ${countText(seconds)} s\n`,
  );
}

/** What is asked for, and where it comes from: a broker that is named, otherwise the API. */
function feedOf(
  filters: readonly string[],
  options: WatchOptions,
  command: Command,
): { readonly feed: Feed; readonly title: string; readonly counts: Source['counts'] } {
  const { broker } = options;
  if (broker === undefined) {
    const [misplaced] = BROKER_OPTIONS.filter((name) => command.getOptionValueSource(name) === 'cli');
    if (misplaced !== undefined)
      throw new UsageError(`${flagOf(command, misplaced)} goes with --broker mqtt://HOST:PORT`);
    const filter = parseDeviceFilters(filters);
    const target = { ...apiTarget(command), timeoutMs: options.timeout ?? ANSWER_LIMIT_MS };
    return { feed: apiFeed({ target, filter }), title: target.url, counts: 'readings' };
  }
  const [misplaced] = API_OPTIONS.filter((name) => options[name] !== undefined);
  if (misplaced !== undefined)
    throw new UsageError(
      `${flagOf(command, misplaced)} is for the API, and --broker goes without it; give one of them`,
    );
  const target = brokerTarget({ ...options, broker }, process.env);
  const topicMap = loadTopicMap(options.topicMap);
  const topics = parseTopicFilters(filters.length > 0 ? filters : topicMap.filters('telemetry', 'status', 'lwt'));
  return { feed: brokerFeed({ broker: target, filters: topics, topicMap }), title: target.url, counts: 'messages' };
}

const BROKER_OPTIONS = ['username', 'passwordFile', 'ca', 'topicMap'] as const;
const API_OPTIONS = ['url', 'profile', 'timeout'] as const;

function flagOf(command: Command, name: string): string {
  return command.options.find((option) => option.attributeName() === name)?.long ?? name;
}

/** Adds `muster watch` to the command line. */
export function addWatchCommand(muster: Command): void {
  withApi(
    muster
      .command('watch')
      .description('show devices live: last values with time and QoS, presence with its reason, alerts')
      .argument('[filter...]', 'what to watch; everything otherwise'),
  )
    .option('--broker <url>', 'straight from this broker, without any service: mqtt://HOST:PORT, mqtts://HOST:PORT')
    .option('--username <name>', 'account at the broker (MUSTER_BROKER_USERNAME)')
    .option('--password-file <file>', 'file whose first line is the password of that account (MUSTER_BROKER_PASSWORD)')
    .option('--ca <file>', 'PEM file of the authority of the broker')
    .option(
      '--topic-map <file>',
      'how topics of the broker are read (MUSTER_TOPIC_MAP)',
      process.env['MUSTER_TOPIC_MAP'],
    )
    .option(
      '--threshold <limit>',
      "colour values beyond a limit: 'temp>30', 'temp>35:critical'; may be given again",
      (text: string, before: readonly Threshold[]) => [...before, parseThreshold(text)],
      [],
    )
    .option('--for <duration>', 'end after so long: 60s, 5m, 1h', durationMs)
    .option('--plain', 'lines instead of a screen, also on a terminal', false)
    .option('--no-color', 'no colours; a threshold is marked with ! and !! in any case')
    .addHelpText('after', HELP)
    .action(async (filters: readonly string[], options: WatchOptions, command: Command) => {
      const thresholds = withDefaults(options.threshold);
      const { feed, title, counts } = feedOf(filters, options, command);
      await watch(feed, options, { title, filters, counts, thresholds, startedAtMs: Date.now() });
    });
}
