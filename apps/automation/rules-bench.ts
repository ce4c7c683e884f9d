import { deviceId } from '@muster/contract';
import { RuleEngine } from './src/rule-engine.ts';
import { readRules } from './src/rule-source.ts';

const COUNTS = [10, 1_000, 10_000];
const DEVICES = 1_000;
const EVENTS = 20_000;
const ROUNDS = 15;

/** Rules of which one is about what happens, and all others are about other rooms and devices, the same in kind. */
function engineWith(count: number): RuleEngine {
  const others = Array.from(
    { length: count - 3 },
    (_, index) =>
      `  - { id: o${index}, triggers: [${
        [
          `{ topic: 'home/other${index}/motion', becomes: true }`,
          `{ metric: temp, device: other${index}, above: 30 }`,
          `{ presence: lost, device: other${index} }`,
        ][index % 3] ?? ''
      }], actions: [{ notify: x }] }\n`,
  );
  const own = `  - { id: a, triggers: [{ topic: 'home/{room}/motion', becomes: true }], actions: [{ notify: x }] }
  - { id: b, triggers: [{ metric: temp, device: 'd*', above: 30 }], actions: [{ notify: x }] }
  - { id: c, triggers: [{ presence: lost }], actions: [{ notify: x }] }\n`;
  const engine = new RuleEngine('UTC');
  const texts = [own];
  for (let index = 0; index < others.length; index += 1_000) texts.push(others.slice(index, index + 1_000).join(''));
  engine.use(texts.flatMap((text) => readRules(`rules:\n${text}`)).map(({ rule }) => ({ rule, version: 1 })));
  return engine;
}

/** Nanoseconds for an event: a third each of control messages, readings and changes of presence. */
function round(engine: RuleEngine, startMs: number): number {
  const startedAt = process.hrtime.bigint();
  for (let index = 0; index < EVENTS; index += 1) {
    const number = index % DEVICES;
    const nowMs = startMs + index;
    if (index % 3 === 0)
      engine.message({ topic: `home/room${number}/motion`, text: 'false', isLive: true, chain: [] }, nowMs);
    else if (index % 3 === 1)
      engine.reading(
        { device: deviceId(`d${number}`), metric: 'temp', value: 20, unit: null, atMs: nowMs, qos: 1, late: false },
        nowMs,
      );
    else engine.presence({ device: `d${number}`, to: 'online', isLive: true }, nowMs);
  }
  return Number(process.hrtime.bigint() - startedAt) / EVENTS;
}

const engines = COUNTS.map((count) => ({ count, engine: engineWith(count), nsPerEvent: [] as number[] }));
const startMs = Date.UTC(2026, 0, 1);
for (let number = -3; number < ROUNDS; number += 1)
  for (const { engine, nsPerEvent } of engines) {
    const ns = round(engine, startMs + (number + 3) * EVENTS);
    if (number >= 0) nsPerEvent.push(ns);
  }
process.stdout.write(JSON.stringify(engines.map(({ count, nsPerEvent }) => ({ count, nsPerEvent }))));
