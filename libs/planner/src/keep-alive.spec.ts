import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { detection, keepAlive } from './keep-alive.ts';

describe('keep-alive and will timeout', () => {
  it.each([
    [60, 90],
    [30, 45],
    [300, 450],
  ])('detects after 1.5 × %i s = %i s by the course', (keepAliveSeconds, seconds) => {
    expect(keepAlive.answer({ keepAliveSeconds }).figures.detectionSeconds.course).toBe(seconds);
  });

  it('honestly detects after 0.8 to 1.7 × keep-alive, and at once where the system closes the connection', () => {
    const { figures } = keepAlive.answer({ keepAliveSeconds: 60 });
    expect(figures.earliestDetectionSeconds.honest).toBeCloseTo(48, 9);
    expect(figures.detectionSeconds.honest).toBeCloseTo(102, 9);
    expect(figures.killedProcessSeconds.honest).toBe(0.013);
  });

  it('adds the will delay to all of them', () => {
    const { figures } = keepAlive.answer({ keepAliveSeconds: 60, willDelaySeconds: 30 });
    expect(figures.detectionSeconds).toMatchObject({ course: 90, honest: expect.closeTo(132, 9) });
    expect(figures.earliestDetectionSeconds.honest).toBeCloseTo(78, 9);
    expect(figures.killedProcessSeconds.honest).toBeCloseTo(30.013, 9);
  });

  it('counts the bytes that a ping has on the wire, and its charge', () => {
    const { figures } = keepAlive.answer({ keepAliveSeconds: 60 });
    expect(figures.pingsPerDay).toMatchObject({ course: 1_440, honest: 1_440 });
    expect(figures.pingBytesPerDay).toMatchObject({ course: 1_440 * 4, honest: 1_440 * (4 + 120 + 44) });
    expect(keepAlive.answer({ security: 'none' }).figures.pingBytesPerDay.honest).toBe(1_440 * 124);
    expect(figures.pingMahPerDay.honest).toBeCloseTo(2.4, 9);
    expect(keepAlive.answer({ devices: 6_000 }).figures.pingsPerSecond.honest).toBeCloseTo(100, 9);
  });

  it('has no pings where messages come more often', () => {
    expect(keepAlive.answer({ keepAliveSeconds: 60, messageIntervalSeconds: 60 }).figures.pingsPerDay.honest).toBe(0);
    expect(keepAlive.answer({ keepAliveSeconds: 60, messageIntervalSeconds: 120 }).figures.pingsPerDay.honest).toBe(
      720,
    );
  });

  it.each([
    [{ keepAliveSeconds: 29 }, /less than 30 s/],
    [{ keepAliveSeconds: 7_441 }, /router may forget/],
    [{ willBytes: 100 }, /below 100 bytes/],
  ])('warns of %o', (input, warning) => {
    expect(keepAlive.answer(input).notes.join(' ')).toMatch(warning);
  });

  it('says nothing where nothing is wrong', () => {
    expect(keepAlive.answer({ keepAliveSeconds: 30, willBytes: 99 }).notes).toEqual([]);
  });

  it('takes no keep-alive of 0, which would turn it off', () => {
    expect(() => keepAlive.answer({ keepAliveSeconds: 0 })).toThrow(
      'keepAliveSeconds: expected a whole number from 5 to 65,535 s; found 0',
    );
  });
});

describe('keep-alive for a wanted detection', () => {
  it('is the inverse: a second more would be too late', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 60, max: 90_000, noNaN: true }),
        fc.double({ min: 0, max: 30, noNaN: true }),
        (withinSeconds, willDelaySeconds) => {
          const { honest } = detection.answer({ withinSeconds, willDelaySeconds }).figures.keepAliveSeconds;
          const latest = (keepAliveSeconds: number): number =>
            keepAlive.answer({ keepAliveSeconds, willDelaySeconds }).figures.detectionSeconds.honest ?? 0;
          expect(latest(honest ?? 0)).toBeLessThanOrEqual(withinSeconds + 1e-6);
          expect(latest((honest ?? 0) + 1)).toBeGreaterThan(withinSeconds - 1e-6);
        },
      ),
    );
  });

  it.each([
    [90, 60, 52],
    [60, 40, 35],
    [102, 68, 60],
  ])('within %i s is %i s by the course and %i s honestly', (withinSeconds, course, honest) => {
    expect(detection.answer({ withinSeconds }).figures.keepAliveSeconds).toMatchObject({ course, honest });
  });

  it('is none where it would be shorter than clients take', () => {
    const { figures, notes } = detection.answer({ withinSeconds: 8 });
    expect(figures.keepAliveSeconds).toMatchObject({ course: 5, honest: null });
    expect(notes[0]).toMatch(/5 s is the shortest/);
  });
});
