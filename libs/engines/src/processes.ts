import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, openSync, closeSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EngineError } from './engine-error.ts';

/** A process as it can be found again: a pid alone may belong to another one later. */
export interface ProcessIdentity {
  readonly name: string;
  readonly pid: number;
  /** Clock ticks since boot at which it started (proc(5), stat field 22); empty where that is not known. */
  readonly startTime: string;
  /** The signal that ends it in order. */
  readonly stopSignal: NodeJS.Signals;
}

/** How a process is to be run. */
export interface ProcessPlan {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Where its output goes; appended to. */
  readonly logFile: string;
  readonly stopSignal?: NodeJS.Signals;
  /** A program before the command, such as unshare; the parent-death signal is set behind it. */
  readonly prefix?: readonly string[];
}

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const POLL_MS = 20;

/** A process of its own group that ends with its starter and is ended in order by stop(). */
export class ManagedProcess {
  readonly identity: ProcessIdentity;
  /** Resolves when the process has ended, never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ChildProcess;
  #end: ProcessEnd | undefined;

  private constructor(plan: ProcessPlan, child: ChildProcess, pid: number) {
    this.#child = child;
    this.identity = {
      name: plan.name,
      pid,
      startTime: startTimeOf(pid) ?? '',
      stopSignal: plan.stopSignal ?? 'SIGTERM',
    };
    this.ended = new Promise((resolve) => {
      child.on('exit', (code, signal) => {
        this.#end = { code, signal };
        resolve(this.#end);
      });
    });
  }

  /**
   * Starts a process.
   * @throws Error when the command cannot be run
   */
  static async start(plan: ProcessPlan): Promise<ManagedProcess> {
    const stopSignal = plan.stopSignal ?? 'SIGTERM';
    const command = [...(plan.prefix ?? []), ...deathSignal(stopSignal), plan.command, ...plan.args];
    const log = openSync(plan.logFile, 'a', 0o600);
    try {
      const child = spawn(command[0] ?? plan.command, command.slice(1), {
        detached: true,
        stdio: ['ignore', log, log],
        ...(plan.cwd === undefined ? {} : { cwd: plan.cwd }),
        env: { ...process.env, ...plan.env },
      });
      const pid = await new Promise<number>((resolve, reject) => {
        child.once('error', reject);
        child.once('spawn', () => resolve(child.pid ?? 0));
      });
      return new ManagedProcess(plan, child, pid);
    } finally {
      closeSync(log);
    }
  }

  /** How it ended, once it has. */
  get end(): ProcessEnd | undefined {
    return this.#end;
  }

  /** Ends the process in order, and by force after `limitMs`; answers whether force was needed. */
  async stop(limitMs: number): Promise<boolean> {
    if (this.#end !== undefined) return false;
    this.#child.kill(this.identity.stopSignal);
    if (await endsWithin(this.ended, limitMs)) return false;
    this.#child.kill('SIGKILL');
    await endsWithin(this.ended, 2_000);
    return true;
  }
}

async function endsWithin(ended: Promise<ProcessEnd>, limitMs: number): Promise<boolean> {
  const abort = new AbortController();
  const result = await Promise.race([
    ended.then(() => true),
    delay(limitMs, false, { signal: abort.signal }).catch(() => false),
  ]);
  abort.abort();
  return result;
}

/** On Linux the kernel ends a child when its starter is gone, however that went. */
function deathSignal(signal: NodeJS.Signals): readonly string[] {
  const setpriv = process.platform === 'linux' ? findProgram('setpriv') : undefined;
  return setpriv === undefined ? [] : [setpriv, '--pdeathsig', signal.replace('SIG', ''), '--'];
}

/** The path of a program, looked for in PATH and in the folders where daemons are. */
export function findProgram(name: string): string | undefined {
  const folders = [
    ...(process.env['PATH'] ?? '').split(path.delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
    '/sbin',
    '/opt/homebrew/sbin',
  ];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => path.join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        // Not there, or not ours to run: the next folder.
        return false;
      }
    });
}

interface ProcStat {
  readonly state: string;
  readonly startTime: string;
}

function procStat(pid: number): ProcStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command in parentheses may hold spaces and parentheses itself.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', startTime: fields[19] ?? '' };
  } catch {
    // No such process, or no /proc on this system.
    return undefined;
  }
}

function startTimeOf(pid: number): string | undefined {
  return procStat(pid)?.startTime;
}

/** Whether this very process still runs; a zombie, which pid 1 may never reap, counts as ended. */
export function isRunning({ pid, startTime }: Pick<ProcessIdentity, 'pid' | 'startTime'>): boolean {
  const stat = procStat(pid);
  if (stat !== undefined)
    return stat.state !== 'Z' && stat.state !== 'X' && (startTime === '' || stat.startTime === startTime);
  if (process.platform === 'linux') return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH: it has ended.
    return false;
  }
}

/** This process, as it can be found again. */
export function ownIdentity(name: string): ProcessIdentity {
  return { name, pid: process.pid, startTime: startTimeOf(process.pid) ?? '', stopSignal: 'SIGTERM' };
}

/** Ends a process that is not a child of ours, in order and by force after `limitMs`. */
export async function endProcess(identity: ProcessIdentity, limitMs: number): Promise<void> {
  for (const [signal, limit] of [[identity.stopSignal, limitMs] as const, ['SIGKILL', 5_000] as const]) {
    if (!isRunning(identity)) return;
    try {
      process.kill(identity.pid, signal);
    } catch {
      // It ended between the look and the signal.
      return;
    }
    for (let waited = 0; waited < limit && isRunning(identity); waited += POLL_MS) await delay(POLL_MS);
  }
}

/** The processes of a state folder on disk, so that the next start can end what a killed one left behind. */
export class ProcessLedger {
  readonly #file: string;
  #entries: readonly ProcessIdentity[] = [];

  constructor(folder: string) {
    this.#file = path.join(folder, 'processes.json');
  }

  /** Ends what an earlier start left running; answers the names. */
  async endLeftovers(limitMs: number): Promise<readonly string[]> {
    const left = this.#read();
    // Without a start time the pid may be anybody's by now.
    const running = left.filter((identity) => identity.startTime !== '' && isRunning(identity));
    await Promise.all(running.map((identity) => endProcess(identity, limitMs)));
    rmSync(this.#file, { force: true });
    return running.map(({ name }) => name);
  }

  #read(): readonly ProcessIdentity[] {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch (error) {
      // No file: the last stop was in order.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
    try {
      const entries = JSON.parse(text) as unknown;
      if (Array.isArray(entries)) return entries as readonly ProcessIdentity[];
    } catch {
      // Said below, together with what is JSON and no list.
    }
    throw new EngineError(
      'state-unusable',
      `${this.#file} is damaged: end what an earlier start may have left running, then remove the file`,
    );
  }

  /** Notes the processes that run now. */
  write(entries: readonly ProcessIdentity[]): void {
    this.#entries = entries;
    const temporary = `${this.#file}.new`;
    writeFileSync(temporary, JSON.stringify(this.#entries), { mode: 0o600 });
    renameSync(temporary, this.#file);
  }
}
