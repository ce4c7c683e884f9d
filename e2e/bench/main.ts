/** `npm run bench NAME`: measures what a figure of the documentation says, prints it and writes it as JSON. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { alerting } from './alerting.ts';

/** A line of a result: what was measured, and the figure with its unit. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

/** The measurements by the name that stands behind `npm run bench`. */
const BENCHES: Readonly<Record<string, (say: (line: string) => void) => Promise<readonly Figure[]>>> = {
  alerting,
};

const [name = ''] = process.argv.slice(2);
const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
if (bench === undefined) {
  process.stderr.write(`usage: npm run bench ${Object.keys(BENCHES).join(' | ')}; found ${JSON.stringify(name)}\n`);
  process.exit(2);
}
const figures = await bench((line) => process.stderr.write(`${line}\n`));
const width = Math.max(...figures.map((figure) => figure.name.length));
for (const figure of figures) process.stdout.write(`${figure.name.padEnd(width)}  ${figure.value} ${figure.unit}\n`);
const folder = path.join(import.meta.dirname, '../../.muster');
mkdirSync(folder, { recursive: true, mode: 0o700 });
const file = path.join(folder, `bench-${name}.json`);
writeFileSync(file, `${JSON.stringify({ bench: name, at: new Date().toISOString(), figures }, undefined, 2)}\n`);
process.stderr.write(`written to ${path.relative(process.cwd(), file)}\n`);
process.exit(0);
