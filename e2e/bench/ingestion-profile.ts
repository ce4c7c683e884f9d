import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import path from 'node:path';
import { rounded, say } from './figures.ts';
import { Inspector } from './inspector.ts';
import { mainThreadMs } from './processor.ts';
import { sharesOf, STAGE_NAMES, type CpuProfile, type SourceOf } from './stages.ts';
import { benchRate, TelemetryBench, type Phase } from './telemetry-bench.ts';

const DEVICES = 1_000;
const PHASE_MS = 8_000;
const SAMPLE_US = 1_000;
const OTHERS = 'other threads (collection, compilation)';
const ROOT = path.join(import.meta.dirname, '../..');
const CACHE = path.join(ROOT, 'node_modules/.cache/bench');

/** The sources of a bundle, by the map that lies beside it. */
function sourcesOf(bundle: string): SourceOf {
  const text = readFileSync(`${bundle}.map`, 'utf8');
  const map = new SourceMap(JSON.parse(text) as ConstructorParameters<typeof SourceMap>[0]);
  return ({ url, lineNumber, columnNumber }) => {
    if (!url.endsWith(path.basename(bundle))) return undefined;
    const entry = map.findEntry(lineNumber, columnNumber);
    return 'originalSource' in entry ? path.resolve(path.dirname(bundle), entry.originalSource) : undefined;
  };
}

interface Profiled {
  readonly phase: Phase;
  /** Microseconds of processor a message. */
  readonly stages: Readonly<Record<string, number>>;
}

async function profiled(bench: TelemetryBench, qos: 0 | 1, sourceOf: SourceOf): Promise<Profiled> {
  const { ingestion } = bench;
  const traffic = { devices: DEVICES, perSecond: benchRate(), durationMs: PHASE_MS, qos };
  const before = mainThreadMs(ingestion.pid);
  const phase = await bench.phase(ingestion, traffic);
  const mainUs = ((mainThreadMs(ingestion.pid) - before) * 1_000) / phase.sent;
  const profile = await Inspector.use(ingestion.pid, async (inspector) => {
    await inspector.ask('Profiler.enable');
    await inspector.ask('Profiler.setSamplingInterval', { interval: SAMPLE_US });
    await inspector.ask('Profiler.start');
    await bench.phase(ingestion, traffic);
    const answer = (await inspector.ask('Profiler.stop')) as { readonly profile: CpuProfile };
    await inspector.ask('Profiler.disable');
    return answer.profile;
  });
  writeFileSync(path.join(CACHE, `ingestion-qos${qos}.cpuprofile`), JSON.stringify(profile));
  const stages = Object.fromEntries(
    [...sharesOf(profile, sourceOf)].map(([stage, share]) => [stage, rounded(share * mainUs)]),
  );
  return { phase, stages: { ...stages, [OTHERS]: rounded(phase.us.consumer - mainUs) } };
}

/**
 * Where the time of ingestion goes, by stage: a profile of its main thread under load, at each level of QoS, as shares
 * of the processor time that it used just before, without the profiler. The profiles are kept for a look by function.
 */
export async function measure(): Promise<unknown> {
  mkdirSync(CACHE, { recursive: true });
  const bench = await TelemetryBench.start(DEVICES);
  try {
    const sourceOf = sourcesOf(path.join(ROOT, 'apps/ingestion/dist/main.js'));
    say('warm-up');
    for (const qos of [0, 1] as const)
      await bench.phase(bench.ingestion, { devices: DEVICES, perSecond: benchRate(), durationMs: PHASE_MS, qos });
    const levels = { 0: await profiled(bench, 0, sourceOf), 1: await profiled(bench, 1, sourceOf) };
    const names = [...STAGE_NAMES, OTHERS];
    say('\n| stage | QoS 0, µs | QoS 1, µs |\n| --- | --- | --- |');
    for (const name of names) say(`| ${name} | ${levels[0].stages[name] ?? 0} | ${levels[1].stages[name] ?? 0} |`);
    const all = (qos: 0 | 1): number => rounded(levels[qos].phase.us.consumer);
    say(`| **all of the process** | **${all(0)}** | **${all(1)}** |`);
    for (const qos of [0, 1] as const) {
      const { isComplete, sent, stored } = levels[qos].phase;
      if (isComplete) continue;
      say(`QoS ${qos} DOES NOT COUNT: ${stored} of ${sent} stored`);
      process.exitCode = 1;
    }
    return { devices: DEVICES, perSecond: benchRate(), levels };
  } finally {
    await bench.stop();
  }
}
