import { describe, expect, it } from 'vitest';
import { ageText, valueText } from './texts.ts';

describe('texts of the console', () => {
  it.each([
    [null, '–'],
    ['1970-01-01T00:00:58.000Z', '2 s'],
    ['1970-01-01T00:02:00.000Z', '0 s'],
  ])('the age of %s', (instant, expected) => expect(ageText(instant, 60_000)).toBe(expected));

  it.each([
    [90, '1 min'],
    [7_200, '2 h'],
    [200_000, '2 d'],
  ])('%d s ago', (seconds, expected) => expect(ageText(new Date(0).toISOString(), seconds * 1000)).toBe(expected));

  it('a value has its unit', () => {
    expect(valueText({ value: 22.50004, unit: '°C', at: '' })).toBe('22.5 °C');
    expect(valueText({ value: true, unit: null, at: '' })).toBe('true');
  });
});
