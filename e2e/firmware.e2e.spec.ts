import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { DecommissionReport } from '@muster/contract';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess } from '@muster/engines';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  curl,
  deviceOf,
  execute,
  missingProgram,
  muster,
  StartedSystem,
  stateFolder,
  type Finished,
} from './system.ts';

const FIRMWARE = path.join(import.meta.dirname, '../firmware');
const NATIVE = path.join(FIRMWARE, 'native');
const BUILT = path.join(NATIVE, 'dist/sanitize');
const LIMIT_MS = 180_000;

/** Why the firmware cannot be built for this machine; undefined where it can. In CI it fails instead of being skipped. */
function missingForHost(): string | undefined {
  const program = missingProgram('cmake', 'make', 'g++');
  if (program !== undefined || process.env['CI'] === 'true') return program;
  const headers = ['gtest/gtest.h', 'nlohmann/json.hpp', 'mosquitto.h'].filter(
    (file) => !existsSync(path.join('/usr/include', file)) && !existsSync(path.join('/usr/local/include', file)),
  );
  return headers.length === 0 ? undefined : `${headers.join(', ')} is not installed`;
}

/** A test's name, with the reason where it is skipped. */
function titled(name: string, reason: string | undefined): string {
  return reason === undefined ? name : `${name} (skipped: ${reason})`;
}

function said({ stdout, stderr }: Finished): string {
  return `${stdout}\n${stderr}`;
}

const hostReason = missingForHost();
const boardReason = missingProgram('riscv64-unknown-elf-g++');
const typesReason = boardReason === undefined ? undefined : missingProgram('g++');
const wasmReason = missingProgram('clang++', 'wasm-ld');

describe('the firmware', { timeout: LIMIT_MS }, () => {
  it.skipIf(boardReason !== undefined)(
    titled('fits into an ESP32-C3 with every node: 24 KiB of text, 4 KiB of RAM', boardReason),
    async () => {
      const finished = await execute(path.join(FIRMWARE, 'check-size.sh'), [], LIMIT_MS);
      expect(finished.code, said(finished)).toBe(0);
      expect(finished.stdout).toMatch(/^dht22 +\d+ +\d+$/m);
    },
  );

  it.skipIf(typesReason !== undefined)(
    titled('fits the declared API of ESP-IDF in its code for boards, on both chips and under both MQTTs', typesReason),
    async () => {
      const finished = await execute(path.join(FIRMWARE, 'esp32/check.sh'), [], LIMIT_MS);
      expect(finished.code, said(finished)).toBe(0);
      expect(finished.stdout.match(/^ESP32.*: 4 files$/gm), said(finished)).toHaveLength(3);
    },
  );

  it.skipIf(wasmReason !== undefined)(
    titled('is committed as the WebAssembly that its sources give, byte for byte', wasmReason),
    async (context) => {
      const finished = await execute(path.join(FIRMWARE, 'wasm/build.sh'), ['--check'], LIMIT_MS);
      // Another compiler gives other bytes: then the traces that both builds have to give are what is compared.
      if (finished.code === 3 && process.env['CI'] !== 'true') context.skip(finished.stderr.trim());
      expect(finished.code, said(finished)).toBe(0);
    },
  );
});

