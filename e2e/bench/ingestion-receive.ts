import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { brokerArguments, type ReadyLine } from '../system.ts';
import { rangeOf, rounded, say, told } from './figures.ts';
import { TelemetryBench, whenIdle } from './telemetry-bench.ts';
import type { Traffic } from './traffic.ts';

const DEVICES = 1_000;
const ROUNDS = 5;
/** Fewer than a broker of ours queues (`max_queued_messages`): at QoS 0 as well it keeps all of them for who is slow. */
const MESSAGES = 300_000;
/** More than any broker takes; and of a thousand devices each still has another time in every message, by milliseconds. */
const OFFERED_PER_SECOND = 1_000_000;
const QOS = [0, 1] as const;
const WANTED = { 0: 0.8, 1: 0.95 } as const;
const RULER_ROOT = 'ruler';
/** Time for a subscription to be there. */
const SUBSCRIBED_MS = 1_000;
const LIMIT_SECONDS = 90;
/** Each look costs ingestion some milliseconds, and its end is seen so much too late: both to its disadvantage. */
const POLL_MS = 100;
/** Longer than ingestion waits until it connects again. */
const STALLED_MS = 40_000;

/** How one consumer took a flood. */
interface Received {
  /** Messages that it took. */
  readonly taken: number;
  /** Whether all came: nothing was lost on the way, nor came twice. */
  readonly isAll: boolean;
  /** Messages a second, from the first that was sent to the last that was taken. */
  readonly perSecond: number;
}

interface Round {
  readonly qos: 0 | 1;
  readonly ingestion: Received;
  /** Points a second, until InfluxDB had the last. */
  readonly storedPerSecond: number;
  readonly stored: number;
  readonly ruler: Received;
  readonly ratio: number;
}

function flood(topicRoot: string, qos: 0 | 1): Traffic {
  const durationMs = (MESSAGES * 1_000) / OFFERED_PER_SECOND;
  return { topicRoot, qos, devices: DEVICES, perSecond: OFFERED_PER_SECOND, durationMs, framesAreMade: 'before' };
}

function perSecond(taken: number, fromMs: number, toMs: number): number {
  return (taken * 1_000) / (toMs - fromMs);
}

/**
 * `mosquitto_sub` with as many unacknowledged messages as MQTT 5 allows, as ingestion: it is slower without. It prints one
 * digit a message, to nowhere. Its session ends with it, else what it left unacknowledged would come in the next round.
 */
async function takenByRuler(bench: TelemetryBench, qos: 0 | 1): Promise<Received> {
  const ruler = startRuler(bench.system.address, qos);
  await delay(SUBSCRIBED_MS);
  const { startAtMs, sent } = await bench.send(flood(RULER_ROOT, qos));
  const [code, endedAtMs] = await ruler;
  await sent;
  if (code !== 0)
    throw new Error(`mosquitto_sub ended with ${code}: it has not received all within ${LIMIT_SECONDS} s`);
  return { taken: MESSAGES, isAll: true, perSecond: perSecond(MESSAGES, startAtMs, endedAtMs) };
}

