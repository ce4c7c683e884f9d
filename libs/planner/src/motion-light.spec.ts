import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { motionLight, pollInterval } from './motion-light.ts';

describe('timing from motion to light', () => {
  it.each([
    [0, 205],
    [1, 215],
    [2, 230],
  ])("at QoS %i is at most %i ms by the course: delay(200) and the QoS table's latency", (qos, milliseconds) => {
    expect(motionLight.answer({ qos }).figures.worstLatencyMs.course).toBe(milliseconds);
  });

  it('honestly adds what the command waits for: Nagle and the beacon that wakes the radio of the light', () => {
    const { figures } = motionLight.answer({});
    expect(figures.worstLatencyMs.honest).toBeCloseTo(200 + 5 + 60 + 102.4, 9);
    expect(figures.typicalLatencyMs.honest).toBeCloseTo(100 + 5 + 44 + 51.2, 9);
    const best = motionLight.answer({ pollMs: 0, tcpNoDelay: 'yes', dtim: 10, automationMs: 7 }).figures;
    expect(best.worstLatencyMs.honest).toBeCloseTo(5 + 1_024 + 7, 9);
  });

  it("turns off 30 s after the start of motion in the course's sketch, honestly after the last motion (S1)", () => {
    const short = motionLight.answer({ motionSeconds: 2, pirHoldSeconds: 3, offDelaySeconds: 30 }).figures;
    expect(short.onSeconds).toMatchObject({ course: 30, honest: 35 });
    const long = motionLight.answer({ motionSeconds: 120, pirHoldSeconds: 3, offDelaySeconds: 30 }).figures;
    expect(long.onSeconds).toMatchObject({ course: 123, honest: 153 });
    // Somebody who has moved for two minutes and sits down has light for as long as the sensor stays high, and no longer.
    expect(long.stillSeconds).toMatchObject({ course: 3, honest: 33 });
  });

  it("sends OFF once, and not at every look as the course's sketch does while idle (S1)", () => {
    const { messagesPerDay } = motionLight.answer({ eventsPerDay: 0, pollMs: 200 }).figures;
    expect(messagesPerDay).toMatchObject({ course: 86_400 * 5 * 2, honest: 0 });
    expect(motionLight.answer({ eventsPerDay: 20 }).figures.messagesPerDay.honest).toBe(120);
  });

  it('counts the energy of the lamp and of both boards', () => {
    const { lampWhPerDay } = motionLight.answer({ eventsPerDay: 20, lampWatts: 9 }).figures;
    expect(lampWhPerDay.course).toBeCloseTo((9 * 20 * 123) / 3_600, 9);
    expect(lampWhPerDay.honest).toBeCloseTo((9 * 20 * 153) / 3_600 + (2 * (31.12 + 3.8) * 5 * 24) / 1_000, 9);
    const always = motionLight.answer({
      eventsPerDay: 10_000,
      lampWatts: 10,
      boardMa: 0,
      idleMode: 'light-sleep',
      dtim: 10,
    });
    expect(always.figures.lampWhPerDay.honest).toBeCloseTo(240 + (2 * 2.19 * 5 * 24) / 1_000, 9);
    expect(always.notes.join(' ')).toMatch(/all day/);
  });

  it('warns where the light goes off while the sensor is blind', () => {
    expect(motionLight.answer({ offDelaySeconds: 2 }).notes.join(' ')).toMatch(/blind/);
    expect(motionLight.answer({}).notes).toEqual([]);
  });

  it('is never on longer with a shorter delay, and never sooner with a longer poll', () => {
    const seconds = fc.double({ min: 0, max: 3_600, noNaN: true });
    fc.assert(
      fc.property(fc.tuple(seconds, seconds), fc.tuple(seconds, seconds), ([one, other], [motion, poll]) => {
        const at = (offDelaySeconds: number, pollMs: number): readonly [number, number] => {
          const { onSeconds, worstLatencyMs } = motionLight.answer({
            offDelaySeconds,
            pollMs,
            motionSeconds: motion,
          }).figures;
          return [onSeconds.honest ?? 0, worstLatencyMs.honest ?? 0];
        };
        const low = at(Math.min(one, other), poll);
        const high = at(Math.max(one, other), poll + 1);
        expect(low[0]).toBeLessThanOrEqual(high[0]);
        expect(low[1]).toBeLessThan(high[1]);
      }),
    );
  });
});

describe('poll interval for a wanted latency', () => {
  it('is the inverse of the worst latency', () => {
    const input = fc.record({
      qos: fc.constantFrom(0, 1, 2),
      automationMs: fc.double({ min: 0, max: 1_000, noNaN: true }),
      tcpNoDelay: fc.constantFrom('yes', 'no'),
      dtim: fc.constantFrom(1, 3, 10),
      beaconMs: fc.double({ min: 10, max: 2_000, noNaN: true }),
    });
    fc.assert(
      fc.property(input, fc.double({ min: 1, max: 30_000, noNaN: true }), (setting, withinMs) => {
        const { course, honest } = pollInterval.answer({ withinMs, ...setting }).figures.pollMs;
        const worst = (pollMs: number): { readonly course: number; readonly honest: number } => {
          const { worstLatencyMs } = motionLight.answer({ pollMs, ...setting }).figures;
          return { course: worstLatencyMs.course ?? 0, honest: worstLatencyMs.honest ?? 0 };
        };
        if (course !== null) expect(worst(course).course).toBeCloseTo(withinMs, 6);
        if (honest !== null) expect(worst(honest).honest).toBeCloseTo(withinMs, 6);
        else expect(worst(0).honest).toBeGreaterThan(withinMs);
      }),
    );
  });

  it('is none where an interrupt is too slow, and says what to change', () => {
    const { figures, notes } = pollInterval.answer({ withinMs: 100 });
    expect(figures.pollMs).toMatchObject({ course: 95, honest: null });
    expect(notes[0]).toMatch(/TCP_NODELAY/);
  });
});
