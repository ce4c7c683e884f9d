import { setTimeout as delay } from 'node:timers/promises';
import type { TrafficReport } from '../bench/traffic.ts';
import { stretchesOf } from './memory-trend.ts';
import type { Absence } from './own-influxdb.ts';
import type { SoakResult } from './report.ts';
import { expectFlat, grouped, megabytes, within, type SoakScene } from './scene.ts';

const COME_BACK_LIMIT_MS = 120_000;
/** The spool is read beside live telemetry; slower than this, and an outage each day would fill the disk. */
const CATCH_UP_SHARE = 2;
const CATCH_UP_AT_LEAST_MS = 60_000;

/** A write that hangs is given up after 10 s, and then its lines go to the spool. */
const NOTICED_AFTER_MS: Readonly<Record<Absence, number>> = { stopped: 0, frozen: 10_000 };
/** Of an outage, what the age of the oldest telemetry must have come to: it is looked at each second. */
const SEEN_SHARE = 0.8;

/** How much load, and for how long InfluxDB is away under it. */
export interface OutageScale {
  readonly absence: Absence;
  readonly devices: number;
  readonly perSecond: number;
  readonly warmUpMs: number;
  readonly outageMs: number;
  /** For how long the load goes on afterwards. */
  readonly afterMs: number;
  /** What one row tells of. */
  readonly stretchMs: number;
  readonly maxGrowthShare: number;
}

interface Course {
  readonly report: TrafficReport;
  readonly awayAtMs: number;
  readonly backAtMs: number;
  /** Undefined where something still waited in the end. */
  readonly emptyAtMs: number | undefined;
}

async function outage(
  scene: SoakScene,
  { absence, warmUpMs, outageMs }: OutageScale,
  { startAtMs, sent }: Awaited<ReturnType<SoakScene['send']>>,
): Promise<Course> {
  await delay(startAtMs + warmUpMs - Date.now());
  await scene.influxdb.leave(absence);
  const awayAtMs = Date.now();
  scene.tell(`InfluxDB is ${absence}`);
  await delay(outageMs);
  await within(scene.influxdb.comeBack(absence), COME_BACK_LIMIT_MS, 'the start of InfluxDB');
  const backAtMs = Date.now();
  scene.tell('InfluxDB is back');
  // Under load there is always something in hand: the spool is looked at by itself.
  const caughtUp = scene.spoolEmptyAtMs(Math.max(CATCH_UP_AT_LEAST_MS, CATCH_UP_SHARE * outageMs));
  const [report, emptyAtMs] = await Promise.all([sent, caughtUp]);
  return { report, awayAtMs, backAtMs, emptyAtMs };
}

/** InfluxDB is away under load: telemetry waits on disk, memory stays, and nothing is missing when it is back. */
export async function influxdbOutage(scene: SoakScene, scale: OutageScale): Promise<SoakResult> {
  const { absence, devices, perSecond, warmUpMs, outageMs, afterMs, stretchMs, maxGrowthShare } = scale;
  const traffic = await scene.send({ devices, perSecond, durationMs: warmUpMs + outageMs + afterMs });
  scene.tell(`${grouped(perSecond)} messages/s; InfluxDB is ${absence} after ${warmUpMs / 1_000} s`);
  const { result, observations } = await scene.observed(outage(scene, scale, traffic));
  const { report, awayAtMs, backAtMs, emptyAtMs } = result;
  const { startAtMs } = traffic;
  const samples = (value: 'residentBytes' | 'spoolBytes' | 'spoolAgeSeconds'): Parameters<typeof stretchesOf>[0] =>
    observations.map((one) => ({ atMs: one.atMs, value: one[value] }));
  const endMs = observations.at(-1)?.atMs ?? backAtMs;
  const rowsOf = (value: Parameters<typeof samples>[0]): ReturnType<typeof stretchesOf> =>
    stretchesOf(samples(value), startAtMs, endMs, stretchMs);
  const spool = rowsOf('spoolBytes');
  const age = rowsOf('spoolAgeSeconds');
  const oldestSeconds = Math.max(...observations.map(({ spoolAgeSeconds }) => spoolAgeSeconds));
  return {
    conditions: `${grouped(devices)} devices, ${grouped(perSecond)} messages/s at QoS 1; InfluxDB was ${absence} from second ${seconds(awayAtMs - startAtMs)} to second ${seconds(backAtMs - startAtMs)}, and the load went on for ${afterMs / 1_000} s.`,
    guarantees: [
      await scene.expectAll(report.acknowledged, report),
      {
        promise: 'the broker took all that was offered',
        found: `${grouped(report.acknowledged)} of ${grouped(report.count)} acknowledged`,
        holds: report.acknowledged === report.count,
      },
      {
        promise: 'telemetry waits in the spool, and its age says since when',
        found: `${megabytes(Math.max(...spool.map(({ most }) => most)))} MB at most, the oldest ${Math.round(oldestSeconds)} s`,
        holds: oldestSeconds * 1_000 >= SEEN_SHARE * (outageMs - NOTICED_AFTER_MS[absence]),
      },
      {
        promise: 'the spool is empty again',
        found: emptyAtMs === undefined ? 'it was not' : `${seconds(emptyAtMs - backAtMs)} s after InfluxDB was back`,
        holds: emptyAtMs !== undefined,
      },
      expectFlat(observations, { fromMs: awayAtMs, toMs: backAtMs, stretchMs, maxGrowthShare }),
    ],
    columns: ['from second', 'InfluxDB', 'memory, MB: median', 'most', 'spool, MB', 'oldest, s'],
    rows: rowsOf('residentBytes').map((one, index) => [
      seconds(one.fromMs - startAtMs),
      one.fromMs >= awayAtMs && one.fromMs < backAtMs ? absence : 'there',
      megabytes(one.median),
      megabytes(one.most),
      megabytes(spool[index]?.most ?? 0),
      Math.round(age[index]?.most ?? 0),
    ]),
  };
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds / 1_000);
}
