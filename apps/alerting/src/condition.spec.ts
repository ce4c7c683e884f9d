import { alertRuleSchema, type AlertRule } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { compile, concerns, presenceValue, summaryOf } from './condition.ts';

function rule(definition: Record<string, unknown>): AlertRule {
  return alertRuleSchema.parse({ name: 'rule', ...definition });
}

describe('what a number means to a rule', () => {
  const warm = { kind: 'threshold', metric: 'temp', above: 30, clear: 28 };
  const cold = { kind: 'threshold', metric: 'temp', below: 5, clear: 7 };
  it.each<[Record<string, unknown>, number, string]>([
    [warm, 30, 'between'],
    [warm, 30.1, 'breached'],
    [warm, 28.1, 'between'],
    [warm, 28, 'clear'],
    [cold, 5, 'between'],
    [cold, 4.9, 'breached'],
    [cold, 6.9, 'between'],
    [cold, 7, 'clear'],
    [{ kind: 'threshold', metric: 'temp', above: 30 }, 30, 'clear'],
    [{ kind: 'broker-connections' }, 80, 'breached'],
    [{ kind: 'broker-connections' }, 79.9, 'between'],
    [{ kind: 'broker-connections' }, 75, 'between'],
    [{ kind: 'broker-connections' }, 74.9, 'clear'],
    [{ kind: 'flapping', times: 3, within: '10m' }, 3, 'breached'],
    [{ kind: 'flapping', times: 3, within: '10m' }, 2, 'clear'],
    [{ kind: 'broker-dropped' }, 0, 'clear'],
    [{ kind: 'broker-dropped' }, 1, 'breached'],
    [{ kind: 'certificate', within: '21d' }, 21, 'clear'],
    [{ kind: 'certificate', within: '21d' }, 20.9, 'breached'],
    [{ kind: 'certificate', within: '21d' }, -3, 'breached'],
    [{ kind: 'broker-retained', above: 100, clear: 50 }, 60, 'between'],
    [{ kind: 'ingestion', figure: 'spool_bytes', above: 10 }, 11, 'breached'],
  ])('%j at %d: %s', (definition, value, verdict) => {
    expect(compile(rule(definition), 1).verdict(value)).toBe(verdict);
  });

  it('is about the devices that its patterns match, and about all without any', () => {
    const some = compile(rule({ ...warm, devices: ['cellar-*', 'attic'] }), 1);
    expect(['cellar-1', 'attic', 'attic-2'].map((device) => concerns(some, device))).toEqual([true, true, false]);
    expect(concerns(compile(rule(warm), 1), 'any')).toBe(true);
  });

  it('of retained messages is more than system topics and devices explain (R14)', () => {
    const { expected } = compile(rule({ kind: 'broker-retained', above: 100, per_device: 4 }), 1);
    expect([expected(0), expected(100)]).toEqual([64, 464]);
  });

  it('of presence is whether the state is one of its own', () => {
    const lost = rule({ kind: 'presence' });
    expect([presenceValue(lost, 'lost'), presenceValue(lost, 'offline')]).toEqual([1, 0]);
  });
});

describe('what an alert says', () => {
  it.each<[Record<string, unknown>, Record<string, string | number>, string]>([
    [
      { kind: 'threshold', metric: 'temp', above: 30 },
      { device: 'a', value: 31.400000001, limit: 30 },
      'temp of a is 31.4, and the limit is 30',
    ],
    [
      { kind: 'broker-lost' },
      { broker: 'mosquitto-0', devices: 2431 },
      'mosquitto-0 is lost; 2431 devices stand behind it',
    ],
    [{ kind: 'flapping', times: 3, within: '10m' }, { device: 'a', value: 4 }, 'a was lost 4 times in 10m'],
    [
      { kind: 'presence', summary: '{device} of {team}, {nonsense}', labels: { team: 'heating' } },
      { device: 'a' },
      'a of heating, {nonsense}',
    ],
    [{ kind: 'presence', summary: '{constructor} {labels}' }, {}, '{constructor} {labels}'],
  ])('%j: %j', (definition, facts, text) => {
    expect(summaryOf(rule(definition), facts)).toBe(text);
  });
});