describe.skipIf(hostReason !== undefined)(titled('the firmware on this machine', hostReason), () => {
  beforeAll(async () => {
    const configured = await execute('cmake', ['-S', NATIVE, '--preset', 'sanitize'], LIMIT_MS);
    expect(configured.code, said(configured)).toBe(0);
    const built = await execute('cmake', ['--build', BUILT, '--parallel', '2'], LIMIT_MS);
    expect(built.code, said(built)).toBe(0);
  }, LIMIT_MS);

  it(
    'passes its own tests under the sanitizers of addresses and of undefined behaviour',
    { timeout: LIMIT_MS },
    async () => {
      const finished = await execute(path.join(BUILT, 'muster-tests'), ['--gtest_brief=1'], LIMIT_MS);
      expect(finished.code, said(finished)).toBe(0);
      expect(finished.stdout).toMatch(/\[ {2}PASSED {2}\] \d{2,} tests/);
    },
  );

  describe('against a real Mosquitto', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'muster-firmware-'));
    const account = { username: 'hall-motion', password: 'firmware-tests-only' };
    const passwordFile = path.join(folder, 'password');
    let broker: ManagedProcess;
    let port = 0;

    beforeAll(async () => {
      port = await freePort();
      writeFileSync(passwordFile, account.password, { mode: 0o600 });
      broker = await startMosquitto(
        {
          folder: path.join(folder, 'mosquitto'),
          logFile: path.join(folder, 'mosquitto.log'),
          port,
          account,
          name: 'firmware',
        },
        await mosquittoSource('auto', () => undefined),
      );
    });
    afterAll(async () => {
      await broker.stop(10_000);
      rmSync(folder, { recursive: true, force: true });
    });

    const node = (kind: string): ChildProcess =>
      spawn(path.join(BUILT, 'muster-node'), [
        ...['--id', 'hall-motion', '--node', kind, '--broker', `127.0.0.1:${port}`],
        ...['--username', account.username, '--password-file', passwordFile, '--state', path.join(folder, 'flash')],
      ]);

    /** So many messages under a filter, as mosquitto_sub prints them. */
    const heard = async (filter: string, count: number): Promise<readonly string[]> => {
      const { stdout } = await execute('mosquitto_sub', [
        ...['-h', '127.0.0.1', '-p', String(port), '-u', account.username, '-P', account.password, '-V', '5'],
        ...['-t', filter, '-C', String(count), '-W', '15', '-F', '%r %t %p'],
      ]);
      return stdout.split('\n').filter((line) => line !== '');
    };

    it('is born, says goodbye when it is ended, and leaves its will when it is killed, each in a session of its own', async () => {
      const statuses = heard('devices/hall-motion/status', 4);
      const first = node('motion_light');
      const [motion] = await heard('home/hall/motion', 1);
      expect(motion).toContain('false');
      const ended = new Promise((resolve) => first.on('close', resolve));
      first.kill('SIGTERM');
      expect(await ended).toBe(0);
      const second = node('dht22');
      const [reading] = await heard('devices/hall-motion/telemetry', 1);
      expect(reading).toMatch(/"temp":[\d.]+,"hum":[\d.]+,"ts":\d{13},"session":2,"seq":1\}$/);
      second.kill('SIGKILL');
      const bodies = (await statuses).map((line) => JSON.parse(line.slice(line.indexOf('{'))) as unknown);
      expect(bodies).toEqual([
        { status: 'online', session: 1, timestamp: expect.any(Number) },
        { status: 'offline', session: 1, reason: 'shutdown' },
        { status: 'online', session: 2, timestamp: expect.any(Number), prev: { session: 1, seq: 0, dropped: 0 } },
        { status: 'offline', session: 2, reason: 'unexpected' },
      ]);
      expect(await heard('devices/hall-motion/status', 1)).toEqual([
        '1 devices/hall-motion/status {"status":"offline","session":2,"reason":"unexpected"}',
      ]);
    });

    it('refuses a command line that it cannot follow, saying how to mend it', async () => {
      const finished = await execute(path.join(BUILT, 'muster-node'), ['--id', '../x', '--broker', 'localhost:1']);
      expect(finished.code).toBe(2);
      expect(finished.stderr).toContain('--id: expected 1 to 64 of the characters A-Z a-z 0-9 _ -');
    });
  });

  describe('in a started system, over TLS with an account of its own', () => {
    const folder = stateFolder();
    const passwordFile = path.join(folder, 'password');
    let system: StartedSystem;
    const nodes: ChildProcess[] = [];

    beforeAll(async () => {
      system = await StartedSystem.start(['--tls', '--devices', '0', '--dir', path.join(folder, 'state')], []);
      const { stdout } = await muster(system.address, 'device', 'credentials', 'attic', '--json');
      writeFileSync(passwordFile, (JSON.parse(stdout) as { password: string }).password, { mode: 0o600 });
    });
    afterAll(async () => {
      for (const node of nodes) node.kill('SIGKILL');
      await system.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    /** What the last node has printed. */
    let said = '';
    const node = (): void => {
      const { broker } = system.address;
      const { host } = new URL(broker.urls[0] ?? '');
      said = '';
      const child = spawn(path.join(BUILT, 'muster-node'), [
        ...['--id', 'attic', '--broker', host, '--ca', broker.ca ?? '', '--state', path.join(folder, 'flash')],
        ...['--username', 'attic', '--password-file', passwordFile, '--settings', '{"sample":2,"heartbeat":5}'],
      ]);
      nodes.push(child);
      for (const output of [child.stdout, child.stderr]) output.on('data', (chunk: Buffer) => (said += String(chunk)));
    };
    const attic = (): ReturnType<typeof deviceOf> => deviceOf(system.address, 'attic');

    it('is a device of GET /devices: presence, readings, what it is, the configuration it goes by', async () => {
      node();
      await vi.waitFor(
        async () => {
          const { body } = await curl(system.address, '/api/v1/devices');
          expect(body).toMatchObject({
            items: [
              {
                ...{ id: 'attic', state: 'registered', presence: { state: 'online', reason: 'birth', session: 1 } },
                readings: { temp: { unit: '°C' }, hum: { unit: '%' }, vbat: { value: 3.91 } },
                info: { model: 'ESP32 DHT22', reset_reason: 'power', addresses: ['127.0.0.1'], config: { version: 0 } },
              },
            ],
          });
        },
        { timeout: 20_000, interval: 250 },
      );
    });

    const configure = async (version: number, heartbeat: number): Promise<void> => {
      const payload = JSON.stringify({ version, settings: { heartbeat } });
      const rule = { id: 'attic-settings', triggers: [{ presence: 'online', device: 'attic' }] };
      const yaml = JSON.stringify({ rules: [{ ...rule, actions: [{ publish: 'devices/attic/config', payload }] }] });
      const file = path.join(folder, 'rules.yaml');
      writeFileSync(file, yaml);
      const { code, stderr } = await muster(system.address, 'rule', 'apply', '-f', file);
      expect(code, stderr).toBe(0);
    };

    it('is lost when it is killed, and comes back in its next session, to the settings that a rule has for it', async () => {
      await configure(4, 600);
      nodes.at(-1)?.kill('SIGKILL');
      await vi.waitFor(async () => expect((await attic()).presence).toMatchObject({ state: 'lost', reason: 'will' }), {
        timeout: 10_000,
      });
      node();
      await vi.waitFor(
        async () =>
          expect(await attic()).toMatchObject({
            presence: { state: 'online', session: 2 },
            info: { config: { version: 4 } },
          }),
        { timeout: 20_000 },
      );
    });

    it('says what was wrong with settings that it could not take, and goes by those before', async () => {
      await configure(5, 1);
      nodes.at(-1)?.kill('SIGTERM');
      await vi.waitFor(async () => expect((await attic()).presence).toMatchObject({ reason: 'shutdown' }), {
        timeout: 10_000,
      });
      node();
      await vi.waitFor(
        async () =>
          expect((await attic()).info?.config).toEqual({ version: 4, error: 'heartbeat is out of its limits' }),
        { timeout: 20_000 },
      );
      const { stdout } = await muster(system.address, 'device', 'show', 'attic');
      expect(stdout).toContain('refused its last configuration: heartbeat is out of its limits');
    });

    it('is not let in again once it is decommissioned', async () => {
      const { code, stdout, stderr } = await muster(system.address, 'decommission', 'attic', '--json');
      expect(code, stderr).toBe(0);
      const report = JSON.parse(stdout) as DecommissionReport;
      // The second verification may have come before the answer was read.
      expect([report.device, ['verified', 'done'].includes(report.state)]).toEqual(['attic', true]);
      await vi.waitFor(() => expect(said).toMatch(/the broker answers .*(Not authorized|Bad user)/i), {
        timeout: 30_000,
      });
      expect((await attic()).state).toBe('decommissioned');
    });
  });
});
