import { deviceId } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { timerKey, type Reaction } from './reaction.ts';
import { RuleEngine } from './rule-engine.ts';
import { readRules } from './rule-source.ts';

const MOTION_LIGHT = `
id: motion-light
triggers:
  - { id: motion, topic: 'home/{room}/motion', becomes: true }
  - { id: still, topic: 'home/{room}/motion', becomes: false, for: 30s }
override: { topic: 'home/{room}/light/command', for: 10m }
actions:
  - { publish: 'home/{room}/light/command', if: 'trigger.id == "motion"', payload: 'ON' }
  - { publish: 'home/{room}/light/command', if: 'trigger.id == "still"', payload: 'OFF' }
`;

/** An engine with a clock, whose timers are carried out when their time has come. */
class World {
  readonly engine = new RuleEngine('UTC');
  readonly published: string[] = [];
  readonly outcomes: string[] = [];
  readonly stops: string[] = [];
  readonly rests: string[] = [];
  readonly dropped: string[] = [];
  nowMs = Date.UTC(2026, 0, 5, 7, 30);

  constructor(...sources: readonly string[]) {
    this.engine.use(sources.flatMap(readRules).map(({ rule }) => ({ rule, version: 1 })));
  }

  message(topic: string, text: string, circumstances: { isLive?: boolean; chain?: readonly string[] } = {}): this {
    this.take(this.engine.message({ topic, text, isLive: true, chain: [], ...circumstances }, this.nowMs));
    return this;
  }

  reading(device: string, value: number, late = false): this {
    const reading = {
      device: deviceId(device),
      metric: 'temp',
      value,
      unit: null,
      atMs: this.nowMs,
      qos: 0,
      late,
    } as const;
    this.take(this.engine.reading(reading, this.nowMs));
    return this;
  }

  /** Lets time pass, a second at a time. */
  wait(seconds: number): this {
    for (let passed = 0; passed < seconds; passed += 1) {
      this.nowMs += 1_000;
      for (const key of [...this.engine.timers.keys()]) {
        const reaction = this.engine.due(key, this.nowMs);
        if (reaction !== undefined) this.take(reaction);
      }
    }
    return this;
  }

  take(reaction: Reaction): void {
    for (const effect of reaction.effects)
      this.published.push(
        effect.kind === 'publish'
          ? `${effect.topic}=${effect.payload}`
          : effect.kind === 'mode'
            ? `mode=${effect.mode}`
            : `${effect.severity}=${effect.text}`,
      );
    this.outcomes.push(...reaction.runs.map(({ outcome }) => outcome));
    this.stops.push(...reaction.stops.map(({ reason }) => reason));
    this.rests.push(...reaction.rests.map(({ rule, subject }) => `${rule} ${subject}`));
    this.dropped.push(...reaction.dropped.map(timerKey));
  }
}

