/** Writes the dashboards into the chart; with `--check` says which of its files are not what would be written. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { dashboards } from './index.ts';

const folder = path.join(import.meta.dirname, '../../../charts/muster/dashboards');
const wanted = new Map([...dashboards()].map(([file, content]) => [file, `${JSON.stringify(content, null, 2)}\n`]));

mkdirSync(folder, { recursive: true });
const present = readdirSync(folder).filter((file) => file.endsWith('.json'));
const superfluous = present.filter((file) => !wanted.has(file));
const stale = [...wanted].filter(
  ([file, text]) => !present.includes(file) || readFileSync(path.join(folder, file), 'utf8') !== text,
);

if (process.argv.includes('--check')) {
  const files = [...superfluous, ...stale.map(([file]) => file)];
  if (files.length > 0) {
    process.stderr.write(`charts/muster/dashboards: ${files.join(', ')} not fresh; run "npm run generate"\n`);
    process.exitCode = 1;
  }
} else {
  for (const file of superfluous) rmSync(path.join(folder, file));
  for (const [file, text] of stale) writeFileSync(path.join(folder, file), text);
}
