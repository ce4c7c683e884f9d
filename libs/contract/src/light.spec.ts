import { describe, expect, it } from 'vitest';
import { decodeLightCommand } from './light.ts';

describe('a light', () => {
  it.each<[string, boolean, number | undefined]>([
    ['ON', true, undefined],
    ['off', false, undefined],
    ['0', false, 0],
    ['1', true, 1],
    [' 60 ', true, 60],
    ['100', true, 100],
  ])('takes %j', (text, on, brightness) => expect(decodeLightCommand(text)).toEqual({ on, brightness }));

  it.each(['', '101', '-1', '5.5', '1e2', 'true', 'ON OFF', '0x10', '٣'])('refuses %j', (text) =>
    expect(() => decodeLightCommand(text)).toThrow('ON, OFF or a brightness'),
  );
});