describe('one rule for the lights of all rooms', () => {
  it('turns on at motion and off 30 s after the last motion, once', () => {
    const world = new World(MOTION_LIGHT)
      .message('home/hall/motion', 'true')
      .wait(5)
      .message('home/hall/motion', 'false');
    world.wait(20).message('home/hall/motion', 'true').wait(3).message('home/hall/motion', 'false').wait(29);
    expect(world.published).toEqual(['home/hall/light/command=ON', 'home/hall/light/command=ON']);
    world.wait(600);
    expect(world.published.slice(2)).toEqual(['home/hall/light/command=OFF']);
  });

  it('S1 does not turn off while somebody still moves', () => {
    expect(new World(MOTION_LIGHT).message('home/hall/motion', 'true').wait(3_600).published).toHaveLength(1);
  });

  it('keeps rooms apart', () => {
    const world = new World(MOTION_LIGHT).message('home/hall/motion', 'true').message('home/attic/motion', 'true');
    world.message('home/hall/motion', 'false').wait(15).message('home/attic/motion', 'false').wait(15);
    expect(world.published.slice(2)).toEqual(['home/hall/light/command=OFF']);
    expect(world.wait(15).published.slice(3)).toEqual(['home/attic/light/command=OFF']);
  });

  it('does not repeat itself for a message that says the same again', () => {
    const world = new World(MOTION_LIGHT).message('home/hall/motion', 'true').message('home/hall/motion', 'true');
    world.message('home/hall/motion', 'false').wait(20).message('home/hall/motion', 'false').wait(10);
    expect(world.published).toEqual(['home/hall/light/command=ON', 'home/hall/light/command=OFF']);
  });

  it.each([
    ['retained', { isLive: false }],
    ['redelivered', { isLive: false }],
  ])('fires nothing for a %s message', (_, circumstances) => {
    const world = new World(MOTION_LIGHT).message('home/hall/motion', 'true', circumstances);
    expect(world.wait(60).published).toEqual([]);
    expect(new World(MOTION_LIGHT).message('home/hall/motion', 'false', circumstances).wait(60).published).toEqual([]);
  });

  it('gives a manual command the last word for as long as the rule says', () => {
    const world = new World(MOTION_LIGHT).message('home/hall/motion', 'true').message('home/hall/light/command', 'OFF');
    world.message('home/hall/motion', 'false').wait(10).message('home/hall/motion', 'true').wait(10);
    world.message('home/hall/motion', 'false').wait(540);
    expect(world.published).toEqual(['home/hall/light/command=ON']);
    expect(world.outcomes).toContain('overridden');
    // What became due meanwhile is due when the override ends.
    expect(world.wait(60).published.slice(1)).toEqual(['home/hall/light/command=OFF']);
    expect(world.message('home/hall/motion', 'true').published).toHaveLength(3);
  });

  it('does not take its own command for a manual one, nor one of another room', () => {
    const world = new World(MOTION_LIGHT).message('home/hall/light/command', 'ON', { chain: ['motion-light'] });
    world.message('home/attic/light/command', 'OFF').message('home/hall/motion', 'true');
    expect(world.published).toEqual(['home/hall/light/command=ON']);
  });

  it('goes on with what was waiting when automation ended, and turns off what became still meanwhile', () => {
    const before = new World(MOTION_LIGHT).message('home/hall/motion', 'true').message('home/attic/motion', 'true');
    before.message('home/hall/motion', 'false').wait(10);
    const after = new World(MOTION_LIGHT);
    after.nowMs = before.nowMs + 5_000;
    after.engine.restore([...before.engine.timers.values()], []);
    // What the brokers have retained.
    after
      .message('home/hall/motion', 'false', { isLive: false })
      .message('home/attic/motion', 'false', { isLive: false });
    expect(after.wait(15).published).toEqual(['home/hall/light/command=OFF']);
    expect(after.wait(600).published).toEqual(['home/hall/light/command=OFF', 'home/attic/light/command=OFF']);
  });

  it('lets a timer be where the rule is saved with the same trigger, and drops it where that has changed', () => {
    const world = new World(MOTION_LIGHT).message('home/hall/motion', 'true').message('home/hall/motion', 'false');
    const changed = (text: string): number =>
      world.engine.use(readRules(text).map(({ rule }) => ({ rule, version: Math.random() }))).length;
    expect(changed(MOTION_LIGHT.replace("'ON'", '60'))).toBe(0);
    expect(changed(MOTION_LIGHT.replace('for: 30s', 'for: 60s'))).toBe(1);
  });
});

