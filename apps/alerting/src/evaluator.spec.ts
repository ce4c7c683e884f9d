import { alertRuleSchema, deviceId, type DigestReading } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { compile } from './condition.ts';
import { Evaluator } from './evaluator.ts';
import { FleetView, type DeviceFacts } from './fleet-view.ts';
import type { Loss } from './losses.ts';
import type { OpenState, Step } from './running-rule.ts';

const MINUTE = 60_000;
const T0 = 1_800_000_000_000;

/** Rules under test and a clock that is moved by hand; what happens is written down as `step rule subject value`. */
class Scene {
  readonly told: string[] = [];
  readonly fleet = new FleetView(MINUTE);
  readonly evaluator = new Evaluator(this.fleet, (step: Step) => {
    this.told.push(`${step.step} ${step.condition.rule.name} ${step.subject}`);
    this.last = step;
  });
  last: Step | undefined;
  nowMs = T0;

  #lossId = 0n;

  constructor(...rules: readonly Record<string, unknown>[]) {
    this.rules(1, ...rules);
    this.lossHistory();
  }

  /** Losses as they are read at the start: of one device, so long before now. */
  lossHistory(device = '', ...beforeMs: readonly number[]): this {
    const losses = beforeMs.map((before) => this.loss(device, this.nowMs - before));
    this.evaluator.lossHistory(losses, this.evaluator.lossesWithinMs, this.nowMs);
    return this;
  }

  loss(device: string, atMs = this.nowMs, isReplay = false): Loss {
    this.#lossId += 1n;
    return { id: this.#lossId, device, atMs, broker: 'b', isReplay };
  }

  rules(version: number, ...rules: readonly Record<string, unknown>[]): void {
    const conditions = rules.map((rule) => compile(alertRuleSchema.parse(rule), version));
    this.evaluator.setRules(conditions, this.nowMs);
  }

  wait(milliseconds: number): this {
    const untilMs = this.nowMs + milliseconds;
    for (
      let dueMs = this.evaluator.nextDueMs;
      dueMs !== undefined && dueMs <= untilMs;
      dueMs = this.evaluator.nextDueMs
    ) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.evaluator.tick(this.nowMs);
    }
    this.nowMs = untilMs;
    return this;
  }

  reading(device: string, metric: string, value: DigestReading['value'], more: Partial<DigestReading> = {}): this {
    this.evaluator.readings(
      [{ device: deviceId(device), metric, value, unit: null, atMs: this.nowMs, qos: 1, late: false, ...more }],
      this.nowMs,
    );
    return this;
  }

  lastValue(device: string, metric: string, value: number, atMs = this.nowMs, heardMs = atMs): this {
    this.evaluator.lastValues([{ device: deviceId(device), metric, value, unit: null, atMs, heardMs }], this.nowMs);
    return this;
  }

  device(device: string, state: DeviceFacts['state'], more: Partial<DeviceFacts> = {}): this {
    this.evaluator.device(
      device,
      { state, sinceMs: this.nowMs, broker: 'b', wakeExpectedMs: null, ...more },
      this.nowMs,
    );
    return this;
  }

  lost(device: string, isReplay = false): this {
    this.evaluator.losses([this.loss(device, this.nowMs, isReplay)], this.nowMs);
    return this.device(device, 'lost');
  }

  /** Lost and back again, some times, some seconds apart. */
  flaps(device: string, times: number): this {
    for (let time = 0; time < times; time += 1) this.lost(device).wait(5_000).device(device, 'online').wait(5_000);
    return this;
  }

  brokerAway(): this {
    this.evaluator.broker('b', { kind: 'away', sinceMs: this.nowMs }, this.nowMs);
    return this;
  }

  brokerThere(bootedMs: number | null): this {
    this.evaluator.broker('b', { kind: 'there', connectedMs: this.nowMs, bootedMs }, this.nowMs);
    return this;
  }

  measure(source: string, subject: string, value: number): this {
    this.evaluator.measure({ source, subject, value }, this.nowMs);
    return this;
  }

  /** A new process that goes on with these alerts. */
  restarted(...open: readonly OpenState[]): readonly OpenState[] {
    return this.evaluator.restore(open);
  }
}