async function startRuler(address: ReadyLine, qos: 0 | 1): Promise<readonly [code: number | null, endedAtMs: number]> {
  const program = spawn(
    'mosquitto_sub',
    [
      ...brokerArguments(address),
      ...['-V', 'mqttv5', '-D', 'connect', 'receive-maximum', '65535'],
      ...['-t', `${RULER_ROOT}/+/telemetry`, '-q', String(qos), '-F', '%q'],
      ...['-C', String(MESSAGES), '-W', String(LIMIT_SECONDS)],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const [code] = (await once(program, 'exit')) as [number | null];
  return [code, Date.now()];
}

/** What ingestion has received and dropped at once, because too much was in hand, counts as time but not as taken. */
async function takenByIngestion(
  bench: TelemetryBench,
  qos: 0 | 1,
): Promise<Pick<Round, 'ingestion' | 'stored' | 'storedPerSecond'>> {
  const counts = async (): Promise<{ readonly taken: number; readonly came: number }> => {
    const { messages_total: taken, dropped_total: dropped } = await bench.figures(['messages_total', 'dropped_total']);
    return { taken, came: taken + dropped };
  };
  const before = await counts();
  const { startAtMs, sent } = await bench.send(flood(bench.ingestion.topicRoot, qos));
  let now = before;
  let changedAtMs = startAtMs;
  while (now.came - before.came < MESSAGES && Date.now() - changedAtMs < STALLED_MS) {
    await delay(POLL_MS);
    const next = await counts();
    if (next.came !== now.came) changedAtMs = Date.now();
    now = next;
  }
  const taken = now.taken - before.taken;
  const { stored, storedAtMs } = await bench.whenStored(bench.ingestion, await sent);
  await whenIdle(bench.ingestion.pid);
  return {
    ingestion: {
      taken,
      isAll: now.came - before.came === MESSAGES,
      perSecond: perSecond(taken, startAtMs, changedAtMs),
    },
    ...{ stored, storedPerSecond: perSecond(stored, startAtMs, storedAtMs) },
  };
}

async function oneRound(bench: TelemetryBench, isBackwards: boolean): Promise<readonly Round[]> {
  const rounds: Round[] = [];
  for (const qos of isBackwards ? QOS.toReversed() : QOS) {
    const rulerFirst = isBackwards ? await takenByRuler(bench, qos) : undefined;
    const ours = await takenByIngestion(bench, qos);
    const ruler = rulerFirst ?? (await takenByRuler(bench, qos));
    const round = { qos, ...ours, ruler, ratio: ours.ingestion.perSecond / ruler.perSecond };
    rounds.push(round);
    const lost =
      ours.stored === MESSAGES ? '' : `   ${ours.ingestion.taken} taken and ${ours.stored} stored of ${MESSAGES}`;
    say(
      `  QoS ${qos}  ingestion ${Math.round(ours.ingestion.perSecond)}/s, mosquitto_sub ${Math.round(ruler.perSecond)}/s: × ${rounded(round.ratio)}   (into InfluxDB ${Math.round(ours.storedPerSecond)}/s)${lost}`,
    );
  }
  return rounds;
}

function figuresOf(rounds: readonly Round[], qos: 0 | 1): object {
  const own = rounds.filter((round) => round.qos === qos);
  const range = (value: (round: Round) => number): ReturnType<typeof rangeOf> => rangeOf(own.map(value));
  const received = range(({ ingestion }) => Math.round(ingestion.perSecond));
  const ruler = range((round) => Math.round(round.ruler.perSecond));
  const stored = range(({ storedPerSecond }) => Math.round(storedPerSecond));
  const ratio = range((round) => round.ratio);
  const takenPercent = range(({ ingestion }) => (ingestion.taken * 100) / MESSAGES);
  say(
    `| ${qos} | ${told(received)} | ${told(ruler)} | **${told(ratio)}** | ${WANTED[qos]} | ${told(stored)} | ${told(takenPercent)} |`,
  );
  return { qos, received, ruler, ratio, wantedRatio: WANTED[qos], stored, takenPercent };
}

/**
 * How many messages a second one ingestion process takes from a broker that is offered more than it can pass on, beside
 * `mosquitto_sub` on the same broker: one of them at a time, each with topics of its own, interleaved. The broker keeps
 * what is offered for whoever is slower, at QoS 0 too, so both are measured by the same messages, from the first that
 * was sent to the last that came; what ingestion drops of QoS 0 does not count for it. Beside it, how many points a
 * second came into InfluxDB, with everything on the cores of this machine.
 */
export async function measure(): Promise<unknown> {
  const bench = await TelemetryBench.start(DEVICES);
  try {
    say(`${MESSAGES} messages of 60 bytes from ${DEVICES} devices, offered at once; ${availableParallelism()} cores`);
    say('warm-up');
    await oneRound(bench, false);
    const rounds: Round[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      say(`round ${round}`);
      rounds.push(...(await oneRound(bench, round % 2 === 0)));
    }
    say('\n| QoS | ingestion, messages/s | mosquitto_sub | ratio | wanted | into InfluxDB, points/s | taken, % |');
    say('| --- | --- | --- | --- | --- | --- | --- |');
    const levels = QOS.map((qos) => figuresOf(rounds, qos));
    const isValid = rounds.every(
      ({ qos, stored, ingestion: { taken, isAll } }) => isAll && stored === (qos === 1 ? MESSAGES : taken),
    );
    if (!isValid) {
      say('NOT EVERY MESSAGE HAS ARRIVED: these figures do not count');
      say(await bench.drops());
      process.exitCode = 1;
    }
    return { devices: DEVICES, messages: MESSAGES, cores: availableParallelism(), isValid, levels, rounds };
  } finally {
    await bench.stop();
  }
}
