import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../up/settings.ts';
import { levelOf, parseThreshold, withDefaults } from './thresholds.ts';

describe('a threshold', () => {
  it.each([
    ['temp>30', { metric: 'temp', comparison: '>', limit: 30, level: 'warn' }],
    ['temp >= 35.5 : critical', { metric: 'temp', comparison: '>=', limit: 35.5, level: 'critical' }],
    ['hum<20:warn', { metric: 'hum', comparison: '<', limit: 20, level: 'warn' }],
    ['rssi<=-80', { metric: 'rssi', comparison: '<=', limit: -80, level: 'warn' }],
    ['power>1e3', { metric: 'power', comparison: '>', limit: 1000, level: 'warn' }],
    ['AM2301.Temperature>.5', { metric: 'AM2301.Temperature', comparison: '>', limit: 0.5, level: 'warn' }],
  ])('%s is read', (text, expected) => {
    expect(parseThreshold(text)).toEqual(expected);
  });

  it.each([
    ['', ''],
    ['what the shell leaves of temp>30 without quotes', 'temp'],
    ['no number', 'temp>hot'],
    ['no finite number', 'temp>1e999'],
    ['no metric', '>30'],
    ['a metric that cannot be', 'session>30'],
    ['an unknown level', 'temp>30:red'],
    ['a single =', 'temp=30'],
    ['two comparisons', 'temp>30>20'],
    ['hex', 'temp>0x10'],
    ['control characters', 'te\u001bmp>30'],
  ])('is refused in a line that says what was expected: %s', (_, text) => {
    expect(() => parseThreshold(text)).toThrow(UsageError);
    expect(() => parseThreshold(text)).toThrow(/METRIC>NUMBER.*in quotes.*found "/);
  });

  it('is read or refused with that error, whatever the text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z]{1,3}[<>]=?[0-9.e-]{0,6}(:[a-z]{0,8})?$/)), (text) => {
        try {
          expect(Number.isFinite(parseThreshold(text).limit)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
    );
  });
});

describe('the level of a value', () => {
  const thresholds = ['temp>30', 'temp>=35:critical', 'temp<5', 'hum<=20:critical'].map(parseThreshold);

  it.each([
    ['temp', 30, 'normal'],
    ['temp', 30.1, 'warn'],
    ['temp', 35, 'critical'],
    ['temp', 5, 'normal'],
    ['temp', 4.9, 'warn'],
    ['hum', 20, 'critical'],
    ['hum', 20.1, 'normal'],
    ['other', 1000, 'normal'],
    ['temp', '99', 'normal'],
    ['temp', true, 'normal'],
  ] as const)('%s %s is %s', (metric, value, level) => {
    expect(levelOf(thresholds, metric, value)).toBe(level);
  });

  it('of a battery is known without being told, unless it is told otherwise', () => {
    const defaults = withDefaults(thresholds);
    expect([3.4, 3.39, 3.19].map((volts) => levelOf(defaults, 'vbat', volts))).toEqual(['normal', 'warn', 'critical']);
    const own = withDefaults([parseThreshold('vbat<2.5')]);
    expect([3.0, 2.4].map((volts) => levelOf(own, 'vbat', volts))).toEqual(['normal', 'warn']);
  });
});
