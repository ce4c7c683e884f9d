import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, muster, psql, StartedSystem, stateFolder } from './system.ts';

const FLEET = 5_000;

interface Line {
  readonly event: 'figures' | 'ended';
  readonly online: number;
  readonly mostOnline?: number;
  readonly memory?: { readonly bytesPerDevice: number };
  readonly faults: Readonly<Record<string, number>>;
}

function lines(stdout: string): readonly Line[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

describe('muster simulate', () => {
  const folder = stateFolder();
  let system: StartedSystem;

  beforeAll(async () => {
    system = await StartedSystem.start(['--devices', '0', '--dir', folder]);
  });
  afterAll(async () => {
    await system.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it(
    'runs 5,000 virtual devices in one process, and the started system has all of them online',
    { timeout: 300_000 },
    async () => {
      const simulated = spawn('node', ['apps/cli/dist/main.js', 'simulate', '--devices', String(FLEET), '--json'], {
        env: { ...process.env, MUSTER_URL: system.address.api.url, MUSTER_TOKEN: system.address.api.token },
      });
      let [stdout, stderr] = ['', ''];
      simulated.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      simulated.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const ended = new Promise((resolve) => simulated.on('close', resolve));
      const online = "SELECT count(*) FROM presence WHERE state = 'online' AND device LIKE 'sim-%'";
      await vi.waitFor(async () => expect(await psql(system.address, online)).toBe(String(FLEET)), {
        timeout: 120_000,
        interval: 1_000,
      });
      // The API answers meanwhile.
      expect((await curl(system.address, '/api/v1/devices?limit=1')).status).toBe(200);
      // Half a minute of all of them; then they say goodbye.
      await delay(30_000);
      simulated.kill('SIGINT');
      expect(await ended, stderr).toBe(0);
      const last = lines(stdout).at(-1);
      expect(last).toMatchObject({ event: 'ended', mostOnline: FLEET });
      expect(last?.memory?.bytesPerDevice).toBeLessThanOrEqual(20_480);
      const reasons = `SELECT state || ' ' || reason AS ended, count(*) FROM presence WHERE device LIKE 'sim-%' GROUP BY 1`;
      await vi.waitFor(async () => expect(await psql(system.address, reasons)).toBe(`offline shutdown|${FLEET}`), {
        timeout: 60_000,
      });
      const models = "SELECT count(*) FROM device WHERE id LIKE 'sim-%' AND info ->> 'model' IS NOT NULL";
      await vi.waitFor(async () => expect(await psql(system.address, models)).toBe(String(FLEET)), { timeout: 60_000 });
    },
  );

  it('has profiles and faults: a sleepy fleet is asleep, a crash is a will', { timeout: 120_000 }, async () => {
    const sleepy = ['simulate', '--devices', '20', '--profile', 'sleepy', '--prefix', 'nap-', '--for', '30s', '--json'];
    const asleep = "SELECT count(*) FROM presence WHERE state = 'asleep' AND device LIKE 'nap-%'";
    const napping = muster(system.address, ...sleepy);
    await vi.waitFor(async () => expect(await psql(system.address, asleep)).toBe('20'), { timeout: 30_000 });
    // Two hours of theirs in 20 s: each crashes a dozen times.
    const crashing = ['simulate', '--devices', '5', '--fault', 'crash', '--prefix', 'bad-', '--seed', '3'];
    const { code, stdout } = await muster(system.address, ...crashing, '--days', '0.08', '--for', '20s', '--json');
    expect(code).toBe(0);
    expect(lines(stdout).at(-1)?.faults['crash']).toBeGreaterThan(5);
    const wills = "SELECT count(*) > 5 FROM presence_transition WHERE device LIKE 'bad-%' AND reason = 'will'";
    expect(await psql(system.address, wills)).toBe('t');
    expect((await napping).code).toBe(0);
  });

  it.each([
    [['--devices', '0'], /whole number from 1/],
    [['--fault', 'fire'], /half-open, crash, clock-jump/],
    [['--profile', 'office2'], /Allowed choices are office, flapping, sleepy, storm/],
    [['--days', '1'], /--for has to say how long/],
    [['--broker', 'http://x'], /expects mqtt:/],
  ])('refuses %j and says why', async (options, message) => {
    const { code, stdout, stderr } = await muster(system.address, 'simulate', ...options);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });
});
