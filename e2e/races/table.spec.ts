import { describe, expect, it } from 'vitest';
import { racesOf } from './table.reporter.ts';

describe('the table of races', () => {
  it('has the tests that begin with numbers, in the order of the numbers', () => {
    const tests = ['R10 a crash', 'P3 P4 a move', 'P15 equal times', 'is no race', 'R9 a queue', 'P3 plain'];
    const races = racesOf(tests.map((name) => ({ name, state: 'passed', ms: 1.6 })));
    expect(races.map(({ numbers, sentence }) => [numbers, sentence])).toEqual([
      ['P3', 'plain'],
      ['P3 P4', 'a move'],
      ['P15', 'equal times'],
      ['R9', 'a queue'],
      ['R10', 'a crash'],
    ]);
    expect(races[0]).toMatchObject({ result: 'passed', ms: 2 });
  });
});
