import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batterySize, deepSleep, heartbeat } from './deep-sleep.ts';

describe('battery life with deep sleep', () => {
  const { figures } = deepSleep.answer({ wakeIntervalSeconds: 60, batteryMah: 2_000, qos: 0 });

  it.each([
    ['Wi-Fi: 4.44 + 41.67 µAh', figures.wifiUah.course, 46.11],
    ['MQTT: 3.33 + 2.22 µAh', figures.mqttUah.course, 5.55],
    ['message', figures.messageUah.course, 1.67],
    ['a wake: 46.11 + 5.55 + 1.67 µAh', figures.wakeUah.course, 53.33],
    ['a day, 76,795 µAh', Math.round((figures.drainMahPerDay.course ?? 0) * 1_000), 76_795],
    ['a day in mAh', Number(figures.drainMahPerDay.course?.toFixed(1)), 76.8],
    ['days', Math.round(figures.lifeDays.course ?? 0), 26],
    ['days if it stays connected', Math.round(figures.connectedLifeDays.course ?? 0), 833],
  ])('has the figure of the course: %s', (_, actual, printed) => {
    expect(actual).toBe(printed);
  });

  it('has Wi-Fi 28 times as dear as the message, as the course concludes', () => {
    expect(Math.round((figures.wifiUah.course ?? 0) / (figures.messageUah.course ?? 1))).toBe(28);
  });

  it('honestly adds boot, TLS, the sleeping chip, the board and self-discharge', () => {
    expect(figures.drainMahPerDay.adds.map(({ name }) => name)).toEqual([
      'boot at each wake',
      'TLS handshake at each wake',
      'chip in deep sleep, 5 µA',
      'board: regulator, USB bridge, LED at 3.8 mA',
      'self-discharge, 2.5 % a month',
    ]);
    // 1,440 × (53.33 + 43 mA × 270 ms + 100 mA × 1.2 s) and 3.8 mA all day; 5 µA while asleep.
    const wakes = (1_440 * (53.33 + (43 * 270) / 3_600 + (100 * 1_200) / 3_600)) / 1_000;
    const asleepHours = 24 - (1_440 * 3.47) / 3_600;
    const withoutLoss = deepSleep.answer({ selfDischargePercentPerMonth: 0 }).figures;
    expect(withoutLoss.drainMahPerDay.honest).toBeCloseTo(wakes + 24 * 3.8 + (asleepHours * 5) / 1_000, 9);
    expect(withoutLoss.lifeDays.honest).toBeCloseTo(2_000 / (withoutLoss.drainMahPerDay.honest ?? 0), 9);
  });

  it('does not let the connected device live for 833 days', () => {
    expect(figures.connectedLifeDays.honest).toBeLessThan(3);
  });

  it('lives longer on a bare module', () => {
    expect(figures.bareModuleLifeDays.honest).toBeGreaterThan(figures.lifeDays.honest ?? 0);
    expect(deepSleep.answer({ boardMa: 0 }).figures.lifeDays.honest).toBe(figures.bareModuleLifeDays.honest);
  });

  it('refuses to wake before it sleeps', () => {
    expect(() => deepSleep.answer({ wakeIntervalSeconds: 2 })).toThrow(
      'wakeIntervalSeconds: expected at least 3.47 s, which a wake takes; found 2',
    );
  });

  it('never lives shorter with rarer wakes, and longer with a larger battery', () => {
    const interval = fc.double({ min: 4, max: 2_592_000, noNaN: true });
    fc.assert(
      fc.property(fc.tuple(interval, interval), ([one, other]) => {
        const days = (wakeIntervalSeconds: number, batteryMah = 2_000): readonly [number, number] => {
          const life = deepSleep.answer({ wakeIntervalSeconds, batteryMah }).figures.lifeDays;
          return [life.course ?? 0, life.honest ?? 0];
        };
        const rare = days(Math.max(one, other));
        const often = days(Math.min(one, other));
        const large = days(Math.min(one, other), 2_001);
        for (const index of [0, 1] as const) {
          expect(rare[index]).toBeGreaterThanOrEqual(often[index] * (1 - 1e-9));
          expect(large[index]).toBeGreaterThan(often[index]);
        }
      }),
    );
  });
});

