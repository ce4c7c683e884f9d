import { describe, expect, it } from 'vitest';
import { EvaluationScene, MINUTE, T0 } from './evaluation-scene.ts';

const warm = { name: 'warm', kind: 'threshold', metric: 'temp', above: 30, clear: 28, for: '5m' };
const lost = { name: 'lost', kind: 'presence', for: '30s' };
const silent = { name: 'silent', kind: 'absence', for: '10m' };

describe('a threshold', () => {
  it('fires when it was passed for its time, and ends at its lower end', () => {
    const scene = new EvaluationScene(warm).reading('a', 'temp', 31);
    expect(scene.wait(4 * MINUTE).told).toEqual(['pending warm a']);
    expect(scene.reading('a', 'temp', 33).wait(MINUTE).told).toEqual(['pending warm a', 'firing warm a']);
    expect(scene.last).toMatchObject({ value: 33, nowMs: T0 + 5 * MINUTE, state: { sinceMs: T0 } });
    scene.reading('a', 'temp', 29).reading('a', 'temp', 31).reading('a', 'temp', 28);
    expect(scene.told.slice(2)).toEqual(['resolved warm a']);
    expect(scene.last).toMatchObject({ value: 28, state: { phase: 'firing' } });
  });

  it('counts each device for itself, takes booleans as 1 and 0, and leaves texts', () => {
    const scene = new EvaluationScene({ ...warm, above: 0.5, clear: 0.5, for: '0s' });
    scene.reading('a', 'temp', true).reading('b', 'temp', 'hot').reading('c', 'temp', false).reading('d', 'hum', 99);
    expect(scene.told).toEqual(['firing warm a']);
  });

  it('is not passed by late readings, however many', () => {
    expect(new EvaluationScene({ ...warm, for: '0s' }).reading('a', 'temp', 99, { late: true }).told).toEqual([]);
  });

  it('is passed by a last value that is recent and newer than what was told', () => {
    const scene = new EvaluationScene({ ...warm, for: '0s' });
    scene.lastValue('old', 'temp', 99, T0 - 11 * MINUTE).lastValue('future', 'temp', 99, T0 + 11 * MINUTE);
    scene.reading('known', 'temp', 20, { atMs: T0 + 5 }).lastValue('known', 'temp', 99, T0 + 4);
    scene.lastValue('new', 'temp', 99, T0 - MINUTE);
    expect(scene.told).toEqual(['firing warm new']);
  });

  it('is judged anew when the clock of the device, which was hours ahead, is set right', () => {
    const scene = new EvaluationScene({ ...warm, for: '0s' }).reading('a', 'temp', 20, { atMs: T0 + 20 * 60 * MINUTE });
    expect(scene.lastValue('a', 'temp', 99).told).toEqual(['firing warm a']);
    // What the wrong clock has said stays the newest in the database for these hours.
    expect(scene.lastValue('a', 'temp', 20, T0 + 20 * 60 * MINUTE, T0).told).toEqual(['firing warm a']);
    expect(scene.wait(1_000).lastValue('a', 'temp', 20).told).toEqual(['firing warm a', 'resolved warm a']);
  });

  it('is ended by a last value, however old, and not by one that is older than the reading that passed it', () => {
    const scene = new EvaluationScene({ ...warm, for: '0s' });
    scene.reading('a', 'temp', 99).lastValue('a', 'temp', 20, T0 - 1);
    expect(scene.told).toEqual(['firing warm a']);
    expect(scene.wait(60 * MINUTE).lastValue('a', 'temp', 20, T0 + 1).told).toEqual([
      'firing warm a',
      'resolved warm a',
    ]);
  });

  it('costs nothing for rules of other metrics: they are never asked', () => {
    const scene = new EvaluationScene(warm, { ...warm, name: 'damp', metric: 'hum' });
    expect([...scene.evaluator.metrics].sort()).toEqual(['hum', 'temp']);
    expect([scene.evaluator.uses('reading temp'), scene.evaluator.uses('reading vbat')]).toEqual([true, false]);
  });
});

