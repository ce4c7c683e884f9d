// Sets up what is missing and runs a command in this process. One file without dependencies: it runs on a bare clone.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.dirname(fileURLToPath(import.meta.url));
const LOCK_LIMIT_MS = 15 * 60_000;
/** Where races stand that need no whole system: tests that begin with their number, as those of e2e/races. */
const RACES_ELSEWHERE = [
  'apps/ingestion/src/fleet-store.integration',
  'apps/registry/src/access/stand-in-will.integration',
  'e2e/broker-agent.integration',
  'e2e/ingestion-shards.e2e',
  'e2e/subscriber.integration',
  'libs/broker/src/broker-connection.integration',
  'libs/broker/src/subscriber/subscriber-',
  'libs/telemetry/src/telemetry-writer.integration',
];

class SetupError extends Error {}

function say(line) {
  process.stderr.write(`${line}\n`);
}

/** `engines.node` of package.json, in words that an old Node understands as well. */
function checkNodeVersion() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  if (!fits) {
    throw new SetupError(
      `Node ${process.versions.node} is too old or not supported; install Node 20.19, 22.12, 24 or newer from https://nodejs.org`,
    );
  }
}

function run(what, command, args, environment = {}) {
  // What the commands print is talk: standard output belongs to the command that is set up for.
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...environment },
  });
  if (error) throw new SetupError(`${what} could not run: ${error.message}`);
  if (signal) throw new SetupError(`${what} was ended by ${signal}`);
  if (status !== 0) throw new SetupError(`${what} failed with exit code ${status}; what it said stands above`);
}

function npm(what, args) {
  const script = process.env.npm_execpath;
  if (script && /\.c?js$/.test(script)) run(what, process.execPath, [script, ...args]);
  else run(what, 'npm', args);
}

function binary(name) {
  return path.join(root, 'node_modules', name);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop()?.startsWith('Z') !== true;
  } catch (error) {
    return error.code === 'ENOENT' && process.platform !== 'linux';
  }
}

