import { readdirSync, readFileSync } from 'node:fs';

/**
 * Milliseconds of processor, in user and in system mode, that all threads of a process have used. The scheduler counts
 * nanoseconds, and for each thread by itself: Node collects garbage and compiles on threads of their own. What a thread
 * used that has ended is not in it.
 */
export function processorMs(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((sum, thread) => sum + threadMs(`${tasks}/${thread}/schedstat`), 0);
}

/** The same of the main thread alone, on which JavaScript runs. */
export function mainThreadMs(pid: number): number {
  return threadMs(`/proc/${pid}/task/${pid}/schedstat`);
}

/** Bytes of a process that are in memory (proc(5), `VmRSS`). */
export function residentBytes(pid: number): number {
  const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kibibytes === undefined) throw new Error(`process ${pid} has no memory: it has ended`);
  return Number(kibibytes) * 1024;
}

function threadMs(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8').split(' ')[0]) / 1e6;
  } catch (error) {
    // It ended between the look at the list and this one.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return 0;
    throw error;
  }
}
