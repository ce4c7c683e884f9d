import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { influxdbOutage } from './soak/influxdb-outage.ts';
import { load } from './soak/load.ts';
import type { SoakResult } from './soak/report.ts';
import { SoakScene } from './soak/scene.ts';

/** As `npm run soak`, with a tenth of its load and for seconds: the heap still grows to what it will be. */
const SCALE = { devices: 1_000, perSecond: 1_000, stretchMs: 2_000, maxGrowthShare: 0.5 };

let scene: SoakScene;

beforeAll(async () => {
  scene = await SoakScene.start(SCALE.devices, () => undefined);
});

afterAll(() => scene.stop());

function expectAllToHold({ guarantees }: SoakResult): void {
  expect(guarantees.filter(({ holds }) => !holds)).toEqual([]);
}

describe('telemetry that goes on and on', () => {
  it('is stored whole, and the memory of ingestion stays where it is', { timeout: 60_000 }, async () => {
    expectAllToHold(await load(scene, { ...SCALE, warmUpMs: 4_000, judgedMs: 14_000 }));
  });

  it(
    'waits in the spool while nobody listens where InfluxDB was, and is stored whole afterwards',
    { timeout: 60_000 },
    async () => {
      const times = { warmUpMs: 2_000, outageMs: 10_000, afterMs: 4_000 };
      expectAllToHold(await influxdbOutage(scene, { ...SCALE, ...times, absence: 'stopped' }));
    },
  );
});