describe('a rate of change', () => {
  it('fires when the metric changes too fast, and ends when it does not', () => {
    const scene = new EvaluationScene({ name: 'fall', kind: 'rate', metric: 'level', per: '10m', below: -5 });
    for (const value of [100, 99, 98, 90, 80, 79, 79, 79, 79, 79])
      scene.reading('tank', 'level', value).wait(5 * MINUTE);
    expect(scene.told).toEqual(['firing fall tank', 'resolved fall tank']);
  });

  const rising = { name: 'rise', kind: 'rate', metric: 'level', per: '10m', above: -1 };
  const risen = (scene: EvaluationScene): EvaluationScene => {
    for (const value of [1, 2, 3]) scene.reading('tank', 'level', value).wait(5 * MINUTE);
    return scene;
  };

  it('is over when nothing comes any more, for the time over which it is measured', () => {
    const scene = risen(new EvaluationScene({ ...rising, above: 1 }));
    expect(scene.wait(5 * MINUTE - 1).told).toEqual(['firing rise tank']);
    expect(scene.wait(1).told).toEqual(['firing rise tank', 'resolved rise tank']);
    expect([scene.last?.value, scene.evaluator.nextDueMs]).toEqual([null, undefined]);
  });

  it('is over also where no change at all would be a breach', () => {
    expect(risen(new EvaluationScene(rising)).wait(5 * MINUTE).told).toEqual([
      'firing rise tank',
      'resolved rise tank',
    ]);
  });

  it('is over after a restart when nothing comes any more', () => {
    const scene = new EvaluationScene(rising);
    scene.restarted({ rule: 'rise', subject: 'tank', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 3 });
    scene.lastValue('tank', 'level', 3, T0 - MINUTE);
    expect(scene.wait(9 * MINUTE - 1).told).toEqual([]);
    expect(scene.wait(1).told).toEqual(['resolved rise tank']);
  });

  it.each<[string, (scene: EvaluationScene, isThere: boolean) => void]>([
    ['its broker', (scene, isThere) => (isThere ? scene.brokerThere(T0 - 60 * MINUTE) : scene.brokerAway())],
    ['ingestion', (scene, isThere) => scene.evaluator.ingestion('b', isThere, scene.nowMs, scene.nowMs)],
  ])('that fires goes on while %s is away', (_, happens) => {
    const scene = new EvaluationScene(rising).device('tank', 'online');
    happens(scene, true);
    risen(scene);
    happens(scene, false);
    expect(scene.wait(60 * MINUTE).told).toEqual(['firing rise tank']);
    happens(scene, true);
    expect(scene.wait(20 * MINUTE).told).toEqual(['firing rise tank', 'resolved rise tank']);
  });
});

describe('a lost device', () => {
  it('is told after its time, and resolves when it is back', () => {
    const scene = new EvaluationScene(lost).lost('a').wait(29_000);
    expect(scene.told).toEqual(['pending lost a']);
    expect(scene.wait(1_000).device('a', 'online').told).toEqual([
      'pending lost a',
      'firing lost a',
      'resolved lost a',
    ]);
  });

  it('that was lost while nobody looked is told when it should have been', () => {
    const scene = new EvaluationScene(lost).device('a', 'lost', { sinceMs: T0 - 60 * MINUTE });
    expect(scene.told).toEqual(['firing lost a']);
  });

  it('waits at least so long that the end of its broker would have been seen', () => {
    const scene = new EvaluationScene({ ...lost, for: '0s' }).lost('a');
    expect(scene.told).toEqual(['pending lost a']);
    expect(scene.wait(1_500).told).toEqual(['pending lost a', 'firing lost a']);
  });

  it('is held back while its broker is away, and for the grace after the start of that (P6, P7)', () => {
    const scene = new EvaluationScene(lost)
      .lost('a')
      .lost('b')
      .brokerAway()
      .wait(10 * MINUTE);
    expect(scene.told).toEqual(['pending lost a', 'pending lost b']);
    scene
      .brokerThere(scene.nowMs - 2_000)
      .wait(30_000)
      .device('a', 'online')
      .wait(27_999);
    expect(scene.told.slice(2)).toEqual(['cancelled lost a']);
    expect(scene.wait(1).told.slice(3)).toEqual(['firing lost b']);
  });

  it('is told at once when only our own connection to the broker was lost', () => {
    const scene = new EvaluationScene(lost)
      .lost('a')
      .brokerAway()
      .wait(10 * MINUTE);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual(['pending lost a', 'firing lost a']);
  });

  it('that fires goes on while its broker is away', () => {
    const scene = new EvaluationScene(lost)
      .lost('a')
      .wait(MINUTE)
      .brokerAway()
      .wait(10 * MINUTE);
    expect(scene.told).toEqual(['pending lost a', 'firing lost a']);
  });
});

