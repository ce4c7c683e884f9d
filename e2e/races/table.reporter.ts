import type { Reporter, TestModule } from 'vitest/node';

/** One race: the numbers that it stands for, what is to hold, and whether it did. */
export interface Race {
  readonly numbers: string;
  readonly sentence: string;
  readonly result: string;
  readonly ms: number;
}

const NAME = /^((?:[PRB]\d+ )+)(.+)$/;

/** The races among some tests, in the order of their numbers. */
export function racesOf(
  tests: readonly { readonly name: string; readonly state: string; readonly ms: number }[],
): readonly Race[] {
  return tests
    .flatMap(({ name, state, ms }) => {
      const [, numbers, sentence] = NAME.exec(name) ?? [];
      if (numbers === undefined || sentence === undefined) return [];
      return [{ numbers: numbers.trim(), sentence, result: state, ms: Math.round(ms) }];
    })
    .sort((one, other) => one.numbers.localeCompare(other.numbers, 'en', { numeric: true }));
}

/** `npm run races`: a table of all races. */
export default class RaceTable implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const races = racesOf(
      modules.flatMap((module) =>
        [...module.children.allTests()].map((test) => ({
          ...{ name: test.name, state: test.result().state, ms: test.diagnostic()?.duration ?? 0 },
        })),
      ),
    );
    const width = Math.max(...races.map(({ numbers }) => numbers.length), 0);
    for (const { numbers, sentence, result, ms } of races)
      process.stdout.write(
        `${numbers.padEnd(width)}  ${result.padEnd(7)}  ${String(ms).padStart(6)} ms  ${sentence}\n`,
      );
  }
}