function lockHolder(lock) {
  try {
    return Number(readFileSync(lock, 'utf8'));
  } catch (error) {
    // Given back between two looks.
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Taken aside first: another waiter may have seen the same dead holder and have the lock by now. */
function removeStaleLock(lock) {
  const aside = `${lock}.stale.${process.pid}`;
  try {
    renameSync(lock, aside);
  } catch (error) {
    if (error.code === 'ENOENT') return;
    throw error;
  }
  const holder = lockHolder(aside);
  if (holder !== undefined && isAlive(holder) && !existsSync(lock)) linkSync(aside, lock);
  rmSync(aside, { force: true });
}

/** Two starts at once would install and build over each other: the second waits for the first. */
async function withLock(work) {
  const folder = path.join(root, '.muster');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = path.join(folder, 'setup.lock');
  const own = `${lock}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  const deadline = Date.now() + LOCK_LIMIT_MS;
  let told = false;
  try {
    for (;;) {
      try {
        linkSync(own, lock);
        break;
      } catch (error) {
        if (error.code !== 'EEXIST') throw error;
      }
      const holder = lockHolder(lock);
      if (holder === undefined) continue;
      if (!isAlive(holder)) removeStaleLock(lock);
      else {
        if (!told) say(`waiting for the set-up that pid ${holder} does in this folder`);
        told = true;
        if (Date.now() > deadline)
          throw new SetupError(
            `pid ${holder} has held the set-up of this folder for 15 minutes; end it and start again`,
          );
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
    rmSync(own, { force: true });
    const release = () => rmSync(lock, { force: true });
    process.once('exit', release);
    await work();
    process.removeListener('exit', release);
    release();
  } finally {
    rmSync(own, { force: true });
  }
}

function hashOf(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

/** Does a piece of work unless its stamp says that it was done for the same inputs. */
async function once(stamp, key, work) {
  const file = path.join(root, 'node_modules', `.muster-${stamp}`);
  if (existsSync(file) && readFileSync(file, 'utf8') === key) return;
  await work();
  writeFileSync(file, key);
}

function filesBelow(folder, skip) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (skip.has(entry.name)) return [];
    const file = path.join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(file, skip) : [file];
  });
}

/** The state of some sources, by path, size and time of change: reading them all would cost more. */
function sourcesKey(folders, skip = new Set()) {
  const files = folders.flatMap((name) => {
    const file = path.join(root, name);
    return statSync(file).isDirectory() ? filesBelow(file, skip) : [file];
  });
  return hashOf(files.sort().flatMap((file) => [file, String(statSync(file).size), String(statSync(file).mtimeMs)]));
}

function installKey() {
  return hashOf([readFileSync(path.join(root, 'package-lock.json')), process.version, process.platform, process.arch]);
}

/** A plain `npm ci` leaves no stamp of ours, but a lock file of its own that is newer than the one it was made from. */
function isFreshInstall() {
  const hidden = path.join(root, 'node_modules/.package-lock.json');
  return (
    !existsSync(path.join(root, 'node_modules/.muster-install')) &&
    existsSync(hidden) &&
    existsSync(binary('vite')) &&
    statSync(hidden).mtimeMs >= statSync(path.join(root, 'package-lock.json')).mtimeMs
  );
}

async function install() {
  if (isFreshInstall()) writeFileSync(path.join(root, 'node_modules/.muster-install'), installKey());
  await once('install', installKey(), () => {
    say('installing dependencies (npm ci; about a minute the first time)');
    npm('npm ci', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=notice']);
  });
}

async function generateClient() {
  const key = sourcesKey(['libs/database/prisma/schema', 'package-lock.json']);
  if (!existsSync(path.join(root, 'libs/database/src/client/client.ts')))
    rmSync(path.join(root, 'node_modules/.muster-prisma'), { force: true });
  await once('prisma', key, () => {
    say('generating the Prisma client');
    run(
      'prisma generate',
      process.execPath,
      [binary('prisma/build/index.js'), 'generate', '--config', 'libs/database/prisma.config.ts'],
      {
        // Any program does: nothing here needs the engine that could not be downloaded.
        PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
        PRISMA_HIDE_UPDATE_MESSAGE: 'true',
        CHECKPOINT_DISABLE: '1',
      },
    );
  });
}

async function build() {
  const apps = readdirSync(path.join(root, 'apps'));
  if (
    apps.some(
      (app) =>
        existsSync(path.join(root, 'apps', app, 'vite.config.ts')) && !existsSync(path.join(root, 'apps', app, 'dist')),
    )
  ) {
    rmSync(path.join(root, 'node_modules/.muster-build'), { force: true });
  }
  const key = sourcesKey(
    ['apps', 'libs', 'package-lock.json', 'vite.node.ts', 'tsconfig.base.json'],
    new Set(['dist', 'node_modules']),
  );
  await once('build', key, () => {
    say('building what changed');
    run(
      'the build',
      process.execPath,
      [binary('nx/dist/bin/nx.js'), 'run-many', '-t', 'build', '--output-style=stream'],
      nxEnvironment,
    );
  });
}

const nxEnvironment = { NX_DAEMON: 'false', NX_TUI: 'false', NX_NO_CLOUD: 'true', NX_SKIP_LOG_GROUPING: 'true' };

/** Format, lint, types, and generated files that are fresh; the first that fails ends it. */
function check() {
  const steps = [
    ['format', [binary('prettier/bin/prettier.cjs'), '--check', '--log-level', 'warn', '.']],
    [
      'lint',
      [
        binary('eslint/bin/eslint.js'),
        '--cache',
        '--cache-location',
        'node_modules/.cache/eslint/',
        '--max-warnings',
        '0',
        '.',
      ],
    ],
    ['types', [binary('typescript/bin/tsc'), '--noEmit']],
    ['types of the console', [binary('typescript/bin/tsc'), '--noEmit', '-p', 'apps/console']],
    ['generated files', [binary('nx/dist/bin/nx.js'), 'run-many', '-t', 'fresh', '--output-style=stream']],
  ];
  for (const [name, args] of steps) {
    const startedAt = Date.now();
    run(`npm run check: ${name}`, process.execPath, args, nxEnvironment);
    say(`check: ${name} (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`);
  }
}

/** Goes on as another program of node_modules, in this process. */
async function runScript(program, args) {
  process.chdir(root);
  process.argv = [process.argv[0], binary(program), ...args];
  await import(pathToFileURL(binary(program)));
}

async function main() {
  const [command = 'up', ...rest] = process.argv.slice(2);
  checkNodeVersion();
  await withLock(async () => {
    await install();
    await generateClient();
    await build();
  });
  process.chdir(process.env.INIT_CWD ?? process.cwd());
  switch (command) {
    case 'check':
      check();
      return;
    case 'test':
      check();
      await runScript('vitest/vitest.mjs', ['run', ...rest]);
      return;
    case 'e2e:kubernetes':
      await runScript('vitest/vitest.mjs', ['run', '--config', 'vitest.kubernetes.config.ts', ...rest]);
      return;
    case 'races':
      await runScript('vitest/vitest.mjs', [
        ...['run', '--project', 'e2e', '--project', 'integration', 'e2e/races', ...RACES_ELSEWHERE],
        ...['--reporter', './e2e/races/table.reporter.ts'],
        ...['--reporter', './vitest.reporter.ts', ...rest],
      ]);
      return;
    case 'security':
      await runScript('jiti/lib/jiti-cli.mjs', ['e2e/security/main.ts', ...rest]);
      return;
    case 'bench':
      await runScript('jiti/lib/jiti-cli.mjs', ['e2e/bench/main.ts', ...rest]);
      return;
    case 'soak':
      await runScript('jiti/lib/jiti-cli.mjs', ['e2e/soak/main.ts', ...rest]);
      return;
    case 'dev':
      process.argv = [...process.argv.slice(0, 2), 'up', '--watch', ...rest];
      break;
    default:
      process.argv = [...process.argv.slice(0, 2), command, ...rest];
  }
  await import(pathToFileURL(path.join(root, 'apps/cli/dist/main.js')));
}

try {
  await main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(`muster: ${error.message}`);
  process.exitCode = 1;
}
