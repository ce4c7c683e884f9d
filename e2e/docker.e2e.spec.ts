import { readFileSync } from 'node:fs';
import path from 'node:path';
import { dockerClient } from '@muster/engines';
import { describe, expect, it, vi } from 'vitest';
import { curl, execute, influxql, psql, publish, StartedSystem, stateFolder } from './system.ts';

const IMAGES = ['eclipse-mosquitto:2', 'postgres:17', 'influxdb:2.7'];
const docker = dockerClient();
const reason = docker === undefined ? 'no Docker engine answers' : await missingImages(docker);

async function missingImages(client: string): Promise<string | undefined> {
  const answers = await Promise.all(IMAGES.map((image) => execute(client, ['image', 'inspect', image])));
  const missing = IMAGES.filter((_, index) => answers[index]?.code !== 0);
  return missing.length === 0 ? undefined : `these images are not loaded: ${missing.join(', ')}`;
}

async function containers(): Promise<readonly string[]> {
  const { stdout } = await execute(docker ?? 'docker', [
    'ps',
    '--all',
    '--format',
    '{{.Names}}',
    '--filter',
    'name=muster-',
  ]);
  return stdout.split('\n').filter((name) => name !== '');
}

describe.skipIf(reason !== undefined)(
  `engines in containers${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    it('run like local ones: telemetry arrives, state stays for the next start, nothing is left behind', async () => {
      const dir = stateFolder();
      const args = ['--engines', 'docker', '--devices', '0', '--dir', dir];
      const first = await StartedSystem.start(args);
      expect(await containers()).toHaveLength(3);
      await publish(first.address, '-q', '1', '-t', 'devices/boxed/telemetry', '-m', '{"temp":21}');
      await publish(first.address, '-q', '1', '-r', '-t', 'devices/boxed/status', '-m', 'online');
      await vi.waitFor(
        async () =>
          expect((await curl(first.address, '/api/v1/devices/boxed')).body).toMatchObject({
            readings: { temp: { value: 21 } },
          }),
        { timeout: 8_000 },
      );
      expect((await first.stop()).code).toBe(0);
      expect(await containers()).toEqual([]);

      const second = await StartedSystem.start(args);
      expect(await psql(second.address, `SELECT state FROM presence WHERE device = 'boxed'`)).toBe('online');
      expect(await influxql(second.address, `SELECT temp FROM telemetry WHERE time > now() - 1h`)).toContain(',21]');
      const holder = JSON.parse(readFileSync(path.join(dir, 'lock'), 'utf8')) as { pid: number };
      process.kill(holder.pid, 'SIGKILL');
      await second.ended;
      await vi.waitFor(async () => expect(await containers()).toEqual([]), { timeout: 15_000, interval: 250 });
    }, 120_000);
  },
);