describe('what is no device', () => {
  it('fires at the share of connections, and ends below the lower one', () => {
    const scene = new EvaluationScene({ name: 'full', kind: 'broker-connections' });
    for (const percent of [78, 82, 76, 60]) scene.measure('broker-connections', 'b', percent);
    expect(scene.told).toEqual(['firing full b', 'resolved full b']);
  });

  it('counts what grows, and ends when it has stopped for its time', () => {
    const scene = new EvaluationScene({ name: 'drops', kind: 'broker-dropped', within: '10m' });
    for (const dropped of [5, 5, 9]) scene.measure('broker-dropped', 'b', dropped).wait(MINUTE);
    expect([scene.told, scene.last?.value]).toEqual([['firing drops b'], 4]);
    for (let minute = 0; minute < 12; minute += 1) scene.measure('broker-dropped', 'b', 9).wait(MINUTE);
    expect(scene.told).toEqual(['firing drops b', 'resolved drops b']);
  });

  it('after a restart goes on to fire until all of its time was watched', () => {
    const scene = new EvaluationScene({ name: 'drops', kind: 'broker-dropped', within: '10m' });
    scene.restarted({ rule: 'drops', subject: 'b', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 4 });
    for (let minute = 0; minute < 10; minute += 1) scene.measure('broker-dropped', 'b', 9).wait(MINUTE);
    expect(scene.told).toEqual([]);
    expect(scene.measure('broker-dropped', 'b', 9).told).toEqual(['resolved drops b']);
  });

  it('without data is no alert', () => {
    expect(
      new EvaluationScene({ name: 'spool', kind: 'ingestion', figure: 'spool_bytes', above: 1 }).wait(60 * MINUTE).told,
    ).toEqual([]);
  });
});

describe('a restart', () => {
  it('goes on with what was pending, from when it began, and repeats nothing that fires', () => {
    const scene = new EvaluationScene(warm);
    const gone = scene.restarted(
      { rule: 'warm', subject: 'a', sinceMs: T0 - 4 * MINUTE, startedMs: null, value: 31 },
      { rule: 'warm', subject: 'b', sinceMs: T0 - 9 * MINUTE, startedMs: T0 - 4 * MINUTE, value: 31 },
      { rule: 'deleted', subject: 'a', sinceMs: T0, startedMs: null, value: null },
    );
    expect(gone.map(({ rule }) => rule)).toEqual(['deleted']);
    scene.lastValue('a', 'temp', 32).lastValue('b', 'temp', 32).wait(59_999);
    expect(scene.told).toEqual([]);
    expect(scene.wait(1).told).toEqual(['firing warm a']);
  });

  it('ends what was well again meanwhile', () => {
    const scene = new EvaluationScene(warm, lost).device('a', 'online');
    scene.restarted(
      { rule: 'warm', subject: 'a', sinceMs: T0 - 4 * MINUTE, startedMs: null, value: 31 },
      { rule: 'lost', subject: 'a', sinceMs: T0 - 4 * MINUTE, startedMs: T0 - 3 * MINUTE, value: 1 },
    );
    scene
      .lastValue('a', 'temp', 20)
      .device('a', 'online')
      .wait(9 * MINUTE);
    expect(scene.told).toEqual(['cancelled warm a', 'resolved lost a']);
  });
});

describe('a change of rules', () => {
  it('ends the alerts of a rule that is gone', () => {
    const scene = new EvaluationScene({ ...warm, for: '0s' }, lost).reading('a', 'temp', 99).lost('a');
    scene.rules(1, { ...warm, for: '0s' });
    expect(scene.told).toEqual(['firing warm a', 'pending lost a', 'cancelled lost a']);
    scene.rules(1);
    expect(scene.wait(MINUTE).told.slice(3)).toEqual(['resolved warm a']);
  });

  it('keeps those of a new version, and judges them by it', () => {
    const scene = new EvaluationScene({ ...warm, for: '0s' }).reading('a', 'temp', 31).reading('cellar', 'temp', 31);
    scene.rules(2, { ...warm, above: 40, clear: 35, devices: ['a'] });
    expect(scene.told.slice(2)).toEqual(['resolved warm cellar']);
    expect(scene.reading('a', 'temp', 36).told).toHaveLength(3);
    expect(scene.reading('a', 'temp', 34).told.slice(3)).toEqual(['resolved warm a']);
  });

  it('forgets devices that are out of service', () => {
    const scene = new EvaluationScene({ ...warm, for: '0s' }, silent).reading('a', 'temp', 99);
    scene.evaluator.heard('a', T0, T0);
    scene.evaluator.forget('a', T0);
    expect(scene.wait(60 * MINUTE).told).toEqual(['firing warm a', 'resolved warm a']);
  });
});
