/** `npm run soak`: long runs of a started system under telemetry; those of full length are kept in docs/soak.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { describeMachine } from './machine.ts';
import { renderResult, withSection } from './report.ts';
import { SCENARIOS, type Scenario, type SoakOptions } from './scenarios.ts';
import { SoakScene } from './scene.ts';

const DOCUMENT = path.join(import.meta.dirname, '../../docs/soak.md');
const DEFAULT_DEVICES = 1_000;
const DEFAULT_PER_SECOND = 10_000;

interface Chosen {
  readonly scenarios: readonly (readonly [name: string, scenario: Scenario])[];
  readonly options: Omit<SoakOptions, 'minutes'> & { readonly minutes: number | undefined };
}

function usage(reason: string): never {
  process.stderr.write(
    `${reason}\nusage: npm run soak -- [${Object.keys(SCENARIOS).join(' | ')}]... [--minutes N] [--rate MESSAGES_A_SECOND] [--devices N]\n`,
  );
  process.exit(2);
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  return value > 0 && value < 1e6
    ? value
    : usage(`--${name}: expected a number above 0; found ${JSON.stringify(text)}`);
}

function choose(args: readonly string[]): Chosen {
  const text = { type: 'string' } as const;
  const options = { minutes: text, rate: text, devices: text };
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  const names = positionals.length === 0 ? Object.keys(SCENARIOS) : positionals;
  return {
    scenarios: names.map((name) => {
      const scenario = Object.hasOwn(SCENARIOS, name) ? SCENARIOS[name] : undefined;
      return [name, scenario ?? usage(`there is no scenario ${JSON.stringify(name)}`)];
    }),
    options: {
      minutes: positive('minutes', values.minutes),
      perSecond: positive('rate', values.rate) ?? DEFAULT_PER_SECOND,
      devices: positive('devices', values.devices) ?? DEFAULT_DEVICES,
    },
  };
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Runs one scenario in a system of its own; answers whether all held. */
async function run(name: string, scenario: Scenario, { minutes, ...load }: Chosen['options']): Promise<boolean> {
  const options = { ...load, minutes: minutes ?? scenario.minutes };
  tell(`\n${name}: ${options.minutes} minutes`);
  const scene = await SoakScene.start(options.devices, tell);
  try {
    const result = await scenario.run(scene, options);
    const date = new Date().toISOString().slice(0, 10);
    const text = renderResult(result, `${date}, on ${await describeMachine(scene.influxdb.url)}.`);
    process.stdout.write(`## ${name}\n\n${text}\n\n`);
    const isFull =
      options.minutes >= scenario.minutes &&
      options.devices >= DEFAULT_DEVICES &&
      options.perSecond >= DEFAULT_PER_SECOND;
    if (isFull) {
      const document = withSection(readFileSync(DOCUMENT, 'utf8'), name, text);
      writeFileSync(DOCUMENT, await format(document, { ...(await resolveConfig(DOCUMENT)), parser: 'markdown' }));
    } else tell('not kept in docs/soak.md: this run was shorter or had less load than the usual one');
    return result.guarantees.every(({ holds }) => holds);
  } finally {
    await scene.stop();
  }
}

const { scenarios, options } = choose(process.argv.slice(2));
for (const [name, scenario] of scenarios) {
  try {
    if (await run(name, scenario, options)) continue;
    tell(`${name}: NOT EVERYTHING HELD`);
  } catch (error) {
    // The other scenarios are worth their time all the same.
    tell(`${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  process.exitCode = 1;
}
process.exit();
