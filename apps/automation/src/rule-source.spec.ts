import { YamlError } from '@muster/service';
import { describe, expect, it } from 'vitest';
import { parseCondition } from './conditions.ts';
import { readRules, storedRule } from './rule-source.ts';

const light = `rules:
  - id: motion-light
    triggers:
      - id: motion
        topic: home/{room}/motion
        becomes: true
      - id: still
        topic: home/{room}/motion
        becomes: false
        for: 30s
    when: mode != "away"
    override: { topic: 'home/{room}/light/command', for: 10m }
    actions:
      - publish: home/{room}/light/command
        if: trigger.id == "motion"
        payload: 'ON'
      - publish: home/{room}/light/command
        if: trigger.id == "still"
        payload: 'OFF'
`;

function faults(text: string): readonly string[] {
  try {
    readRules(text);
    return [];
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    return error.faults.map(({ line, column, path, message }) => `${line}:${column} ${path}: ${message}`);
  }
}

describe('a text of rules', () => {
  it('is read with durations in milliseconds', () => {
    const [{ rule } = { rule: undefined }] = readRules(light);
    expect(rule?.triggers[1]).toMatchObject({ kind: 'topic', for: 30_000, becomes: false });
    expect(rule?.override?.for).toBe(600_000);
    expect(rule?.actions[0]).toMatchObject({ kind: 'publish', payload: 'ON', qos: 1, retain: false, expires: 5_000 });
  });

  it('may be a single rule', () => {
    expect(readRules("id: a\ntriggers: [{ schedule: '0 7 * * *' }]\nactions: [{ mode: morning }]")).toHaveLength(1);
  });

  it.each<[string, string, RegExp]>([
    ['broken YAML', 'rules:\n  - id: [', /^\d+:\d+ : /],
    ['no rules', 'rules: []', /^1:8 rules: expected a list of 1 to 1000 rules$/],
    ['text that is no rule', '42', /expected object/],
    ['a duration without a unit', light.replace('for: 30s', 'for: 30'), /^10:14 rules\.0\.triggers\.1\.for: /],
    [
      'an unknown key',
      light.replace('becomes: true', 'turns: true'),
      /^6:16 rules\.0\.triggers\.0\.turns: Unrecognized key: "turns"$/,
    ],
    ['two kinds of trigger', light.replace('becomes: true', 'metric: temp'), /found topic and metric$/],
    ['a wildcard of MQTT', light.replace('home/{room}/motion', 'home/+/motion'), /write a wildcard as \{name\}/],
    ["the system's topics", light.replace('home/{room}/motion', 'muster/{room}/motion'), /^5:16 .*system's own$/],
    [
      'a wildcard that no trigger gives',
      light.replace("payload: 'ON'", "payload: '{house}'"),
      /^16:19 rules\.0\.actions\.0\.payload: \{house\} is no wildcard/,
    ],
    [
      'a condition that is none',
      light.replace('mode != "away"', 'mode != '),
      /^11:\d+ rules\.0\.when: Unexpected token/,
    ],
    [
      'a condition of an unknown name',
      light.replace('mode != "away"', 'house == 1'),
      /^11:11 rules\.0\.when: Unknown variable: house$/,
    ],
    [
      'a condition that is a text',
      light.replace('mode != "away"', `'"away"'`),
      /^11:\d+ rules\.0\.when: expected true or false; this gives string/,
    ],
    [
      'a place inside a condition',
      light.replace('trigger.id == "motion"', 'mode == "x" && mode + 1 == 2'),
      /^15:28 rules\.0\.actions\.0\.if: no such overload/,
    ],
    ['a metric that is put together', light.replace('mode != "away"', 'last("a", mode) > 1'), /written out/],
    [
      'a schedule that never is',
      "id: a\ntriggers: [{ schedule: '61 * * * *' }]\nactions: [{ mode: b }]",
      /^2:\d+ triggers\.0\.schedule: not a schedule/,
    ],
    [
      'a time zone of no country',
      "id: a\ntriggers: [{ schedule: '0 7 * * *', timezone: Mars/Olympus }]\nactions: [{ mode: b }]",
      /time zone/,
    ],
    ['two rules of one id', `${light}${light.slice(7)}`, /the id motion-light stands twice$/],
    [
      'a limit on the wrong side',
      'id: a\ntriggers: [{ metric: temp, above: 30, clear: 31 }]\nactions: [{ mode: b }]',
      /other side/,
    ],
    [
      'aliases that multiply',
      `a: &a [x, x, x, x, x, x, x, x, x]\n${'bcdefghi'
        .split('')
        .map((name, index) => `${name}: &${name} [${`*${'abcdefgh'[index]},`.repeat(9)}]`)
        .join('\n')}\nrules: [*i]`,
      /alias/i,
    ],
  ])('with %s is refused, and the place is named', (_, text, expected) => {
    expect(faults(text).join('\n')).toMatch(expected);
  });

  it('names every fault, not the first alone', () => {
    expect(faults(light.replace('for: 30s', 'for: 0s').replace('for: 10m', 'for: soon'))).toHaveLength(2);
  });
});

describe('a rule on record', () => {
  const [{ written } = { written: {} }] = readRules(light);

  it('is the one that was saved', () => {
    expect(storedRule(written)).toMatchObject({ rule: { id: 'motion-light' } });
  });

  it('may have more expressions than a text may have levels', () => {
    const value = `${Array.from({ length: 10 }, (_, at) => `trigger.value == ${at} ? ${at} : `).join('')}10`;
    const actions = Array.from({ length: 20 }, () => ({ publish: 'y', value }));
    const many = { id: 'a', triggers: [{ topic: 'x' }], actions };
    expect(readRules(JSON.stringify(many, null, 1))).toHaveLength(1);
    expect(storedRule(many)).toHaveProperty('rule');
  });

  it.each<[string, unknown, RegExp]>([
    ['a kind of action that there is not yet', { ...written, actions: [{ sing: 'la' }] }, /^actions\.0/],
    ['a function that there is not yet', { ...written, when: ['sunny("hall")'] }, /^when: .*sunny/],
    ['nothing', undefined, /expected object/],
  ])('of another version, with %s, says what cannot be read', (_, stored, reason) => {
    expect(storedRule(stored)).toEqual({ reason: expect.stringMatching(reason) as unknown });
  });
});

describe('a condition', () => {
  const scope = { trigger: { room: 'hall', value: true }, mode: 'day', time: { hour: 7 } };

  it('asks for last values and says which metrics it needs', () => {
    const condition = parseCondition('last(trigger.room + "-light", "light", "OFF") == "OFF"', 'bool', (device) =>
      device === 'hall-light' ? 'ON' : undefined,
    );
    expect(condition.metrics).toEqual(['light']);
    expect(condition.evaluate(scope)).toBe(false);
    expect(condition.evaluate({ ...scope, trigger: { room: 'attic' } })).toBe(true);
  });

  it('says what it lacks', () => {
    expect(() => parseCondition('last("a", "temp") > 1', 'bool', () => undefined).evaluate(scope)).toThrow(
      'a has no temp yet',
    );
    expect(() => parseCondition('trigger.brightness > 1', 'bool').evaluate(scope)).toThrow('No such key: brightness');
  });

  it.each(['('.repeat(100), '1 + '.repeat(600) + '1', `[${'1,'.repeat(200)}1].size() > 1`])(
    'of excessive size is refused: %.20s',
    (text) => expect(() => parseCondition(text, 'bool')).toThrow(/exceed|Unexpected|limit/i),
  );
});
