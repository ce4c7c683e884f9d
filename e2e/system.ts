import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Device, NewApiToken, Scope } from '@muster/contract';
import { findProgram } from '@muster/engines';

/** What `npm start -- --json` prints when it is ready. */
export interface ReadyLine {
  readonly ready: true;
  readonly api: { readonly url: string; readonly token: string };
  readonly console: { readonly url: string };
  readonly broker: {
    readonly urls: readonly string[];
    readonly serviceUrls: readonly string[];
    /** Of the account that devices may share. */
    readonly username: string;
    readonly password: string;
    readonly ca: string | null;
  };
  readonly influxdb: {
    readonly url: string;
    readonly database: string;
    readonly username: string;
    readonly password: string;
  };
  readonly postgres: { readonly url: string };
  readonly pids: Readonly<Record<string, number>>;
}

/** How a command ended, and what it said. */
export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const ROOT = path.join(import.meta.dirname, '..');
const START_LIMIT_MS = 120_000;
const run = promisify(execFile);

/** A folder of mode 0700 for the state of a system. */
export function stateFolder(): string {
  return mkdtempSync(path.join(tmpdir(), 'muster-e2e-'));
}

/** The account that any client may use: most tests are many devices at once. */
const SHARED_ACCOUNT = '--shared-account';

/** A started system, as a script sees it. */
export class StartedSystem {
  readonly events: Readonly<Record<string, unknown>>[] = [];
  /** Every line of standard output. */
  readonly lines: string[] = [];
  stderr = '';
  #address: ReadyLine | undefined;
  readonly #child: ChildProcess;
  readonly ended: Promise<Finished>;

  constructor(args: readonly string[], accounts: readonly string[] = [SHARED_ACCOUNT]) {
    this.#child = spawn('npm', ['start', '--silent', '--', '--json', ...accounts, ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let rest = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const parts = (rest + chunk.toString()).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) this.#line(line);
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.ended = new Promise((resolve) => {
      this.#child.on('close', (code) => resolve({ code, stdout: this.lines.join('\n'), stderr: this.stderr }));
    });
  }

  /** Starts a system and waits until it is ready. */
  static async start(args: readonly string[], accounts?: readonly string[]): Promise<StartedSystem> {
    const system = new StartedSystem(args, accounts);
    try {
      await system.whenReady();
    } catch (error) {
      await system.stop();
      throw error;
    }
    return system;
  }

