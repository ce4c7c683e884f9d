import { quantile, rangeOf, rounded, say, told } from './figures.ts';
import { benchRate, TelemetryBench, type Phase } from './telemetry-bench.ts';

const DEVICES = [1_000, 10_000, 100_000] as const;
const ROUNDS = 3;
/** Long enough that of a hundred thousand devices each reports twice. */
const PHASE_MS = 10_000;
const WANTED_RATIO = 1.5;

/**
 * What a message costs ingestion when more and more devices send the same number of messages a second, interleaved: at
 * QoS 1, each device known before.
 */
export async function measure(): Promise<unknown> {
  const bench = await TelemetryBench.start(Math.max(...DEVICES));
  try {
    const phase = (devices: number): Promise<Phase> =>
      bench.phase(bench.ingestion, { devices, perSecond: benchRate(), durationMs: PHASE_MS, qos: 1 });
    say(`warm-up: every device reports once at least, ${benchRate()} messages/s`);
    for (const devices of DEVICES) await phase(devices);
    const rounds: { readonly devices: number; readonly round: number; readonly phase: Phase }[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      for (const devices of round % 2 === 0 ? DEVICES.toReversed() : DEVICES) {
        const figures = await phase(devices);
        rounds.push({ devices, round, phase: figures });
        const { us, reachedPerSecond, stored, sent, isComplete, peakResidentBytes } = figures;
        say(
          `round ${round}  ${devices} devices  ${rounded(us.consumer)} µs a message, the broker ${rounded(us.broker)} µs, ${Math.round(reachedPerSecond)}/s, ${Math.round(peakResidentBytes / 1e6)} MB${isComplete ? '' : `   DOES NOT COUNT: ${stored} of ${sent} stored`}`,
        );
        if (!isComplete) say(`  ${await bench.drops()}`);
      }
    }
    const base = rounds.filter(({ devices }) => devices === DEVICES[0]);
    const levels = DEVICES.map((devices) => {
      const own = rounds.filter((one) => one.devices === devices);
      const ratios = own.map((one) => {
        const first = base.find(({ round }) => round === one.round);
        return one.phase.us.consumer / (first?.phase.us.consumer ?? Number.NaN);
      });
      const us = rounded(
        quantile(
          own.map((one) => one.phase.us.consumer),
          0.5,
        ),
      );
      const ratio = rangeOf(ratios);
      say(`${devices} devices  ${us} µs a message  × ${told(ratio)}   wanted ≤ ${WANTED_RATIO}`);
      return { devices, us, ratio };
    });
    const isValid = rounds.every((one) => one.phase.isComplete);
    if (!isValid) {
      say('NOT EVERY MESSAGE HAS ARRIVED: these figures do not count');
      process.exitCode = 1;
    }
    return { perSecond: benchRate(), isValid, levels, wantedRatio: WANTED_RATIO, rounds };
  } finally {
    await bench.stop();
  }
}
