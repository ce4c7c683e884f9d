import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readlink, rename, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { SpoolError, systemCode } from './spool-error.ts';

const LOCK = 'lock';
/** Someone else may take a lock between our look and our grip, but not time after time. */
const ATTEMPTS = 5;
/** Locks of this process. In a container each process is number 1: a lock of "our" pid may be of the one before. */
const own = new Set<string>();

/** Gives a lock back. */
export type Unlock = () => Promise<void>;

/**
 * Takes a folder for this process alone, until it gives it back or ends in whatever way. The lock is a symbolic link that
 * leads nowhere and whose target names the process: made in one step, never half there, and without a block of a disk
 * that may be full. The name is the pid and the start of the process (proc(5), stat field 22), because a pid alone may
 * be another process by now.
 * @throws SpoolError `locked`
 */
export async function lockFolder(folder: string): Promise<Unlock> {
  const file = path.join(folder, LOCK);
  const identity = identityOf(process.pid) ?? `${process.pid}`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    if (await linked(identity, file)) {
      own.add(file);
      return async () => {
        await rm(file, { force: true });
        own.delete(file);
      };
    }
    const holder = await holderOf(file);
    if (holder === undefined) continue;
    if (own.has(file) || isAlive(holder)) {
      throw new SpoolError('locked', `the spool ${folder} belongs to process ${holder.split(' ')[0]}, which runs`);
    }
    await removeStale(file, holder);
  }
  throw new SpoolError('locked', `the spool ${folder} is being taken by other processes`);
}

async function linked(identity: string, file: string): Promise<boolean> {
  try {
    await symlink(identity, file);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

async function holderOf(file: string): Promise<string | undefined> {
  try {
    return await readlink(file);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes the lock of a process that has ended; one that was taken anew meanwhile is put back. */
async function removeStale(file: string, holder: string): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
  try {
    await rename(file, aside);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  const taken = await readlink(aside);
  if (taken !== holder) await linked(taken, file);
  await rm(aside, { force: true });
}

function identityOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command in parentheses may hold spaces and parentheses itself.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : `${pid} ${fields[18]}`;
  } catch {
    // No such process, or no /proc on this system.
    return undefined;
  }
}

function isAlive(holder: string): boolean {
  if (process.platform === 'linux') return identityOf(Number.parseInt(holder, 10)) === holder;
  const pid = Number.parseInt(holder, 10);
  // Without start times a lock of our pid that we have not taken is that of a process before us.
  if (!(pid > 0) || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}
