import { describe, expect, it } from 'vitest';
import { whyNotReady } from './agent.ts';

describe('brokers are ready', () => {
  const at = (applied: bigint | undefined, name = 'b0'): { name: string; applied: bigint | undefined } => ({
    name,
    applied,
  });

  it.each([
    ['when each has the newest version', [at(7n), at(7n, 'b1')], 7n, [], undefined],
    [
      'not before an agent has seen one',
      [at(undefined)],
      undefined,
      [],
      /b0 is not at account version \(unknown yet\)/,
    ],
    ['not while one is behind', [at(7n), at(6n, 'b1')], 7n, [], /^b1 is not at account version 7$/],
    ['not when one is ahead, after the database was restored', [at(8n)], 7n, [], /b0 is not at account version 7/],
    ['not with a fault, which is said instead', [at(6n)], 7n, [['b0', 'b0 does not run']], /^b0 does not run$/],
  ] as const)('%s', (_, brokers, newest, faults, expected) => {
    const found = whyNotReady(brokers, newest, new Map(faults));
    if (expected === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(expected);
  });
});