const device = fc.record({
  lifeDays: fc.double({ min: 1, max: 3_650, noNaN: true }),
  qos: fc.constantFrom(0, 1, 2),
  tlsMs: fc.double({ min: 0, max: 3_000, noNaN: true }),
  boardMa: fc.double({ min: 0, max: 0.5, noNaN: true }),
  sleepUa: fc.double({ min: 1, max: 200, noNaN: true }),
  selfDischargePercentPerMonth: fc.double({ min: 0, max: 10, noNaN: true }),
});

describe('heartbeat for a wanted life', () => {
  it('is the inverse of the battery life', () => {
    let reached = 0;
    fc.assert(
      fc.property(device, fc.double({ min: 500, max: 50_000, noNaN: true }), ({ lifeDays, ...wake }, batteryMah) => {
        const { heartbeatSeconds } = heartbeat.answer({ lifeDays, batteryMah, ...wake }).figures;
        const life = (wakeIntervalSeconds: number): { readonly course: number; readonly honest: number } => {
          const { figures } = deepSleep.answer({ wakeIntervalSeconds, batteryMah, ...wake });
          return { course: figures.lifeDays.course ?? 0, honest: figures.lifeDays.honest ?? 0 };
        };
        const { course, honest } = heartbeatSeconds;
        if (course !== null && course > 10 && course < 2_592_000)
          expect(life(course).course / lifeDays).toBeCloseTo(1, 6);
        if (honest !== null && honest > 10 && honest < 2_592_000) {
          reached += 1;
          expect(life(honest).honest / lifeDays).toBeCloseTo(1, 6);
        }
        if (honest === null) expect(life(2_592_000).honest).toBeLessThan(lifeDays);
      }),
      { numRuns: 500 },
    );
    expect(reached).toBeGreaterThan(50);
  });

  it('for two years is 28 minutes by the course, none on a development board, 69 minutes on a bare module', () => {
    const { figures, notes } = heartbeat.answer({ lifeDays: 730 });
    expect(Math.round((figures.heartbeatSeconds.course ?? 0) / 60)).toBe(28);
    expect(figures.heartbeatSeconds.honest).toBeNull();
    expect(Math.round((figures.bareModuleHeartbeatSeconds.honest ?? 0) / 60)).toBe(69);
    expect(notes[0]).toMatch(/No heartbeat is long enough/);
  });

  it('is longer when changes take a part of the wakes, and none when they take all', () => {
    const seconds = (changesPerDay: number): number | null =>
      heartbeat.answer({ changesPerDay, boardMa: 0 }).figures.heartbeatSeconds.honest;
    expect(seconds(10)).toBeGreaterThan(seconds(0) ?? 0);
    expect(seconds(72)).toBeNull();
    expect(heartbeat.answer({ changesPerDay: 72, boardMa: 0 }).notes).toEqual([
      'The battery has charge for 20.82 wakes a day, and the changes need them all.',
    ]);
  });
});

describe('battery for a wanted life', () => {
  it('is the other inverse of the battery life', () => {
    fc.assert(
      fc.property(device, fc.double({ min: 60, max: 86_400, noNaN: true }), ({ lifeDays, ...wake }, seconds) => {
        const input = { wakeIntervalSeconds: seconds, ...wake };
        const { course, honest } = batterySize.answer({ lifeDays, ...input }).figures.batteryMah;
        if (course !== null && course >= 1 && course <= 1_000_000)
          expect(
            (deepSleep.answer({ batteryMah: course, ...input }).figures.lifeDays.course ?? 0) / lifeDays,
          ).toBeCloseTo(1, 6);
        if (honest !== null && honest >= 1)
          expect(
            (deepSleep.answer({ batteryMah: honest, ...input }).figures.lifeDays.honest ?? 0) / lifeDays,
          ).toBeCloseTo(1, 6);
      }),
    );
  });

  it('is none where it would be larger than any that can be asked for', () => {
    const { figures, notes } = batterySize.answer({ lifeDays: 7_300, wakeIntervalSeconds: 10 });
    expect(figures.batteryMah.honest).toBeNull();
    expect(notes).toEqual(['It would have more than 1,000,000 mAh.']);
  });
});
