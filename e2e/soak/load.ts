import { stretchesOf } from './memory-trend.ts';
import type { SoakResult } from './report.ts';
import { expectFlat, grouped, megabytes, type SoakScene } from './scene.ts';

const EMPTY_LIMIT_MS = 60_000;

/** How much load, for how long. */
export interface LoadScale {
  readonly devices: number;
  readonly perSecond: number;
  /** Before memory is judged. */
  readonly warmUpMs: number;
  readonly judgedMs: number;
  /** What one row tells of. */
  readonly stretchMs: number;
  readonly maxGrowthShare: number;
}

/** Telemetry at one pace for long: all of it is stored, and memory stays where it is. */
export async function load(scene: SoakScene, scale: LoadScale): Promise<SoakResult> {
  const { devices, perSecond, warmUpMs, judgedMs, stretchMs, maxGrowthShare } = scale;
  const { startAtMs, sent } = await scene.send({ devices, perSecond, durationMs: warmUpMs + judgedMs });
  scene.tell(`${grouped(perSecond)} messages/s for ${(warmUpMs + judgedMs) / 1_000} s`);
  const { result: report, observations } = await scene.observed(sent);
  const emptyAtMs = await scene.emptyAtMs(EMPTY_LIMIT_MS);
  const fromMs = startAtMs + warmUpMs;
  const limits = { fromMs, toMs: fromMs + judgedMs, stretchMs, maxGrowthShare };
  const samples = observations.map((one) => ({ atMs: one.atMs, value: one.residentBytes }));
  return {
    conditions: `${grouped(devices)} devices, ${grouped(perSecond)} messages/s at QoS 1 for ${judgedMs / 1_000} s after ${warmUpMs / 1_000} s to warm up; a message was late by ${report.lateMs} ms at most.`,
    guarantees: [
      await scene.expectAll(report.acknowledged, report),
      {
        promise: 'the broker took all that was offered',
        found: `${grouped(report.acknowledged)} of ${grouped(report.count)} acknowledged`,
        holds: report.acknowledged === report.count,
      },
      expectFlat(observations, limits),
      {
        promise: 'nothing waits in the end',
        found: emptyAtMs === undefined ? 'something did' : 'nothing',
        holds: emptyAtMs !== undefined,
      },
    ],
    columns: ['from second', 'memory, MB: least', 'median', 'most'],
    rows: stretchesOf(samples, startAtMs, limits.toMs, stretchMs).map((one) => [
      Math.round((one.fromMs - startAtMs) / 1_000),
      ...[one.least, one.median, one.most].map(megabytes),
    ]),
  };
}
