import { rangeOf, rounded, say, told } from './figures.ts';
import { Telegraf } from './telegraf.ts';
import { benchRate, TelemetryBench, type Consumer, type Phase } from './telemetry-bench.ts';

const DEVICES = 1_000;
const ROUNDS = 5;
const PHASE_MS = 8_000;
const QOS = [0, 1] as const;
/** Telegraf's cost was 2.8 × the broker's at QoS 0 and 1.74 × at QoS 1; a quarter of that is the limit. */
const WANTED = {
  toBroker: { 0: { limit: 0.71, target: 0.57 }, 1: { limit: 0.43, target: 0.29 } },
  toTelegraf: { 0: { limit: 1 / 4, target: 1 / 5 }, 1: { limit: 1 / 4, target: 1 / 6 } },
  residentBytes: 200e6,
  aboveIdleBytes: 80e6,
} as const;

interface Round {
  readonly qos: 0 | 1;
  readonly ours: Phase;
  readonly telegraf: Phase | undefined;
}

function line(
  name: string,
  { sent, stored, reachedPerSecond, offeredPerSecond, us, toBroker, isComplete, acknowledged }: Phase,
): string {
  const cost = `${rounded(us.consumer)} µs, the broker ${rounded(us.broker)} µs: × ${rounded(toBroker)}`;
  const lost = isComplete ? '' : `   DOES NOT COUNT: ${stored} of ${sent} stored, ${acknowledged} acknowledged`;
  return `${name}  ${Math.round(reachedPerSecond)} of ${offeredPerSecond}/s   ${cost}   (InfluxDB ${rounded(us.influxdb)} µs, publisher ${rounded(us.publisher)} µs)${lost}`;
}

/** One round: each level of QoS, and in each ours beside Telegraf's, in another order than in the round before. */
async function oneRound(bench: TelemetryBench, telegraf: Consumer | undefined, isBackwards: boolean): Promise<Round[]> {
  const traffic = { devices: DEVICES, perSecond: benchRate(), durationMs: PHASE_MS };
  const rounds: Round[] = [];
  for (const qos of isBackwards ? QOS.toReversed() : QOS) {
    const theirsFirst =
      telegraf !== undefined && isBackwards ? await bench.phase(telegraf, { ...traffic, qos }) : undefined;
    const ours = await bench.phase(bench.ingestion, { ...traffic, qos });
    const theirs =
      telegraf === undefined || isBackwards ? theirsFirst : await bench.phase(telegraf, { ...traffic, qos });
    say(line(`  QoS ${qos}  ingestion`, ours));
    if (!ours.isComplete) say(`  ${await bench.drops()}`);
    if (theirs !== undefined) say(line(`  QoS ${qos}  Telegraf `, theirs));
    rounds.push({ qos, ours, telegraf: theirs });
  }
  return rounds;
}

function figuresOf(rounds: readonly Round[], qos: 0 | 1): object {
  const phases = rounds.filter((round) => round.qos === qos);
  const ours = phases.map((phase) => phase.ours);
  const us = rangeOf(ours.map((phase) => phase.us.consumer));
  const brokerUs = rangeOf(ours.map((phase) => phase.us.broker));
  const toBroker = rangeOf(ours.map((phase) => phase.toBroker));
  const reachedPerSecond = rangeOf(ours.map((phase) => Math.round(phase.reachedPerSecond)));
  const { limit, target } = WANTED.toBroker[qos];
  say(
    `\nQoS ${qos}: ${told(us)} µs of processor a message, the broker ${told(brokerUs)} µs, ${told(reachedPerSecond)} messages/s`,
  );
  say(`  ingestion / broker   × ${told(toBroker)}   wanted ≤ ${limit}, target ${target}`);
  const theirs = phases.flatMap(({ telegraf }) => telegraf ?? []);
  const telegraf = theirs.length === 0 ? undefined : telegrafFigures(phases, theirs, qos);
  return { qos, us, brokerUs, toBroker, reachedPerSecond, wanted: WANTED.toBroker[qos], telegraf };
}

function telegrafFigures(phases: readonly Round[], theirs: readonly Phase[], qos: 0 | 1): object {
  const us = rangeOf(theirs.map((phase) => phase.us.consumer));
  const toBroker = rangeOf(theirs.map((phase) => phase.toBroker));
  const ratio = rangeOf(
    phases.flatMap(({ ours, telegraf }) => (telegraf === undefined ? [] : ours.us.consumer / telegraf.us.consumer)),
  );
  const { limit, target } = WANTED.toTelegraf[qos];
  say(
    `  ingestion / Telegraf × ${told(ratio)}   wanted ≤ ${rounded(limit)}, target ${rounded(target)}; Telegraf ${told(us)} µs, × ${told(toBroker)} of the broker's`,
  );
  return { us, toBroker, ratio, wanted: WANTED.toTelegraf[qos] };
}

/**
 * What a message of telemetry costs ingestion, in seconds of processor of its whole process, beside what the same
 * messages cost the broker, and Telegraf where there is one: interleaved, on the same broker and InfluxDB. A round counts
 * only where InfluxDB has every message as a point of its own.
 */
export async function measure(): Promise<unknown> {
  const bench = await TelemetryBench.start(DEVICES);
  let telegraf: Telegraf | undefined;
  try {
    telegraf = await Telegraf.start(bench.system.address);
    if (telegraf === undefined) say('Telegraf is left out: MUSTER_TELEGRAF does not name its program');
    else await bench.whenReads(telegraf.consumer);
    const idleBytes = await bench.idleBytes(bench.ingestion);
    say(`${DEVICES} devices, ${benchRate()} messages/s of 60 bytes for ${PHASE_MS / 1_000} s each`);
    say('warm-up');
    await oneRound(bench, telegraf?.consumer, false);
    const rounds: Round[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      say(`round ${round}`);
      rounds.push(...(await oneRound(bench, telegraf?.consumer, round % 2 === 0)));
    }
    const levels = QOS.map((qos) => figuresOf(rounds, qos));
    const peakBytes = Math.max(...rounds.map(({ ours }) => ours.peakResidentBytes));
    const memory = {
      idleBytes,
      peakBytes,
      wanted: { peakBytes: WANTED.residentBytes, aboveIdleBytes: WANTED.aboveIdleBytes },
    };
    const megabytes = (bytes: number): number => Math.round(bytes / 1e6);
    say(
      `\nmemory: ${megabytes(idleBytes)} MB resident when idle, at most ${megabytes(peakBytes)} MB under load (wanted ≤ ${megabytes(WANTED.residentBytes)}, and ${megabytes(WANTED.aboveIdleBytes)} above idle)`,
    );
    const isValid = rounds.every(({ ours, telegraf: theirs }) => ours.isComplete && theirs?.isComplete !== false);
    if (!isValid) {
      say('NOT EVERY MESSAGE HAS ARRIVED: these figures do not count');
      process.exitCode = 1;
    }
    return { devices: DEVICES, isValid, telegraf: telegraf?.version, levels, memory, rounds };
  } finally {
    await telegraf?.stop();
    await bench.stop();
  }
}
