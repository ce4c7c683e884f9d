import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** What can be measured, by the name that `npm run bench NAME` takes; each gives its figures. */
const BENCHMARKS: Readonly<Record<string, () => Promise<{ measure: () => Promise<unknown> }>>> = {
  alerting: () => import('./alerting.ts'),
  automation: () => import('./automation.ts'),
  decommission: () => import('./decommission.ts'),
  digest: () => import('./digest.ts'),
  ingestion: () => import('./ingestion.ts'),
  'ingestion-profile': () => import('./ingestion-profile.ts'),
  'ingestion-receive': () => import('./ingestion-receive.ts'),
  'ingestion-scale': () => import('./ingestion-scale.ts'),
  presence: () => import('./presence.ts'),
};

const name = process.argv.at(-1) ?? '';
const load = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
if (load === undefined) {
  process.stderr.write(`usage: npm run bench ${Object.keys(BENCHMARKS).join(' | ')}\n`);
  process.exit(2);
}
const figures = await (await load()).measure();
const file = path.join(import.meta.dirname, '../../node_modules/.cache/bench', `${name}.json`);
mkdirSync(path.dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify(figures, undefined, 2)}\n`);
process.stdout.write(`\n${path.relative(process.cwd(), file)}\n`);
// 1 where a bench has said that its figures do not count.
process.exit();