const warm = { name: 'warm', kind: 'threshold', metric: 'temp', above: 30, clear: 28, for: '5m' };
const lost = { name: 'lost', kind: 'presence', for: '30s' };
const silent = { name: 'silent', kind: 'absence', for: '10m' };

describe('a threshold', () => {
  it('fires when it was passed for its time, and ends at its lower end', () => {
    const scene = new Scene(warm).reading('a', 'temp', 31);
    expect(scene.wait(4 * MINUTE).told).toEqual(['pending warm a']);
    expect(scene.reading('a', 'temp', 33).wait(MINUTE).told).toEqual(['pending warm a', 'firing warm a']);
    expect(scene.last).toMatchObject({ value: 33, nowMs: T0 + 5 * MINUTE, state: { sinceMs: T0 } });
    scene.reading('a', 'temp', 29).reading('a', 'temp', 31).reading('a', 'temp', 28);
    expect(scene.told.slice(2)).toEqual(['resolved warm a']);
    expect(scene.last).toMatchObject({ value: 28, state: { phase: 'firing' } });
  });

  it('counts each device for itself, takes booleans as 1 and 0, and leaves texts', () => {
    const scene = new Scene({ ...warm, above: 0.5, clear: 0.5, for: '0s' });
    scene.reading('a', 'temp', true).reading('b', 'temp', 'hot').reading('c', 'temp', false).reading('d', 'hum', 99);
    expect(scene.told).toEqual(['firing warm a']);
  });

  it('is not passed by late readings, however many', () => {
    expect(new Scene({ ...warm, for: '0s' }).reading('a', 'temp', 99, { late: true }).told).toEqual([]);
  });

  it('is passed by a last value that is recent and newer than what was told', () => {
    const scene = new Scene({ ...warm, for: '0s' });
    scene.lastValue('old', 'temp', 99, T0 - 11 * MINUTE).lastValue('future', 'temp', 99, T0 + 11 * MINUTE);
    scene.reading('known', 'temp', 20, { atMs: T0 + 5 }).lastValue('known', 'temp', 99, T0 + 4);
    scene.lastValue('new', 'temp', 99, T0 - MINUTE);
    expect(scene.told).toEqual(['firing warm new']);
  });

  it('is ended by a last value, however old, and not by one that is older than the reading that passed it', () => {
    const scene = new Scene({ ...warm, for: '0s' });
    scene.reading('a', 'temp', 99).lastValue('a', 'temp', 20, T0 - 1);
    expect(scene.told).toEqual(['firing warm a']);
    expect(scene.wait(60 * MINUTE).lastValue('a', 'temp', 20, T0 + 1).told).toEqual([
      'firing warm a',
      'resolved warm a',
    ]);
  });

  it('costs nothing for rules of other metrics: they are never asked', () => {
    const scene = new Scene(warm, { ...warm, name: 'damp', metric: 'hum' });
    expect([...scene.evaluator.metrics].sort()).toEqual(['hum', 'temp']);
    expect([scene.evaluator.uses('reading temp'), scene.evaluator.uses('reading vbat')]).toEqual([true, false]);
  });
});

describe('a rate of change', () => {
  it('fires when the metric changes too fast, and ends when it does not', () => {
    const scene = new Scene({ name: 'fall', kind: 'rate', metric: 'level', per: '10m', below: -5 });
    for (const value of [100, 99, 98, 90, 80, 79, 79, 79, 79, 79])
      scene.reading('tank', 'level', value).wait(5 * MINUTE);
    expect(scene.told).toEqual(['firing fall tank', 'resolved fall tank']);
  });
});