describe('a rule', () => {
  it.each<[string, unknown, string]>([
    ['a brightness', 60, '60'],
    ['a truth', true, 'true'],
    ['an object', { state: 'ON' }, '{"state":"ON"}'],
    ['a text with wildcards', '{room} is lit', 'hall is lit'],
  ])('publishes %s', (_, payload, expected) => {
    const rule = `id: a\ntriggers: [{ topic: 'x/{room}' }]\nactions: [{ publish: 'y/{room}', payload: ${JSON.stringify(payload)} }]`;
    expect(new World(rule).message('x/hall', '1').published).toEqual([`y/hall=${expected}`]);
  });

  it('publishes what an expression gives', () => {
    const rule = `id: a\ntriggers: [{ topic: 'x/{room}', path: level }]\nactions: [{ publish: 'y/{room}', value: 'trigger.value > 50.0 ? 100 : 0' }]`;
    expect(new World(rule).message('x/hall', '{"level": 51}').published).toEqual(['y/hall=100']);
  });

  it('has modes that other rules ask for', () => {
    const rules = `rules:
  - { id: dusk, triggers: [{ topic: dusk }], actions: [{ mode: evening }] }
  - { id: lamp, triggers: [{ topic: lamp }], when: mode == "evening", actions: [{ publish: light, payload: 1 }] }`;
    expect(new World(rules).message('lamp', '1').message('dusk', '1').message('lamp', '1').published).toEqual([
      'mode=evening',
      'light=1',
    ]);
  });

  it('knows the time in its zone', () => {
    const rule = (zone: string): string =>
      `id: a\ntimezone: ${zone}\ntriggers: [{ topic: x }]\nwhen: time.hour == 8 && time.weekday == 1\nactions: [{ publish: y, payload: 1 }]`;
    expect(new World(rule('Europe/Berlin')).message('x', '1').published).toHaveLength(1);
    expect(new World(rule('UTC')).message('x', '1').published).toHaveLength(0);
  });

  it('carries a delayed action out once, later when it is asked for again', () => {
    const rule = `id: a\ntriggers: [{ topic: 'x/{room}' }]\nactions: [{ publish: 'y/{room}', payload: 1, after: 10s }]`;
    const world = new World(rule).message('x/hall', '1').wait(8).message('x/hall', '1').wait(8);
    expect(world.published).toEqual([]);
    expect(world.wait(600).published).toEqual(['y/hall=1']);
  });

  it('fires on a metric beyond its limit, and again only when it has come back beyond clear', () => {
    const rule = `id: hot\ntriggers: [{ metric: temp, device: 'hall-*', above: 30, clear: 28 }]\nactions: [{ notify: '{device} is hot', severity: warning }]`;
    const world = new World(rule).reading('hall-1', 29).reading('hall-1', 31).reading('attic-1', 99);
    world.wait(1).reading('hall-1', 29).wait(1).reading('hall-1', 31);
    expect(world.published).toEqual(['warning=hall-1 is hot']);
    expect(world.wait(1).reading('hall-1', 27).wait(1).reading('hall-1', 31).published).toHaveLength(2);
  });

  it('fires nothing for late readings and for older ones than it has', () => {
    const rule = `id: hot\ntriggers: [{ metric: temp, above: 30 }]\nactions: [{ notify: hot }]`;
    const world = new World(rule).reading('a', 20).reading('a', 31, true);
    expect(world.published).toEqual([]);
    world.reading('b', 20);
    world.nowMs -= 60_000;
    expect(world.reading('b', 20).published).toEqual([]);
    expect(world.reading('b', 31).published).toEqual([]);
  });

  it('says why it could not act, and goes on with its other actions', () => {
    const rule = `id: a\ntriggers: [{ topic: x }]\nactions: [{ publish: y, value: 'last("b", "temp")' }, { publish: z, payload: 1 }]`;
    const world = new World(rule).message('x', '1');
    expect(world.published).toEqual(['z=1']);
    expect(world.outcomes).toEqual(['failed', 'acted']);
  });

  it('that triggers itself, through another rule or alone, is stopped and says so', () => {
    const world = new World(`rules:
  - { id: ping, triggers: [{ topic: x }], actions: [{ publish: y, payload: 1 }] }
  - { id: pong, triggers: [{ topic: y }], actions: [{ publish: x, payload: 1 }] }`);
    world
      .message('x', '1')
      .message('y', '1', { chain: ['ping'] })
      .message('x', '1', { chain: ['ping', 'pong'] });
    expect(world.stops).toEqual(['it triggered itself: ping → pong → ping']);
    expect(world.message('x', '1').published).toEqual(['y=1', 'x=1']);
    expect(world.engine.index.rules.map(({ rule }) => rule.id)).toEqual(['pong']);
  });

  it('that is stopped waits for nothing any more', () => {
    const world = new World(`{ id: a, triggers: [{ topic: x }], actions: [{ publish: x, payload: 1, after: 5s }] }`);
    world.message('x', '1').message('x', '1', { chain: ['a'] });
    expect(world.dropped).toEqual(['a\naction:0\n']);
    expect(world.wait(10).published).toEqual([]);
  });

  it('that goes round through a device rests for a minute, there alone', () => {
    const world = new World(
      `{ id: a, triggers: [{ topic: 'x/{room}' }], actions: [{ publish: 'y/{room}', payload: 1 }] }`,
    );
    for (let index = 0; index < 300; index += 1) world.message('x/hall', String(index)).message(`x/room${index}`, '1');
    expect(world.rests).toEqual(['a room=hall']);
    expect(world.published).toHaveLength(500);
    world.wait(59).message('x/hall', '1');
    expect(world.published).toHaveLength(500);
    expect(world.wait(2).message('x/hall', '1').published).toHaveLength(501);
    expect(world.stops).toEqual([]);
  });

  it('that has nothing to do may be asked as often as anybody likes', () => {
    const world = new World(
      `{ id: a, triggers: [{ topic: 'plug/{d}/power' }], when: trigger.value > 1000, actions: [{ publish: y, payload: 1 }] }`,
    );
    for (let index = 0; index < 1_000; index += 1) world.message('plug/a/power', '5');
    expect(world.message('plug/a/power', '2000').published).toEqual(['y=1']);
    expect(world.rests).toEqual([]);
  });

  it('takes a topic for nobody’s that is too long to be remembered', () => {
    const world = new World(`{ id: a, triggers: [{ topic: 'x/{room}' }], actions: [{ publish: y, payload: 1 }] }`);
    expect(world.message(`x/${'r'.repeat(600)}`, '1').published).toEqual([]);
    expect(world.message(`x/${'r'.repeat(500)}`, '1').published).toEqual(['y=1']);
  });

  it('keeps only what PostgreSQL can store', () => {
    const world = new World(`{ id: a, triggers: [{ topic: x }], actions: [{ publish: y, value: trigger.value }] }`);
    world.message('x', '"a\\u0000b\\ud800"').message('x', 'z'.repeat(5_000));
    expect(world.published).toEqual(['y=a\uFFFDb\uFFFD', `y=${'z'.repeat(1_024)}`]);
  });

  it('that was changed knows nothing of what its trigger was before', () => {
    const door = (state: string): string =>
      `{ id: a, triggers: [{ topic: door, becomes: ${state} }], actions: [{ notify: '${state}' }] }`;
    const world = new World(door('open')).message('door', 'open');
    world.engine.use(readRules(door('closed')).map(({ rule }) => ({ rule, version: 2 })));
    expect(world.message('door', 'closed').published).toEqual(['info=open', 'info=closed']);
  });

  it('fires for a reading although it is on record already, and for a clock that was set right', () => {
    const rule = `id: hot\ntriggers: [{ metric: temp, above: 30 }]\nactions: [{ notify: '{device}' }]`;
    const world = new World(rule).reading('a', 20);
    world.take(
      world.engine.knowReading(
        { device: deviceId('a'), metric: 'temp', value: 31, atMs: world.nowMs + 1 },
        world.nowMs,
      ),
    );
    world.nowMs += 1;
    expect(world.reading('a', 31).published).toEqual(['info=a']);
    world.nowMs += 72_000_000;
    world.reading('b', 20);
    world.nowMs -= 72_000_000;
    expect(world.reading('b', 31).published).toEqual(['info=a', 'info=b']);
  });

  it('publishes nowhere where a capture would not stay one level', () => {
    const world = new World(
      `{ id: a, triggers: [{ topic: 'x/{room}' }], actions: [{ publish: 'y/{room}', payload: 1 }] }`,
    );
    expect(world.message('x/', '1').message('x/a/b', '1').message('x/$a', '1').published).toEqual(['y/$a=1']);
  });

  it('turns off exactly once after any sequence of motion, whatever happens and however often it restarts', () => {
    const step = fc.oneof(
      fc.constantFrom('true', 'false').map((text) => ({ text })),
      fc.integer({ min: 1, max: 40 }).map((seconds) => ({ seconds })),
      fc.constant({ restart: true }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let world = new World(MOTION_LIGHT);
        let motion = 'false';
        const published: string[] = [];
        for (const one of [...steps, { text: 'true' }, { text: 'false' }, { seconds: 31 }]) {
          if ('text' in one) world.message('home/hall/motion', (motion = one.text));
          else if ('seconds' in one) world.wait(one.seconds);
          else {
            const next = new World(MOTION_LIGHT);
            next.nowMs = world.nowMs;
            next.engine.restore([...world.engine.timers.values()], []);
            published.push(...world.published);
            world = next.message('home/hall/motion', motion, { isLive: false });
          }
        }
        published.push(...world.published);
        const offs = published.map((text) => text.endsWith('OFF'));
        expect(offs.at(-1)).toBe(true);
        // Between two OFF there was motion, and so an ON, unless a restart hid its edge.
        expect(offs.some((off, index) => off && offs[index + 1] === true)).toBe(false);
        expect([...world.engine.timers.values()].filter(({ state }) => state === 'armed')).toEqual([]);
      }),
    );
  });

  it('keeps one timer for each room', () => {
    const world = new World(MOTION_LIGHT).message('home/hall/motion', 'false').message('home/attic/motion', 'false');
    expect([...world.engine.timers.values()].map(timerKey)).toEqual([
      'motion-light\ntrigger:1\nroom=hall',
      'motion-light\ntrigger:1\nroom=attic',
    ]);
  });
});
