import { existsSync, readFileSync } from 'node:fs';

/** Clock ticks a second; 100 on every architecture of Linux (sysconf(3), _SC_CLK_TCK). */
const TICKS_PER_SECOND = 100;

/** When a process started, in milliseconds since 1970; undefined where it does not run or /proc is not there. */
export function startedAtMs(pid: number): number | undefined {
  const file = `/proc/${pid}/stat`;
  if (!Number.isInteger(pid) || pid < 1 || !existsSync(file)) return undefined;
  const stat = readFileSync(file, 'utf8');
  // The command in parentheses may hold spaces and parentheses itself; field 22 is the 20th behind it (proc(5)).
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  const uptimeSeconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  return Date.now() - (uptimeSeconds - ticks / TICKS_PER_SECOND) * 1000;
}
