import { setImmediate as turn } from 'node:timers/promises';
import { BrokerError } from '@muster/broker';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressedEffect, Entry, Run } from './journal.ts';
import { Runs } from './runs.ts';

const BROKERS = ['a', 'b'];

/** What outlives the process: the database, and what brokers have been told. */
class World {
  readonly waiting: string[];
  readonly record = new Map<number, Run>();
  readonly markers = new Map<string, number>();
  readonly told: string[] = [];
  readonly outdated = new Set<string>();
  starts = 0;

  constructor(timers: number) {
    this.waiting = Array.from({ length: timers }, (_, index) => `room${index}`);
  }

  publish(broker: string, number: number, effects: readonly AddressedEffect[]): void {
    // The number is a message of its own: the broker takes it also where it refuses others.
    this.markers.set(broker, number);
    for (const { effect } of effects) {
      if (effect.topic === 'refused') throw new BrokerError('publish-refused', `${broker}: not authorized`);
      this.told.push(`${broker} ${effect.topic}`);
    }
  }

  write({ begun = [], ended = [] }: Entry): void {
    for (const run of begun) this.record.set(run.number, run);
    for (const run of ended) this.record.delete(run.number);
  }
}

/** When a process is killed: at which of its steps, whether that step still takes place, and how long steps take. */
interface Kill {
  readonly atStep: number;
  readonly stepIsDone: boolean;
  readonly turns: readonly number[];
}

/** One process, from its start until everything is done or it is killed. */
async function live(world: World, kill: Kill): Promise<void> {
  let steps = 0;
  const queues = new Map<string, Promise<unknown>>();
  /** Does something: on one connection one after the other, and nothing any more when the process is dead. */
  const step = <Result>(connection: string, work: () => Result): Promise<Result> => {
    const before = queues.get(connection) ?? Promise.resolve();
    const done = before.then(async () => {
      const turns = kill.turns[steps % kill.turns.length] ?? 0;
      for (let left = turns; left > 0; left -= 1) await turn();
      steps += 1;
      if (steps < kill.atStep) return work();
      if (steps === kill.atStep && kill.stepIsDone) work();
      return new Promise<never>(() => undefined);
    });
    queues.set(
      connection,
      done.catch(() => undefined),
    );
    return done;
  };
  const runs = new Runs(
    {
      brokers: BROKERS,
      whenReady: () => Promise.resolve(),
      appliedRun: (broker) => step(`sweep ${broker}`, () => world.markers.get(broker) ?? 0),
      publishRun: (broker, number, effects) => step(broker, () => world.publish(broker, number, effects)),
    },
    { write: (entry) => step('postgres', () => world.write(entry)) },
    { warn: () => undefined },
    ({ subject }) => world.outdated.has(subject),
  );
  runs.start((world.starts += 1), [...world.record.values()]);
  for (const subject of [...world.waiting]) {
    const effect = {
      kind: 'publish',
      topic: subject,
      payload: 'OFF',
      qos: 1,
      retain: false,
      expirySeconds: 5,
      chain: [],
    };
    const run = {
      ...{ number: runs.nextNumber(), rule: 'light', part: 'trigger:0', subject },
      trigger: { id: 'still', kind: 'topic', captures: {}, atMs: 0 },
      effects: BROKERS.map((broker, index) => ({ broker, isCopy: index > 0, effect })),
    } as unknown as Run;
    void step('postgres', () => {
      world.waiting.splice(world.waiting.indexOf(subject), 1);
      world.write({ begun: [run] });
    }).then(() => runs.carryOut(run));
  }
  for (let turns = 0; turns < 500 && steps < kill.atStep; turns += 1) await turn();
}

describe('what timers led to', () => {
  it('is told to every broker once, whenever the process is killed', async () => {
    const kill = fc.record({
      atStep: fc.integer({ min: 1, max: 40 }),
      stepIsDone: fc.boolean(),
      turns: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 7 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), fc.array(kill, { maxLength: 4 }), async (timers, kills) => {
        const world = new World(timers);
        const all = world.waiting.flatMap((subject) => BROKERS.map((broker) => `${broker} ${subject}`)).sort();
        for (const one of kills) await live(world, one);
        await live(world, { atStep: Number.POSITIVE_INFINITY, stepIsDone: true, turns: [1, 2] });
        expect([...world.told].sort()).toEqual(all);
        expect(world.record.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it.each([1, 2, 3, 4, 5, 6, 7])(
    'is told also after a start with a database from a backup, older than what brokers know; killed at step %i',
    async (atStep) => {
      const world = new World(1);
      for (const broker of BROKERS) world.markers.set(broker, Number.MAX_SAFE_INTEGER);
      const [timer = ''] = world.waiting.splice(0);
      await live(world, { atStep: 5, stepIsDone: false, turns: [0] });
      world.waiting.push(timer);
      await live(world, { atStep, stepIsDone: false, turns: [0] });
      await live(world, { atStep: Number.POSITIVE_INFINITY, stepIsDone: true, turns: [1] });
      expect([...world.told].sort()).toEqual(['a room0', 'b room0']);
    },
  );

  it('that the broker refuses keeps nothing back that comes later', async () => {
    const world = new World(0);
    world.waiting.push('refused');
    await live(world, { atStep: 4, stepIsDone: false, turns: [0] });
    world.waiting.push('room0');
    await live(world, { atStep: Number.POSITIVE_INFINITY, stepIsDone: true, turns: [1] });
    expect([...world.told].sort()).toEqual(['a room0', 'b room0']);
    expect(world.record.size).toBe(0);
  });

  it('is not told when something newer has taken its place while its broker was away', async () => {
    const world = new World(2);
    world.outdated.add('room0');
    await live(world, { atStep: Number.POSITIVE_INFINITY, stepIsDone: true, turns: [1] });
    expect([...world.told].sort()).toEqual(['a room1', 'b room1']);
    expect(world.record.size).toBe(0);
  });
});
