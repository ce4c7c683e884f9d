/** `npm run migration -- NAME`: writes the SQL between the data model of the last commit and that of the work tree. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { openSchemaEngine } from './src/schema-engine.ts';

const root = import.meta.dirname;
const name = process.argv.at(-1) ?? '';
if (!/^[a-z][a-z0-9_]*$/.test(name)) throw new Error('usage: npm run migration -- NAME (lower case, with underscores)');

// The engine opens a connection even where it only compares two data models.
const url = process.env['MUSTER_POSTGRES_URL'];
if (url === undefined)
  throw new Error('MUSTER_POSTGRES_URL is not set: give any PostgreSQL, such as the one that npm start prints');

const folder = path.join(root, 'prisma/schema');
const now = readdirSync(folder).map((file) => ({ path: file, content: readFileSync(path.join(folder, file), 'utf8') }));
const committed = now.flatMap(({ path: file }) => {
  try {
    const content = execFileSync('git', ['show', `HEAD:./prisma/schema/${file}`], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return [{ path: file, content }];
  } catch {
    return [];
  }
});

const { engine } = await openSchemaEngine(
  url,
  now.map(({ path: file, content }) => [file, content]),
);
const { stdout } = await engine.diff({
  from: committed.length === 0 ? { tag: 'empty' } : { tag: 'schemaDatamodel', files: committed },
  to: { tag: 'schemaDatamodel', files: now },
  script: true,
  exitCode: null,
  filters: { externalTables: [], externalEnums: [] },
});
const stamp = new Date().toISOString().replace(/[-:T]|\..*/g, '');
const target = path.join(root, 'prisma/migrations', `${stamp}_${name}`);
mkdirSync(target, { recursive: true });
writeFileSync(path.join(target, 'migration.sql'), stdout ?? '');
console.log(`${target}\nset SCHEMA_VERSION in src/migrations.ts to ${stamp}_${name}`);
process.exit(0);
