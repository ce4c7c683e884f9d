import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort } from '@muster/engines';
import { describe, expect, it, vi } from 'vitest';
import { execute, stateFolder } from './system.ts';

const APPS = path.join(import.meta.dirname, '../apps');

/** A copy of an app's build in a folder that has nothing else, so that nothing can come from node_modules. */
function lonely(app: string): string {
  const folder = mkdtempSync(path.join(tmpdir(), `muster-bundle-${app}-`));
  cpSync(path.join(APPS, app, 'dist'), folder, { recursive: true });
  return folder;
}

const SERVICES = ['agent', 'ingestion', 'presence', 'automation', 'alerting', 'registry'];

const nowhere = {
  MUSTER_AGENT_FOLDER: '/nowhere',
  MUSTER_POSTGRES_URL: 'postgresql://u:p@127.0.0.1:9/d',
  MUSTER_BROKERS: 'mosquitto-0=mqtt://127.0.0.1:9',
  MUSTER_INFLUXDB_URL: 'http://127.0.0.1:9',
  MUSTER_INFLUXDB_USERNAME: 'u',
  MUSTER_INFLUXDB_PASSWORD: 'p',
  MUSTER_SPOOL_FOLDER: path.join(stateFolder(), 'spool'),
  MUSTER_INTERNAL_TOKEN: 'a-token-for-tests-only',
  MUSTER_SIGNING_KEY: 'a-secret-for-tests-only-too',
  MUSTER_AUTOMATION_URL: 'http://127.0.0.1:9',
  MUSTER_ALERTING_URL: 'http://127.0.0.1:9',
};

describe('a build, alone in an empty folder', () => {
  it.each(SERVICES)('%s starts, is alive, is not ready without its engines, and stops in order', async (app) => {
    const folder = lonely(app);
    const port = await freePort();
    const service = spawn('node', ['main.js'], {
      cwd: folder,
      env: { PATH: process.env['PATH'], ...nowhere, MUSTER_HTTP_PORT: String(port) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const log: string[] = [];
    service.stdout.on('data', (chunk: Buffer) => log.push(chunk.toString()));
    const ended = new Promise<number | null>((resolve) => service.on('exit', resolve));
    const get = (route: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${route}`);
    await vi.waitFor(async () => expect((await get('/healthz')).status).toBe(200), { timeout: 10_000 });
    const readiness = await get('/readyz');
    expect([readiness.status, await readiness.json()]).toEqual([503, expect.objectContaining({ status: 'not ready' })]);
    expect(await (await get('/metrics')).text()).toContain('process_cpu_user_seconds_total');
    if (app === 'registry') {
      expect((await get('/')).headers.get('content-type')).toContain('text/html');
      expect((await get('/docs')).status).toBe(200);
    }
    service.kill('SIGTERM');
    expect(await ended).toBe(0);
    for (const line of log.join('').trim().split('\n'))
      expect(JSON.parse(line)).toMatchObject({ service: app, level: expect.any(String), msg: expect.any(String) });
    expect(log.join('')).not.toContain(':p@');
  });

  it.each(SERVICES)('%s is of ASCII alone: V8 keeps a source with any other character in twice the memory', (app) => {
    const others = /[^\0-\x7f]/.exec(readFileSync(path.join(APPS, app, 'dist/main.js'), 'utf8'));
    expect(others).toBeNull();
  });

  it.each(SERVICES)('%s without configuration says in one line which variables are missing', async (app) => {
    const { code, stdout } = await execute('env', [
      '-i',
      `PATH=${process.env['PATH']}`,
      'node',
      path.join(lonely(app), 'main.js'),
    ]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      level: 'fatal',
      code: 'configuration',
      msg: expect.stringContaining('MUSTER_POSTGRES_URL'),
    });
  });

  it('the command line runs, and has what it needs to migrate beside it', async () => {
    const folder = lonely('cli');
    expect((await execute('node', [path.join(folder, 'main.js'), '--help'])).stdout).toContain('Usage: muster');
    expect(existsSync(path.join(folder, 'schema_engine_bg.wasm')) && existsSync(path.join(folder, 'migrations'))).toBe(
      true,
    );
    const { code, stderr } = await execute('env', [
      `MUSTER_POSTGRES_URL=${nowhere.MUSTER_POSTGRES_URL}`,
      'node',
      path.join(folder, 'main.js'),
      'migrate',
    ]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('the database could not be migrated')]);
    const watching = await execute('node', [
      path.join(folder, 'main.js'),
      ...['watch', '--broker', 'mqtt://127.0.0.1:9', '--for', '1s'],
    ]);
    expect([watching.code, watching.stderr]).toEqual([1, expect.stringContaining('mqtt://127.0.0.1:9 is away')]);
    const simulated = await execute('node', [
      path.join(folder, 'main.js'),
      ...['simulate', '--broker', 'mqtt://127.0.0.1:9', '--devices', '1', '--for', '1s'],
    ]);
    expect([simulated.code, simulated.stdout]).toEqual([1, expect.stringContaining('bytes of core each')]);
  });
});
