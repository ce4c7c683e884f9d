import { describe, expect, it } from 'vitest';
import { EvaluationScene, MINUTE, T0 } from './evaluation-scene.ts';

const silent = { name: 'silent', kind: 'absence', for: '10m' };

describe('absence', () => {
  it('fires when nothing has come for its time, and ends with the next message', () => {
    const scene = new EvaluationScene({ ...silent, metric: 'temp' }).reading('a', 'temp', 20).wait(9 * MINUTE);
    scene.reading('a', 'temp', 21).wait(9 * MINUTE);
    expect(scene.told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
    expect(scene.last?.value).toBe(600);
    expect(scene.wait(30 * MINUTE).reading('a', 'temp', 21).told).toEqual(['firing silent a', 'resolved silent a']);
    expect(scene.wait(10 * MINUTE).told).toHaveLength(3);
  });

  it('goes by when a message was received, whatever its own time, also when it is late', () => {
    const scene = new EvaluationScene({ ...silent, metric: 'temp' }).reading('a', 'temp', 20).wait(9 * MINUTE);
    scene.reading('a', 'temp', 21, { late: true, atMs: 0 }).wait(9 * MINUTE);
    expect(scene.told).toEqual([]);
  });

  it('of any telemetry fires for a device that is connected and silent (P14)', () => {
    const scene = new EvaluationScene(silent).device('a', 'online');
    scene.evaluator.heard('a', T0 - MINUTE, T0);
    expect(scene.wait(10 * MINUTE).told).toEqual(['firing silent a']);
  });

  it('goes on over a restart: what was silent for most of the time before has only the rest', () => {
    const scene = new EvaluationScene(silent).device('a', 'online', { sinceMs: T0 - 60 * MINUTE });
    scene.brokerThere(T0 - 60 * MINUTE).evaluator.heard('a', T0 - 8 * MINUTE, T0);
    expect(scene.wait(2 * MINUTE).told).toEqual(['firing silent a']);
  });

  it.each<[string, (scene: EvaluationScene) => void]>([
    ['is lost: that is another alert', (scene) => scene.lost('a')],
    ['has said goodbye', (scene) => scene.device('a', 'offline')],
    ['sleeps until later (P13)', (scene) => scene.device('a', 'asleep', { wakeExpectedMs: T0 + 60 * MINUTE })],
    ['is behind a broker that is away', (scene) => scene.brokerAway()],
  ])('does not fire for a device that %s', (_, happens) => {
    const scene = new EvaluationScene(silent).device('a', 'online');
    scene.evaluator.heard('a', T0, T0);
    happens(scene);
    expect(scene.wait(20 * MINUTE).told).toEqual([]);
  });

  it('fires for a sleeper that does not wake, and for a device that is back and silent', () => {
    const scene = new EvaluationScene(silent).device('a', 'asleep', { wakeExpectedMs: T0 + 20 * MINUTE });
    scene.device('b', 'online').device('b', 'offline');
    for (const device of ['a', 'b']) scene.evaluator.heard(device, T0, T0);
    expect(scene.wait(29 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
    expect(scene.device('b', 'online').wait(10 * MINUTE).told).toEqual(['firing silent a', 'firing silent b']);
  });

  it('fires for a device that is connected and has never sent anything', () => {
    const scene = new EvaluationScene(silent, { ...silent, name: 'silent-temp', metric: 'temp' });
    scene.device('a', 'online', { sinceMs: T0 - 5 * MINUTE }).look();
    expect(scene.wait(4 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
    scene.evaluator.heard('a', scene.nowMs, scene.nowMs);
    expect(scene.told).toEqual(['firing silent a', 'resolved silent a']);
  });

  it('at the start fires for nobody before it is known who was heard', () => {
    const scene = new EvaluationScene(silent);
    scene.canLook = false;
    scene.device('a', 'online', { sinceMs: T0 - 60 * MINUTE }).device('b', 'online', { sinceMs: T0 - 60 * MINUTE });
    expect(scene.wait(1_000).told).toEqual([]);
    scene.evaluator.heard('a', T0 - MINUTE, scene.nowMs);
    expect(scene.look().told).toEqual(['firing silent b']);
  });

  it('is not judged by what could not be read: silence goes on when activity is looked at again', () => {
    const scene = new EvaluationScene(silent).device('a', 'online').device('b', 'online').look();
    for (const device of ['a', 'b']) scene.evaluator.heard(device, T0, T0);
    scene.wait(4 * MINUTE).canLook = false;
    expect(scene.wait(30 * MINUTE).told).toEqual([]);
    scene.canLook = true;
    scene.evaluator.heard('b', scene.nowMs, scene.nowMs);
    expect(scene.wait(5 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
    expect(scene.wait(4 * MINUTE).told).toEqual(['firing silent a', 'firing silent b']);
  });

  it.each([
    ['of any telemetry', silent],
    ['of a metric', { ...silent, metric: 'temp' }],
  ])('%s does not pass while ingestion is away', (_, rule) => {
    const scene = new EvaluationScene(rule).device('a', 'online').look().reading('a', 'temp', 20);
    scene.evaluator.heard('a', T0, T0);
    scene.evaluator.ingestion('b', true, T0 - 60 * MINUTE, T0);
    scene.wait(4 * MINUTE).evaluator.ingestion('b', false, scene.nowMs, scene.nowMs);
    expect(scene.wait(30 * MINUTE).told).toEqual([]);
    scene.evaluator.ingestion('b', true, scene.nowMs, scene.nowMs);
    expect(scene.wait(5 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
  });

  it('begins with ingestion where nobody knows for how long that was away', () => {
    const scene = new EvaluationScene(silent).device('a', 'online', { sinceMs: T0 - 60 * MINUTE });
    scene.evaluator.ingestion('b', true, T0 - MINUTE, T0);
    scene.evaluator.heard('a', T0 - 30 * MINUTE, T0);
    expect(scene.look().wait(8 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
  });

  it('goes on when ingestion says again that it is there', () => {
    const scene = new EvaluationScene(silent).device('a', 'online').look();
    scene.evaluator.heard('a', T0, T0);
    scene.evaluator.ingestion('b', true, T0 - 60 * MINUTE, T0);
    scene.wait(9 * MINUTE).evaluator.ingestion('b', true, scene.nowMs, scene.nowMs);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
  });

  it('ends when the device says goodbye', () => {
    const scene = new EvaluationScene(silent).device('a', 'online');
    scene.evaluator.heard('a', T0, T0);
    expect(scene.wait(10 * MINUTE).device('a', 'offline').told).toEqual(['firing silent a', 'resolved silent a']);
  });
});
