import { randomInt } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { EngineError } from './engine-error.ts';

/** Below the ports that outgoing connections get: one of those may be taken before we listen (ip(7), ip_local_port_range). */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const ATTEMPTS = 100;
/** So long nobody else is given a port, on which nobody may listen yet. */
const RESERVED_MS = 60_000;
/** Ports that were given in this process. */
const given = new Set<number>();

/**
 * A port of the loopback interface that nobody listens on at this moment, that this process was not given before, and
 * no other of this user within a minute: two systems may be started at once.
 * @throws EngineError `port-taken` where none was found
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (given.has(port) || !(await isFree(port)) || !reserve(port)) continue;
    given.add(port);
    return port;
  }
  throw new EngineError('port-taken', `no free port between ${FIRST_PORT} and ${LAST_PORT}; end what listens there`);
}

/** Takes a port for this process, by a file that only one can make; false where another one has. */
function reserve(port: number): boolean {
  const folder = path.join(tmpdir(), `muster-ports-${userInfo().uid}`);
  const file = path.join(folder, String(port));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const reservedMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  if (reservedMs !== undefined && Date.now() - reservedMs < RESERVED_MS) return false;
  rmSync(file, { force: true });
  try {
    writeFileSync(file, '', { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Who listens on a TCP port, as far as /proc tells (Linux, and only processes that we may look into). */
export function portHolder(port: number): { readonly pid: number; readonly command: string } | undefined {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const inodes = new Set<string>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readLines(table).slice(1)) {
      const fields = line.trim().split(/\s+/);
      const isListening = fields[3] === '0A';
      if (isListening && fields[1]?.endsWith(`:${wanted}`) && fields[9] !== undefined)
        inodes.add(`socket:[${fields[9]}]`);
    }
  }
  if (inodes.size === 0) return undefined;
  for (const pid of listFolder('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const descriptor of listFolder(`/proc/${pid}/fd`)) {
      if (inodes.has(linkTarget(`/proc/${pid}/fd/${descriptor}`))) {
        const command = readLines(`/proc/${pid}/cmdline`).join('').split('\0').filter(Boolean).join(' ');
        return { pid: Number(pid), command: command.slice(0, 120) };
      }
    }
  }
  return undefined;
}

/**
 * Checks that a port of the loopback interface can be listened on.
 * @throws EngineError `port-taken`, naming who holds it
 */
export async function claimPort(what: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') {
        reject(
          new EngineError(
            'port-taken',
            `port ${port} for ${what} cannot be used: ${error.message}; choose another with --port ${what}=NUMBER`,
          ),
        );
        return;
      }
      const holder = portHolder(port);
      const who =
        holder === undefined ? 'a process that cannot be seen from here' : `pid ${holder.pid} (${holder.command})`;
      reject(
        new EngineError(
          'port-taken',
          `port ${port} for ${what} is taken by ${who}; end that process or choose another port with --port ${what}=NUMBER`,
        ),
      );
    });
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)));
  });
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    // The process has ended meanwhile, or belongs to somebody else.
    return [];
  }
}

function listFolder(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // As above.
    return [];
  }
}

function linkTarget(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    // As above.
    return '';
  }
}
