import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ManagedProcess, ProcessLedger } from '@muster/engines';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { restartDelayMs, Supervisor, type SupervisorEvent } from './supervisor.ts';

describe('a process that ended', () => {
  it('is started again at once, then later and later', () => {
    expect(restartDelayMs([], 100_000)).toBe(0);
    expect(restartDelayMs([99_000, 99_500], 100_000)).toBe(1_000);
  });

  it('is given up after five restarts within a minute, but not within an hour', () => {
    expect(restartDelayMs([91_000, 92_000, 93_000, 94_000, 95_000], 100_000)).toBeUndefined();
    expect(restartDelayMs([1, 2, 3, 4, 95_000], 100_000)).toBe(500);
  });
});

describe('a process that does not start again at once', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'supervisor-'));
  const events: SupervisorEvent[] = [];
  const supervisor = new Supervisor(new ProcessLedger(folder), (event) => events.push(event));

  afterEach(async () => supervisor.stop([], 1_000));

  it('is tried again, later and later, until it starts', async () => {
    let attempts = 0;
    const start = async (): Promise<ManagedProcess> => {
      attempts += 1;
      if (attempts === 2 || attempts === 3) throw new Error(`attempt ${attempts}`);
      const logFile = path.join(folder, 'log');
      return ManagedProcess.start({ name: 'patient', command: 'sleep', args: ['60'], logFile });
    };
    const process_ = await supervisor.start({ name: 'patient', start });
    process.kill(process_.identity.pid, 'SIGKILL');
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ event: 'restarted' }), { timeout: 10_000 });
    expect(events).toMatchObject([
      { event: 'ended', name: 'patient', signal: 'SIGKILL' },
      { event: 'start-failed', name: 'patient', reason: 'attempt 2' },
      { event: 'start-failed', name: 'patient', reason: 'attempt 3' },
      { event: 'restarted', name: 'patient' },
    ]);
  });
});