describe('absence', () => {
  it('fires when nothing has come for its time, and ends with the next message', () => {
    const scene = new Scene({ ...silent, metric: 'temp' }).reading('a', 'temp', 20).wait(9 * MINUTE);
    scene.reading('a', 'temp', 21).wait(9 * MINUTE);
    expect(scene.told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
    expect(scene.last?.value).toBe(600);
    expect(scene.wait(30 * MINUTE).reading('a', 'temp', 21).told).toEqual(['firing silent a', 'resolved silent a']);
    expect(scene.wait(10 * MINUTE).told).toHaveLength(3);
  });

  it('goes by when a message was received, whatever its own time, also when it is late', () => {
    const scene = new Scene({ ...silent, metric: 'temp' }).reading('a', 'temp', 20).wait(9 * MINUTE);
    scene.reading('a', 'temp', 21, { late: true, atMs: 0 }).wait(9 * MINUTE);
    expect(scene.told).toEqual([]);
  });

  it('of any telemetry fires for a device that is connected and silent (P14)', () => {
    const scene = new Scene(silent).device('a', 'online');
    scene.evaluator.heard('a', T0 - MINUTE, T0);
    expect(scene.wait(10 * MINUTE).told).toEqual(['firing silent a']);
  });

  it('goes on over a restart: what was silent for most of the time before has only the rest', () => {
    const scene = new Scene(silent).device('a', 'online', { sinceMs: T0 - 60 * MINUTE });
    scene.brokerThere(T0 - 60 * MINUTE).evaluator.heard('a', T0 - 8 * MINUTE, T0);
    expect(scene.wait(2 * MINUTE).told).toEqual(['firing silent a']);
  });

  it.each<[string, (scene: Scene) => void]>([
    ['is lost: that is another alert', (scene) => scene.lost('a')],
    ['has said goodbye', (scene) => scene.device('a', 'offline')],
    ['sleeps until later (P13)', (scene) => scene.device('a', 'asleep', { wakeExpectedMs: T0 + 60 * MINUTE })],
    ['is behind a broker that is away', (scene) => scene.brokerAway()],
  ])('does not fire for a device that %s', (_, happens) => {
    const scene = new Scene(silent).device('a', 'online');
    scene.evaluator.heard('a', T0, T0);
    happens(scene);
    expect(scene.wait(20 * MINUTE).told).toEqual([]);
  });

  it('fires for a sleeper that does not wake, and for a device that is back and silent', () => {
    const scene = new Scene(silent).device('a', 'asleep', { wakeExpectedMs: T0 + 20 * MINUTE });
    scene.device('b', 'online').device('b', 'offline');
    for (const device of ['a', 'b']) scene.evaluator.heard(device, T0, T0);
    expect(scene.wait(29 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['firing silent a']);
    expect(scene.device('b', 'online').wait(10 * MINUTE).told).toEqual(['firing silent a', 'firing silent b']);
  });

  it('ends when the device says goodbye', () => {
    const scene = new Scene(silent).device('a', 'online');
    scene.evaluator.heard('a', T0, T0);
    expect(scene.wait(10 * MINUTE).device('a', 'offline').told).toEqual(['firing silent a', 'resolved silent a']);
  });
});

describe('a lost device', () => {
  it('is told after its time, and resolves when it is back', () => {
    const scene = new Scene(lost).lost('a').wait(29_000);
    expect(scene.told).toEqual(['pending lost a']);
    expect(scene.wait(1_000).device('a', 'online').told).toEqual([
      'pending lost a',
      'firing lost a',
      'resolved lost a',
    ]);
  });

  it('that was lost while nobody looked is told when it should have been', () => {
    const scene = new Scene(lost).device('a', 'lost', { sinceMs: T0 - 60 * MINUTE });
    expect(scene.told).toEqual(['firing lost a']);
  });

  it('waits at least so long that the end of its broker would have been seen', () => {
    const scene = new Scene({ ...lost, for: '0s' }).lost('a');
    expect(scene.told).toEqual(['pending lost a']);
    expect(scene.wait(1_500).told).toEqual(['pending lost a', 'firing lost a']);
  });

  it('is held back while its broker is away, and for the grace after the start of that (P6, P7)', () => {
    const scene = new Scene(lost)
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
    const scene = new Scene(lost)
      .lost('a')
      .brokerAway()
      .wait(10 * MINUTE);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual(['pending lost a', 'firing lost a']);
  });

  it('that fires goes on while its broker is away', () => {
    const scene = new Scene(lost)
      .lost('a')
      .wait(MINUTE)
      .brokerAway()
      .wait(10 * MINUTE);
    expect(scene.told).toEqual(['pending lost a', 'firing lost a']);
  });
});

describe('flapping', () => {
  const flapping = { name: 'flaps', kind: 'flapping', times: 3, within: '10m' };
  it('fires when a device was lost too often, and ends when that is long enough ago', () => {
    const scene = new Scene(flapping);
    for (let time = 0; time < 3; time += 1) scene.lost('a').wait(MINUTE).device('a', 'online').wait(MINUTE);
    expect(scene.told).toEqual(['firing flaps a']);
    expect(scene.last?.value).toBe(3);
    expect(scene.wait(4 * MINUTE).told).toEqual(['firing flaps a', 'resolved flaps a']);
  });

  it('is not told before the end of its broker would have been seen', () => {
    const scene = new Scene({ ...flapping, times: 2 }).flaps('a', 1).lost('a');
    expect(scene.wait(1_499).told).toEqual([]);
    expect(scene.wait(1).told).toEqual(['firing flaps a']);
  });

  it('goes on over a restart, without an end in between', () => {
    const scene = new Scene(flapping);
    scene.restarted({ rule: 'flaps', subject: 'a', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 3 });
    scene.lossHistory('a', 5 * MINUTE, 3 * MINUTE, MINUTE);
    expect(scene.wait(4 * MINUTE).told).toEqual([]);
    expect(scene.wait(MINUTE).told).toEqual(['resolved flaps a']);
  });

  it('ends at a restart when the losses are long over', () => {
    const scene = new Scene(flapping);
    scene.restarted({ rule: 'flaps', subject: 'a', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 3 });
    expect(scene.told).toEqual([]);
    expect(scene.lossHistory('a', 11 * MINUTE).told).toEqual(['resolved flaps a']);
  });

  it('counts a loss once that is read and comes as well', () => {
    const scene = new Scene(flapping).lossHistory('a', 2 * MINUTE);
    const loss = scene.loss('a');
    scene.evaluator.lossHistory([loss], 10 * MINUTE, T0);
    scene.evaluator.losses([loss], T0);
    expect(scene.wait(MINUTE).told).toEqual([]);
    expect(scene.lost('a').wait(MINUTE).told).toEqual(['firing flaps a']);
  });

  it('is not what a broker does that is started again and again', () => {
    const scene = new Scene(flapping).brokerThere(T0 - 60 * MINUTE);
    for (let time = 0; time < 4; time += 1) {
      scene.lost('a').brokerAway().wait(1_000).brokerThere(scene.nowMs).lost('a').wait(10_000).lost('a', true);
      scene.device('a', 'online').wait(30_000);
    }
    expect(scene.wait(2 * MINUTE).told).toEqual([]);
  });

  it('soon after the start of its broker is told when the grace is over', () => {
    const scene = new Scene(flapping).brokerAway().brokerThere(T0).wait(5_000).flaps('a', 3);
    expect(scene.told).toEqual([]);
    expect(scene.wait(24_999).told).toEqual([]);
    expect(scene.wait(1).told).toEqual(['firing flaps a']);
  });

  it('while only we had lost the broker is told when we are back', () => {
    const scene = new Scene(flapping)
      .brokerThere(T0 - 60 * MINUTE)
      .wait(MINUTE)
      .brokerAway()
      .flaps('a', 3);
    expect(scene.told).toEqual([]);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual(['firing flaps a']);
  });

  it('before the broker is known at the start is told when it is', () => {
    const scene = new Scene(flapping);
    scene.evaluator.broker('b', { kind: 'away', sinceMs: null }, T0);
    scene.lossHistory('a', 5 * MINUTE, 3 * MINUTE, MINUTE).wait(1_000);
    expect(scene.told).toEqual([]);
    expect(scene.brokerThere(T0 - 60 * MINUTE).told).toEqual(['firing flaps a']);
  });

  it('does not count what the end of the broker did before our restart', () => {
    const scene = new Scene(flapping);
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
    const scene = new Scene(flapping).flaps('a', 3);
    scene.rules(2, { ...flapping, times: 2 });
    expect(scene.told).toEqual(['firing flaps a']);
    expect(scene.wait(20 * MINUTE).told).toEqual(['firing flaps a', 'resolved flaps a']);
  });

  it('under a version that looks back longer waits until those losses are read', () => {
    const scene = new Scene(flapping).flaps('a', 3).wait(9 * MINUTE);
    scene.rules(2, { ...flapping, within: '1h' });
    expect([scene.evaluator.lacksLosses, scene.wait(20 * MINUTE).told]).toEqual([true, ['firing flaps a']]);
    expect(scene.lossHistory('a', 35 * MINUTE).wait(MINUTE).told).toHaveLength(1);
    expect(scene.wait(60 * MINUTE).told).toEqual(['firing flaps a', 'resolved flaps a']);
  });

  it('costs one entry in the schedule, however often a device is lost', () => {
    const scene = new Scene(flapping).flaps('a', 30);
    let counted = 0;
    while (scene.evaluator.nextDueMs !== undefined) {
      scene.wait(Math.max(1, scene.evaluator.nextDueMs - scene.nowMs));
      counted += 1;
    }
    expect(counted).toBeLessThanOrEqual(31);
    expect(scene.told).toEqual(['firing flaps a', 'resolved flaps a']);
  });
});

describe('what is no device', () => {
  it('fires at the share of connections, and ends below the lower one', () => {
    const scene = new Scene({ name: 'full', kind: 'broker-connections' });
    for (const percent of [78, 82, 76, 60]) scene.measure('broker-connections', 'b', percent);
    expect(scene.told).toEqual(['firing full b', 'resolved full b']);
  });

  it('counts what grows, and ends when it has stopped for its time', () => {
    const scene = new Scene({ name: 'drops', kind: 'broker-dropped', within: '10m' });
    for (const dropped of [5, 5, 9]) scene.measure('broker-dropped', 'b', dropped).wait(MINUTE);
    expect([scene.told, scene.last?.value]).toEqual([['firing drops b'], 4]);
    for (let minute = 0; minute < 12; minute += 1) scene.measure('broker-dropped', 'b', 9).wait(MINUTE);
    expect(scene.told).toEqual(['firing drops b', 'resolved drops b']);
  });

  it('after a restart goes on to fire until all of its time was watched', () => {
    const scene = new Scene({ name: 'drops', kind: 'broker-dropped', within: '10m' });
    scene.restarted({ rule: 'drops', subject: 'b', sinceMs: T0 - MINUTE, startedMs: T0 - MINUTE, value: 4 });
    for (let minute = 0; minute < 10; minute += 1) scene.measure('broker-dropped', 'b', 9).wait(MINUTE);
    expect(scene.told).toEqual([]);
    expect(scene.measure('broker-dropped', 'b', 9).told).toEqual(['resolved drops b']);
  });

  it('without data is no alert', () => {
    expect(
      new Scene({ name: 'spool', kind: 'ingestion', figure: 'spool_bytes', above: 1 }).wait(60 * MINUTE).told,
    ).toEqual([]);
  });
});

describe('a restart', () => {
  it('goes on with what was pending, from when it began, and repeats nothing that fires', () => {
    const scene = new Scene(warm);
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
    const scene = new Scene(warm, lost).device('a', 'online');
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
    const scene = new Scene({ ...warm, for: '0s' }, lost).reading('a', 'temp', 99).lost('a');
    scene.rules(1, { ...warm, for: '0s' });
    expect(scene.told).toEqual(['firing warm a', 'pending lost a', 'cancelled lost a']);
    scene.rules(1);
    expect(scene.wait(MINUTE).told.slice(3)).toEqual(['resolved warm a']);
  });

  it('keeps those of a new version, and judges them by it', () => {
    const scene = new Scene({ ...warm, for: '0s' }).reading('a', 'temp', 31).reading('cellar', 'temp', 31);
    scene.rules(2, { ...warm, above: 40, clear: 35, devices: ['a'] });
    expect(scene.told.slice(2)).toEqual(['resolved warm cellar']);
    expect(scene.reading('a', 'temp', 36).told).toHaveLength(3);
    expect(scene.reading('a', 'temp', 34).told.slice(3)).toEqual(['resolved warm a']);
  });

  it('forgets devices that are out of service', () => {
    const scene = new Scene({ ...warm, for: '0s' }, silent).reading('a', 'temp', 99);
    scene.evaluator.heard('a', T0, T0);
    scene.evaluator.forget('a', T0);
    expect(scene.wait(60 * MINUTE).told).toEqual(['firing warm a', 'resolved warm a']);
  });
});
