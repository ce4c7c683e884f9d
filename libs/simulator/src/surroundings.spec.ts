import { describe, expect, it } from 'vitest';
import { DeviceCore } from './device-core.ts';
import { ScriptedWorld } from './scripted-world.ts';
import { Chance, Surroundings } from './surroundings.ts';

const DAY_MS = 86_400_000;
const SENSORS = 50;
/** Midnight, UTC. */
const MIDNIGHT_MS = Date.UTC(2026, 0, 5);

describe('an office of 50 sensors', () => {
  it('publishes about 360 messages a sensor and day on change, instead of 17,280', { timeout: 120_000 }, async () => {
    const core = await DeviceCore.load();
    const messages = Array.from({ length: SENSORS }, (_, index) => {
      const surroundings = new Surroundings(new Chance(index + 1), MIDNIGHT_MS);
      const device = { id: `office-${index}`, node: 'dht22' } as const;
      const world = new ScriptedWorld(core, { device, clockMs: MIDNIGHT_MS, endMs: DAY_MS }, (nowMs) =>
        surroundings.climateAt(MIDNIGHT_MS + nowMs),
      );
      world.run();
      return world.trace.filter((line) => line.includes(`devices/office-${index}/telemetry`)).length;
    });
    const mean = messages.reduce((sum, count) => sum + count, 0) / SENSORS;
    expect(mean).toBeGreaterThan(330);
    expect(mean).toBeLessThan(390);
    expect(Math.min(...messages)).toBeGreaterThanOrEqual(288);
  });

  it('is the same with the same seed', () => {
    const climates = [7, 7, 8].map((seed) => {
      const surroundings = new Surroundings(new Chance(seed), MIDNIGHT_MS);
      return Array.from({ length: 24 }, (_, hour) => surroundings.climateAt(MIDNIGHT_MS + hour * 3_600_000));
    });
    expect(climates[0]).toEqual(climates[1]);
    expect(climates[0]).not.toEqual(climates[2]);
  });
});
