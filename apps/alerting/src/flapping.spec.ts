import { describe, expect, it } from 'vitest';
import { EvaluationScene, MINUTE, T0 } from './evaluation-scene.ts';

describe('flapping', () => {
  const flapping = { name: 'flaps', kind: 'flapping', times: 3, within: '10m' };
  it('fires when a device was lost too often, and ends when that is long enough ago', () => {
    const scene = new EvaluationScene(flapping);
    for (let time = 0; time < 3; time += 1) scene.lost('a').wait(MINUTE).device('a', 'online').wait(MINUTE);
    expect(scene.told).toEqual(['firing flaps a']);
    expect(scene.last?.value).toBe(3);
    expect(scene.wait(4 * MINUTE).told).toEqual(['firing flaps a', 'resolved flaps a']);
  });

  it('is not told before the end of its broker would have been seen', () => {
    const scene = new EvaluationScene({ ...flapping, times: 2 }).flaps('a', 1).lost('a');
    expect(scene.wait(1_499).told).toEqual([]);
    expect(scene.wait(1).told).toEqual(['firing flaps a']);
  });

  it('goes on over a restart, without an end in between', () => {
    const scene = new EvaluationScene(flapping);
    scene.restarted({ rule: 'flaps', subject: 'a', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 3 });
    scene.lossHistory('a', 5 * MINUTE, 3 * MINUTE, MINUTE);
    expect(scene.wait(4 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['resolved flaps a']);
  });

  it('ends at a restart when the losses are long over', () => {
    const scene = new EvaluationScene(flapping);
    scene.restarted({ rule: 'flaps', subject: 'a', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 3 });
    expect(scene.told).toEqual([]);
    expect(scene.lossHistory('a', 11 * MINUTE).told).toEqual(['resolved flaps a']);
  });

  it('counts a loss once that is read and comes as well', () => {
    const scene = new EvaluationScene(flapping).lossHistory('a', 2 * MINUTE);
    const loss = scene.loss('a');
    scene.evaluator.lossHistory([loss], 10 * MINUTE, T0);
    scene.evaluator.losses([loss], T0);
    expect(scene.wait(MINUTE).told).toEqual([]);
    expect(scene.lost('a').wait(MINUTE).told).toEqual(['firing flaps a']);
  });

  it('is not what a broker does that is started again and again', () => {
    const scene = new EvaluationScene(flapping).brokerThere(T0 - 60 * MINUTE);
    for (let time = 0; time < 4; time += 1) {
      scene.lost('a').brokerAway().wait(1_000).brokerThere(scene.nowMs).lost('a').wait(10_000).lost('a', true);
      scene.device('a', 'online').wait(30_000);
    }
    expect(scene.wait(2 * MINUTE).told).toEqual([]);
  });

  it('soon after the start of its broker is told when the grace is over', () => {
    const scene = new EvaluationScene(flapping).brokerAway().brokerThere(T0).wait(5_000).flaps('a', 3);
    expect(scene.told).toEqual([]);
    expect(scene.wait(24_999).told).toEqual([]);
    expect(scene.wait(1).told).toEqual(['firing flaps a']);
  });

  it('while only we had lost the broker is told when we are back', () => {
    const scene = new EvaluationScene(flapping)
      .brokerThere(T0 - 60 * MINUTE)
      .wait(MINUTE)
      .brokerAway()
      .flaps('a', 3);
    expect(scene.told).toEqual([]);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual(['firing flaps a']);
  });

  it('before the broker is known at the start is told when it is', () => {
    const scene = new EvaluationScene(flapping);
    scene.evaluator.broker('b', { kind: 'away', sinceMs: null }, T0);
    scene.lossHistory('a', 5 * MINUTE, 3 * MINUTE, MINUTE).wait(1_000);
    expect(scene.told).toEqual([]);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual(['firing flaps a']);
  });

  it('that fires goes on while nobody knows which losses count', () => {
    const scene = new EvaluationScene(flapping);
    scene.evaluator.broker('b', { kind: 'away', sinceMs: null }, T0);
    scene.restarted({ rule: 'flaps', subject: 'a', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 3 });
    scene.lossHistory('a', 5 * MINUTE, 3 * MINUTE, MINUTE).wait(2 * MINUTE);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual([]);
    expect(scene.wait(3 * MINUTE).told).toEqual(['resolved flaps a']);
  });

  it('does not count what the end of the broker did before our restart', () => {
    const scene = new EvaluationScene(flapping);
    const outage = { broker: 'b', fromMs: T0 - 5.5 * MINUTE, untilMs: T0 - 4.5 * MINUTE };
    scene.fleet.restoreOutage(outage);
    scene.evaluator.broker('b', { kind: 'away', sinceMs: null }, T0);
    // The last of them was the end of the broker that was started while nobody watched.
    scene.lossHistory('a', 5 * MINUTE, 3 * MINUTE, 2 * MINUTE).brokerThere(T0 - 1.5 * MINUTE);
    expect(scene.wait(MINUTE).told).toEqual([]);
    expect(scene.lost('a').wait(MINUTE).told).toEqual([]);
    expect(scene.lost('a').wait(MINUTE).told).toEqual(['firing flaps a']);
  });

  it('goes on and ends under a new version of its rule', () => {
    const scene = new EvaluationScene(flapping).flaps('a', 3);
    scene.rules(2, { ...flapping, times: 2 });
    expect(scene.told).toEqual(['firing flaps a']);
    expect(scene.wait(20 * MINUTE).told).toEqual(['firing flaps a', 'resolved flaps a']);
  });

  it('under a version that looks back longer waits until those losses are read', () => {
    const scene = new EvaluationScene(flapping).flaps('a', 3).wait(9 * MINUTE);
    scene.rules(2, { ...flapping, within: '1h' });
    expect(scene.evaluator.lossesToReadMs).toBe(60 * MINUTE);
    expect(
      scene
        .wait(20 * MINUTE)
        .lost('a')
        .wait(MINUTE).told,
    ).toEqual(['firing flaps a']);
    expect(scene.lossHistory('a', 35 * MINUTE).wait(MINUTE).told).toHaveLength(1);
    expect(scene.wait(60 * MINUTE).told).toEqual(['firing flaps a', 'resolved flaps a']);
  });

  it('costs one entry in the schedule, however often a device is lost', () => {
    const scene = new EvaluationScene(flapping).flaps('a', 30);
    let counted = 0;
    while (scene.evaluator.nextDueMs !== undefined) {
      scene.wait(Math.max(1, scene.evaluator.nextDueMs - scene.nowMs));
      counted += 1;
    }
    expect(counted).toBeLessThanOrEqual(31);
    expect(scene.told).toEqual(['firing flaps a', 'resolved flaps a']);
  });
});
