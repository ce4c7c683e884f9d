import { influxdbOutage } from './influxdb-outage.ts';
import { killed } from './kill.ts';
import { load } from './load.ts';
import type { Absence } from './own-influxdb.ts';
import type { SoakResult } from './report.ts';
import type { SoakScene } from './scene.ts';

const MINUTE_MS = 60_000;
/** Shorter runs than this see the heap still grow to what it will be. */
const FULL_MINUTES = 5;

/** What can be chosen of a run. */
export interface SoakOptions {
  /** For how long what a scenario is about goes on: the load, the outage, the kills. */
  readonly minutes: number;
  readonly devices: number;
  readonly perSecond: number;
}

/** A long run by its name. */
export interface Scenario {
  /** How long it is unless told. */
  readonly minutes: number;
  readonly run: (scene: SoakScene, options: SoakOptions) => Promise<SoakResult>;
}

/** What all scenarios under load have in common, by how long they are: warm-up, rows of the table, growth of memory. */
function scaleOf({ minutes }: Pick<SoakOptions, 'minutes'>): {
  readonly warmUpMs: number;
  readonly stretchMs: number;
  readonly maxGrowthShare: number;
} {
  const warmUpMs = Math.min(MINUTE_MS, (minutes * MINUTE_MS) / 2);
  return minutes >= FULL_MINUTES
    ? { warmUpMs, stretchMs: MINUTE_MS, maxGrowthShare: 0.1 }
    : { warmUpMs, stretchMs: MINUTE_MS / 12, maxGrowthShare: 0.25 };
}

function outage(absence: Absence, defaultMinutes: number): Scenario {
  return {
    minutes: defaultMinutes,
    run: (scene, options) => {
      const scale = scaleOf(options);
      const outageMs = options.minutes * MINUTE_MS;
      return influxdbOutage(scene, { ...options, ...scale, absence, outageMs, afterMs: scale.warmUpMs });
    },
  };
}

/** Every long run, by the name that `npm run soak NAME` takes. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  load: {
    minutes: 10,
    run: (scene, options) => load(scene, { ...options, ...scaleOf(options), judgedMs: options.minutes * MINUTE_MS }),
  },
  'influxdb-stopped': outage('stopped', 5),
  'influxdb-frozen': outage('frozen', 10),
  kill: {
    minutes: 10,
    run: (scene, { minutes }) => killed(scene, { durationMs: minutes * MINUTE_MS, senders: 8, pauseMs: 50 }),
  },
};
