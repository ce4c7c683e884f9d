import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alertDurationMs, alertRuleFileSchema, alertRuleSchema } from './alert-rule.ts';

describe('a duration', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5h', 5_400_000],
    ['7d', 604_800_000],
    ['0s', 0],
    ['30', Number.NaN],
    ['-5m', Number.NaN],
    ['5 m', Number.NaN],
    ['1e3s', Number.NaN],
    ['', Number.NaN],
  ])('%j is %d ms', (text, milliseconds) => {
    expect(alertDurationMs(text)).toBe(milliseconds);
  });
});

describe('an alert rule', () => {
  it('gets severity, labels and a duration where it says none', () => {
    expect(alertRuleSchema.parse({ name: 'warm', kind: 'threshold', metric: 'temp', above: 30 })).toEqual({
      name: 'warm',
      kind: 'threshold',
      metric: 'temp',
      above: 30,
      severity: 'warning',
      labels: {},
      enabled: true,
      for: '0s',
    });
  });

  it.each<[string, unknown, RegExp]>([
    ['neither limit', { kind: 'threshold', metric: 'temp' }, /expected one of above and below/],
    ['both limits', { kind: 'threshold', metric: 'temp', above: 1, below: 2 }, /expected one of above and below/],
    ['an end beyond its limit', { kind: 'threshold', metric: 'temp', above: 30, clear: 31 }, /good side of the limit/],
    [
      'an end beyond its lower limit',
      { kind: 'threshold', metric: 'temp', below: 5, clear: 4 },
      /good side of the limit/,
    ],
    ['an unknown kind', { kind: 'treshold', metric: 'temp', above: 1 }, /kind/],
    ['an unknown key', { kind: 'presence', state: 'lost' }, /state/],
    ['a reserved metric', { kind: 'threshold', metric: 'seq', above: 1 }, /name of a metric/],
    ['a label of ours', { kind: 'presence', labels: { device: 'x' } }, /Muster's own/],
    ['a label with a bad name', { kind: 'presence', labels: { 'a-b': 'x' } }, /a letter or _/],
    ['a text that cannot be stored', { kind: 'presence', summary: 'a\0b' }, /cannot be stored/],
    ['a duration that is none', { kind: 'presence', for: 'soon' }, /expected a duration/],
    ['a duration of years', { kind: 'presence', for: '400d' }, /expected a duration/],
    ['an absence of no time', { kind: 'absence', for: '0s' }, /more than 0/],
    ['a share above all', { kind: 'broker-connections', percent: 120 }, /percent/],
    ['not a number', { kind: 'threshold', metric: 'temp', above: Number.NaN }, /above/],
  ])('is refused with %s', (_, rule, message) => {
    const parsed = alertRuleSchema.safeParse({ name: 'rule', ...(rule as object) });
    expect(parsed.success).toBe(false);
    expect(JSON.stringify(parsed.error?.issues)).toMatch(message);
  });

  it('has a name that no other rule of its file has', () => {
    const rule = { name: 'twice', kind: 'presence' };
    expect(alertRuleFileSchema.safeParse({ rules: [rule, rule] }).error?.issues[0]?.message).toMatch(/the same name/);
  });

  it('that was read is the same when it is read again', () => {
    const rule = fc.record({
      name: fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,20}$/),
      kind: fc.constant('threshold'),
      metric: fc.constantFrom('temp', 'hum'),
      above: fc.double({ noNaN: true, noDefaultInfinity: true }),
      severity: fc.constantFrom('info', 'warning', 'critical'),
    });
    fc.assert(
      fc.property(rule, (candidate) => {
        const once = alertRuleSchema.parse(candidate);
        expect(alertRuleSchema.parse(JSON.parse(JSON.stringify(once)))).toEqual(JSON.parse(JSON.stringify(once)));
      }),
    );
  });
});
