import { describe, expect, it } from 'vitest';
import { shutOutBetween } from './shut-out.ts';

const file = (...lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

describe('the devices that a change of the accounts shuts out', () => {
  it.each([
    ['nobody, where nothing changes', file('a:1', 'b:2'), file('a:1', 'b:2'), []],
    ['nobody, where accounts are added', file('a:1'), file('a:1', 'b:2'), []],
    ['nobody, before the first accounts', '', file('a:1'), []],
    ['nobody, where the order is another one', file('a:1', 'b:2'), file('b:2', 'a:1'), []],
    ['who has another password', file('a:1', 'b:2'), file('a:1', 'b:3'), ['b']],
    ['who is not there any more', file('a:1', 'b:2'), file('b:2'), ['a']],
    ['everybody, where no account is left', file('a:1', 'b:2'), '', ['a', 'b']],
    ['no service and not the shared account', file('muster.ingestion:1', 'muster.agent:1', 'muster.shared:1'), '', []],
    ['nobody for a line that names none', file('a', ':1'), '', []],
  ])('are %s', (_what, before, after, expected) => {
    expect(shutOutBetween(before, after)).toEqual(expected);
  });
});
