import { describe, expect, it } from 'vitest';
import { addMatcher, endOf } from './alert-commands.ts';

describe('a matcher', () => {
  it.each([
    ['device=cellar-*', { device: 'cellar-*' }],
    ['reason=a=b', { reason: 'a=b' }],
  ])('%s', (text, matchers) => {
    expect(addMatcher(text, undefined)).toEqual(matchers);
    expect(addMatcher(text, { rule: 'lost' })).toEqual({ rule: 'lost', ...matchers });
  });

  it.each(['device', 'device=', '=x', 'a-b=c', ''])('is not %j', (text) => {
    expect(() => addMatcher(text, undefined)).toThrow(/expected LABEL=TEXT/);
  });
});

describe('the end of a silence', () => {
  it('is a time, or so long from now', () => {
    expect(endOf({ for: '2h' }, 0)).toBe('1970-01-01T02:00:00.000Z');
    expect(endOf({ until: '2027-01-01T00:00:00Z' }, 0)).toBe('2027-01-01T00:00:00Z');
  });

  it.each([[{}], [{ for: '2h', until: '2027-01-01T00:00:00Z' }], [{ for: 'soon' }]])('is not %j', (options) => {
    expect(() => endOf(options, 0)).toThrow(/expect/);
  });
});