  /** Where everything is. */
  get address(): ReadyLine {
    if (this.#address === undefined) throw new Error('the system is not ready');
    return this.#address;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The pid of a process of the system now: after each restart it has another. */
  pidOf(name: string): number {
    const restart = this.events.findLast((event) => event['event'] === 'restarted' && event['name'] === name);
    return (restart?.['pid'] as number | undefined) ?? this.address.pids[name] ?? 0;
  }

  async whenReady(): Promise<ReadyLine> {
    const deadline = Date.now() + START_LIMIT_MS;
    while (this.#address === undefined) {
      if (this.#child.exitCode !== null)
        throw new Error(`the start ended with ${this.#child.exitCode}: ${this.stderr}`);
      if (Date.now() > deadline) throw new Error(`not ready within ${START_LIMIT_MS} ms: ${this.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    return this.#address;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Leaves, as `| head -1` does. */
  closeOutput(): void {
    this.#child.stdout?.destroy();
  }

  /** Ctrl-C, and how it ended. */
  async stop(): Promise<Finished> {
    this.#child.kill('SIGINT');
    return this.ended;
  }

  #line(line: string): void {
    this.lines.push(line);
    const value = JSON.parse(line) as ReadyLine | Record<string, unknown>;
    if ('ready' in value) this.#address = value as ReadyLine;
    else this.events.push(value);
  }
}

/** The arguments with which mosquitto_pub and mosquitto_sub reach a system's broker. */
export function brokerArguments({ broker }: ReadyLine, index = 0): readonly string[] {
  const { hostname, port } = new URL(broker.urls[index] ?? '');
  const tls = broker.ca === null ? [] : ['--cafile', broker.ca];
  return ['-h', hostname, '-p', port, ...tls, '-u', broker.username, '-P', broker.password];
}

/** Runs a program to its end; never throws for an exit code. */
export async function execute(
  program: string,
  args: readonly string[],
  limitMs = 20_000,
  environment: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  try {
    const { stdout, stderr } = await run(program, args, {
      timeout: limitMs,
      cwd: ROOT,
      env: { ...process.env, ...environment },
      maxBuffer: 64 * 1024 * 1024,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const failed = error as { code?: number | string; stdout?: string; stderr?: string };
    if (typeof failed.code === 'string') throw error;
    return { code: failed.code ?? null, stdout: failed.stdout ?? '', stderr: failed.stderr ?? '' };
  }
}

/** Publishes with mosquitto_pub. */
export async function publish(address: ReadyLine, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await execute('mosquitto_pub', [...brokerArguments(address), ...args]);
  if (code !== 0) throw new Error(`mosquitto_pub: ${stderr}`);
}

/** What mosquitto_sub prints of retained messages under a filter, a line each, within a second. */
export async function retained(address: ReadyLine, filter: string, broker = 0): Promise<readonly string[]> {
  const { stdout } = await execute('mosquitto_sub', [
    ...brokerArguments(address, broker),
    '-t',
    filter,
    '-v',
    '--retained-only',
    '-W',
    '1',
  ]);
  return stdout.split('\n').filter((line) => line !== '');
}

/** The header that every request of the API needs. */
export function authorization({ api }: ReadyLine): string {
  return `authorization: Bearer ${api.token}`;
}

/** An answer of the REST API by curl, with the system's own token. */
export async function curl(
  address: ReadyLine,
  path_: string,
  ...args: readonly string[]
): Promise<{ readonly status: number; readonly type: string; readonly body: unknown }> {
  const { stdout } = await execute('curl', [
    '-s',
    '--path-as-is',
    '-w',
    '\n%{http_code} %{content_type}',
    '-H',
    authorization(address),
    ...args,
    `${address.api.url}${path_}`,
  ]);
  const end = stdout.lastIndexOf('\n');
  const [status, ...type] = stdout.slice(end + 1).split(' ');
  const text = stdout.slice(0, end);
  const contentType = type.join(' ');
  return {
    status: Number(status),
    type: contentType,
    body: contentType.includes('json') ? (JSON.parse(text) as unknown) : text,
  };
}

/** A new API token of the system, by curl. */
export async function newToken(address: ReadyLine, name: string, scope: Scope): Promise<NewApiToken> {
  const body = JSON.stringify({ name, scope });
  return (await curl(address, '/api/v1/tokens', '-X', 'POST', '--json', body)).body as NewApiToken;
}

/** The status with which a token is answered; the arguments are curl's. */
export async function statusAs(token: string, ...args: readonly string[]): Promise<number> {
  const bearer = `authorization: Bearer ${token}`;
  const { stdout } = await execute('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', '-H', bearer, ...args]);
  return Number(stdout);
}

/** A device by curl. */
export async function deviceOf(address: ReadyLine, id: string): Promise<Device> {
  return (await curl(address, `/api/v1/devices/${id}`)).body as Device;
}

/**
 * Resolves when it is on record that a broker has run longer than a start takes. Mosquitto tells its uptime every 10 s,
 * and that it was started anew is known by that it fell.
 */
export async function whenUptimeIsKnown(address: ReadyLine): Promise<void> {
  const known = 'SELECT max(uptime_ms) >= 20000 FROM presence_broker';
  const deadlineMs = Date.now() + 40_000;
  while ((await psql(address, known)) !== 't') {
    if (Date.now() > deadlineMs) throw new Error('no broker has told an uptime of 20 s within 40 s');
    await delay(250);
  }
}

/** One value by psql. */
export async function psql(address: ReadyLine, sql: string): Promise<string> {
  const { code, stdout, stderr } = await execute('psql', [address.postgres.url, '-At', '-c', sql]);
  if (code !== 0) throw new Error(`psql: ${stderr}`);
  return stdout.trim();
}

/** The rows that InfluxDB answers to curl, as text. */
export async function influxql(address: ReadyLine, query: string): Promise<string> {
  const { influxdb } = address;
  const { stdout } = await execute('curl', [
    '-s',
    '-G',
    `${influxdb.url}/query`,
    '-u',
    `${influxdb.username}:${influxdb.password}`,
    '--data-urlencode',
    `db=${influxdb.database}`,
    '--data-urlencode',
    'epoch=ms',
    '--data-urlencode',
    `q=${query}`,
  ]);
  return stdout;
}

/** Longer than what any command of `muster` takes in a test. */
const MUSTER_LIMIT_MS = 180_000;

/** `muster` on its own, without a system. */
export async function runMuster(...args: readonly string[]): Promise<Finished> {
  return execute('node', ['apps/cli/dist/main.js', ...args], MUSTER_LIMIT_MS);
}

/** `muster` with the system's own token. */
export async function muster(address: ReadyLine, ...args: readonly string[]): Promise<Finished> {
  const environment = { MUSTER_URL: address.api.url, MUSTER_TOKEN: address.api.token };
  return execute('node', ['apps/cli/dist/main.js', ...args], MUSTER_LIMIT_MS, environment);
}

/** Why a test cannot run for want of a program; undefined where it can. In CI it fails instead of being skipped. */
export function missingProgram(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => findProgram(program) === undefined);
  if (missing.length === 0 || process.env['CI'] === 'true') return undefined;
  return `${missing.join(', ')} is not installed`;
}
