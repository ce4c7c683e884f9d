import { describe, expect, it } from 'vitest';
import type { TestModule } from 'vitest/node';
import { closingLine, sumOf } from './vitest.reporter.ts';

/** A module as vitest reports it, as far as the reporter looks. */
function moduleWith(states: readonly string[], errors: readonly string[] = []): TestModule {
  return {
    children: { allTests: () => states.map((state) => ({ result: () => ({ state }) })) },
    errors: () => errors,
  } as unknown as TestModule;
}

describe('the sum of a test run', () => {
  it('adds up all modules', () => {
    const sum = sumOf([moduleWith(['passed', 'passed', 'skipped']), moduleWith(['failed', 'passed'])], []);
    expect(closingLine(sum)).toBe('3 passed, 1 failed, 1 skipped');
  });

  it('counts a module that could not be loaded, an error outside of tests and a test that never ended as failed', () => {
    expect(
      sumOf([moduleWith([], ['cannot find module']), moduleWith(['passed', 'pending'])], [new Error('unhandled')]),
    ).toEqual({
      passed: 1,
      failed: 3,
      skipped: 0,
    });
  });

  it('says nothing of skipped tests where there are none', () => {
    expect(closingLine({ passed: 2, failed: 0, skipped: 0 })).toBe('2 passed, 0 failed');
  });
});
