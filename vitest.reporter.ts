import { appendFileSync } from 'node:fs';
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node';

/** What a run came to. */
interface Sum {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The sum of a run; modules that could not be loaded and errors outside of tests count as failed. */
export function sumOf(modules: readonly TestModule[], unhandled: readonly unknown[]): Sum {
  const states = modules.flatMap((module) => [...module.children.allTests()].map((test) => test.result().state));
  const count = (state: string): number => states.filter((found) => found === state).length;
  const brokenModules = modules.filter((module) => module.errors().length > 0).length;
  const unfinished = count('pending');
  return {
    passed: count('passed'),
    failed: count('failed') + unfinished + brokenModules + unhandled.length,
    skipped: count('skipped'),
  };
}

/** The closing line, which CI reads. */
export function closingLine({ passed, failed, skipped }: Sum): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}

/** Prints the sum of a run as a line of its own, and writes it to the file that MUSTER_TEST_SUMS names; no test at all is a failure. */
export default class SumReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[], reason: TestRunEndReason): void {
    const sum = sumOf(modules, unhandled);
    const nothingRan = sum.passed + sum.failed === 0;
    if (nothingRan || reason !== 'passed' || sum.failed > 0) process.exitCode = 1;
    process.stdout.write(`\n${closingLine(sum)}\n`);
    const file = process.env['MUSTER_TEST_SUMS'];
    if (file !== undefined) appendFileSync(file, `${closingLine(sum)}\n`);
  }
}
