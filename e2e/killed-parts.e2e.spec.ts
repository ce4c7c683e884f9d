import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { SystemOfFile } from './system-of-file.ts';
import { curl, influxql, psql, publish, type StartedSystem } from './system.ts';

/**
 * What the system has told of its processes behind so many earlier events; it may work again a moment before it says
 * so. How often a start had to be tried is left out.
 */
async function told(
  system: StartedSystem,
  events: readonly (readonly [event: string, name: string])[],
  earlier: number,
): Promise<void> {
  await vi.waitFor(
    () =>
      expect(
        system.events
          .slice(earlier)
          .filter(({ event }) => event !== 'start-failed')
          .map(({ event, name }) => [event, name]),
      ).toEqual(events),
    { timeout: 10_000 },
  );
}

/** Whether a process was there to get a signal: those of PostgreSQL that do a piece of work end by themselves. */
function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

describe('a running system', () => {
  const system = new SystemOfFile();

  it('starts a killed service again and tells of it; QoS 1 telemetry sent meanwhile is stored', async () => {
    const { address } = system;
    const earlier = system.started.events.length;
    process.kill(system.pidOf('ingestion'), 'SIGKILL');
    for (let seq = 1; seq <= 20; seq += 1) {
      await publish(
        address,
        '-q',
        '1',
        '-t',
        'devices/patient/telemetry',
        '-m',
        JSON.stringify({ temp: 20, ts: Date.now() - 60_000 + seq, session: 1, seq }),
      );
    }
    await vi.waitFor(
      async () =>
        expect(await psql(address, `SELECT messages FROM device_activity WHERE device = 'patient'`)).toBe('20'),
      { timeout: 20_000 },
    );
    expect(system.started.events.slice(earlier)).toMatchObject([
      { event: 'ended', name: 'ingestion', signal: 'SIGKILL' },
      { event: 'restarted', name: 'ingestion' },
    ]);
  });

  it('starts PostgreSQL again also where processes of the killed one hold its memory for a while', async () => {
    const earlier = system.started.events.length;
    const postgres = system.pidOf('postgres');
    const left = readFileSync(`/proc/${postgres}/task/${postgres}/children`, 'utf8').trim().split(' ').map(Number);
    expect(left.length).toBeGreaterThan(3);
    // A machine that has no time for them, in the extreme.
    const stopped = left.filter((pid) => signalled(pid, 'SIGSTOP'));
    try {
      process.kill(postgres, 'SIGKILL');
      await delay(8_000);
    } finally {
      for (const pid of stopped) signalled(pid, 'SIGCONT');
    }
    await vi.waitFor(async () => expect((await curl(system.address, '/readyz')).status).toBe(200), {
      timeout: 40_000,
      interval: 250,
    });
    await told(
      system.started,
      [
        ['ended', 'postgres'],
        ['restarted', 'postgres'],
      ],
      earlier,
    );
  });

  it.each(['influxdb', 'postgres', 'mosquitto-0'])(
    'goes on after %s was killed, with nothing that was acknowledged lost',
    async (engine) => {
      const { address } = system;
      const earlier = system.started.events.length;
      const device = `steady-${engine}`;
      const total = 200;
      let sent = 0;
      const send = async (): Promise<void> => {
        const seq = sent + 1;
        await publish(
          address,
          '-q',
          '1',
          '-t',
          `devices/${device}/telemetry`,
          '-m',
          JSON.stringify({ temp: seq, ts: Date.now() - 60_000 + seq, session: 1, seq }),
        );
        sent = seq;
      };
      while (sent < total / 2) await send();
      // What is killed before its first save is gone with it (mqtt-pitfalls B7, R10): the session of ingestion must be on disk.
      if (engine === 'mosquitto-0') {
        process.kill(system.pidOf(engine), 'SIGUSR1');
        await delay(300);
      }
      process.kill(system.pidOf(engine), 'SIGKILL');
      while (sent < total) await send().catch(() => delay(50));
      await vi.waitFor(
        async () => {
          const answer = JSON.parse(
            await influxql(
              address,
              `SELECT count(temp) FROM telemetry WHERE device = '${device}' AND time > now() - 1h`,
            ),
          ) as {
            results?: { series?: { values: number[][] }[] }[];
          };
          expect(answer.results?.[0]?.series?.[0]?.values[0]?.[1]).toBe(total);
        },
        { timeout: 40_000, interval: 250 },
      );
      await vi.waitFor(async () => expect((await curl(address, '/readyz')).status).toBe(200), {
        timeout: 40_000,
        interval: 250,
      });
      await told(
        system.started,
        [
          ['ended', engine],
          ['restarted', engine],
        ],
        earlier,
      );
    },
    120_000,
  );
});
