import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { battery, publishInterval } from './battery.ts';
import { batteryForLife, drainForLife, lifeDays } from './power.ts';

const positive = (max: number): fc.Arbitrary<number> => fc.double({ min: 0.01, max, noNaN: true });

describe('battery life of a connected device', () => {
  it.each([
    [0, 2.4, 833],
    [1, 7.2, 278],
    [2, 14.4, 139],
  ])('at QoS %i the course has %d mAh a day and %i days (2,000 mAh, 60 s, 120 mA)', (qos, drain, days) => {
    const { figures } = battery.answer({ qos, batteryMah: 2_000, intervalSeconds: 60, radioMa: 120 });
    expect(figures.drainMahPerDay.course).toBeCloseTo(drain, 10);
    expect(Math.round(figures.lifeDays.course ?? 0)).toBe(days);
  });

  it.each([
    [0, 0.0017],
    [1, 0.005],
    [2, 0.01],
  ])('at QoS %i the course has %d mAh a message', (qos, mah) => {
    expect((battery.answer({ qos }).figures.messageUah.course ?? 0) / 1_000).toBeCloseTo(mah, 4);
  });

  it('at QoS 0 uses 67 % less to transmit than at QoS 1, as the course concludes', () => {
    const charge = (qos: number): number => battery.answer({ qos }).figures.messageUah.course ?? 0;
    expect(Math.round((1 - charge(0) / charge(1)) * 100)).toBe(67);
  });

  it.each([
    ['modem-sleep', 1, 31.12],
    ['modem-sleep', 3, 28.81],
    ['modem-sleep', 10, 29.66],
    ['light-sleep', 1, 3.34],
    ['light-sleep', 3, 2.33],
    ['light-sleep', 10, 2.19],
  ])('honestly draws what Espressif measured in %s at DTIM %i: %d mA', (idleMode, dtim, milliamperes) => {
    const { figures } = battery.answer({ idleMode, dtim, boardMa: 0, selfDischargePercentPerMonth: 0 });
    // 1,440 messages of 50 ms keep the radio on for 72 s, which are no idle time.
    expect(figures.drainMahPerDay.honest).toBeCloseTo(2.4 + milliamperes * (24 - 72 / 3_600), 9);
    expect(figures.lifeDays.honest).toBeCloseTo(2_000 / (figures.drainMahPerDay.honest ?? 0), 9);
  });

  it('adds Wi-Fi, pings, board and self-discharge by name', () => {
    const { adds } = battery.answer({ intervalSeconds: 300, keepAliveSeconds: 60 }).figures.drainMahPerDay;
    expect(adds.map(({ name }) => name)).toEqual([
      'Wi-Fi between messages: modem-sleep at DTIM 1, 31.12 mA',
      '1,152 keep-alive pings',
      'board: regulator, USB bridge, LED at 3.8 mA',
      'self-discharge, 2.5 % a month',
    ]);
  });

  it('refuses messages that take longer than the time between them', () => {
    expect(() => battery.answer({ intervalSeconds: 0.1, qos: 2 })).toThrow(
      'intervalSeconds: expected at least 0.3 s, for which each message keeps the radio on; found 0.1',
    );
  });

  it('never gets shorter with a larger battery, a longer interval or a lower QoS', () => {
    const life = (input: Record<string, unknown>): readonly number[] => {
      const { lifeDays: days } = battery.answer(input).figures;
      return [days.course ?? 0, days.honest ?? 0];
    };
    const interval = fc.double({ min: 1, max: 2_592_000, noNaN: true });
    fc.assert(
      fc.property(fc.tuple(interval, interval), fc.constantFrom(0, 1), positive(1_000), ([one, other], qos, more) => {
        const [shorter, longer] = [Math.min(one, other), Math.max(one, other)];
        const base = life({ intervalSeconds: shorter, qos });
        for (const [index, days] of life({ intervalSeconds: longer, qos }).entries())
          expect(days).toBeGreaterThanOrEqual((base[index] ?? 0) * (1 - 1e-9));
        for (const [index, days] of life({ intervalSeconds: shorter, qos: qos + 1 }).entries())
          expect(days).toBeLessThanOrEqual(base[index] ?? 0);
        for (const [index, days] of life({ intervalSeconds: shorter, qos, batteryMah: 2_000 + more }).entries())
          expect(days).toBeGreaterThan(base[index] ?? 0);
      }),
    );
  });
});

describe('publish interval for a wanted life', () => {
  it('is the inverse of the battery life', () => {
    const cases = fc.record({
      lifeDays: fc.double({ min: 0.05, max: 200, noNaN: true }),
      batteryMah: fc.double({ min: 100, max: 100_000, noNaN: true }),
      qos: fc.constantFrom(0, 1, 2),
      idleMode: fc.constantFrom('modem-sleep', 'light-sleep'),
      keepAliveSeconds: fc.double({ min: 5, max: 600, noNaN: true }),
      boardMa: fc.double({ min: 0, max: 5, noNaN: true }),
      pingMs: fc.double({ min: 1, max: 400, noNaN: true }),
    });
    let reached = 0;
    fc.assert(
      fc.property(cases, ({ lifeDays: wanted, ...device }) => {
        const { course, honest } = publishInterval.answer({ lifeDays: wanted, ...device }).figures.intervalSeconds;
        const shortest = [0.1, 0.15, 0.3][device.qos] ?? 0;
        const life = (intervalSeconds: number): { course: number; honest: number } => {
          const { lifeDays: days } = battery.answer({ ...device, intervalSeconds }).figures;
          return { course: days.course ?? 0, honest: days.honest ?? 0 };
        };
        if (course !== null && course > shortest && course < 2_592_000)
          expect(life(course).course / wanted).toBeCloseTo(1, 6);
        if (honest !== null && honest > shortest && honest < 2_592_000) {
          reached += 1;
          expect(life(honest).honest / wanted).toBeCloseTo(1, 6);
        }
        if (honest === null) expect(life(2_592_000).honest).toBeLessThanOrEqual(wanted * 1.01);
      }),
      { numRuns: 500 },
    );
    expect(reached).toBeGreaterThan(50);
  });

  it('is none where the Wi-Fi alone empties the battery, and says when', () => {
    const { figures, notes } = publishInterval.answer({ lifeDays: 730 });
    expect(figures.intervalSeconds).toMatchObject({ course: expect.closeTo(52.56, 6), honest: null });
    expect(notes[0]).toMatch(/empty after 2\.379 d\. Deep sleep/);
  });
});

describe('an even drain with self-discharge', () => {
  it('has inverses: drain and battery for a life', () => {
    fc.assert(
      fc.property(
        positive(100_000),
        positive(1_000),
        fc.double({ min: 0, max: 30, noNaN: true }),
        (mah, drain, lost) => {
          const days = lifeDays(mah, drain, lost);
          fc.pre(days < 7_300);
          expect(drainForLife(mah, days, lost) / drain).toBeCloseTo(1, 6);
          expect(batteryForLife(drain, days, lost) / mah).toBeCloseTo(1, 6);
        },
      ),
    );
  });

  it('loses 30 % in the first month of an unused NiMH battery', () => {
    // Drained by next to nothing, it has 70 % left after a month: what a battery of 700 mAh starts with.
    const [full, later] = [lifeDays(1_000, 0.001, 30), lifeDays(700, 0.001, 30)];
    expect(full - later).toBeCloseTo(365.25 / 12, 1);
  });
});
