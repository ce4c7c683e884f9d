import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning, ManagedProcess } from '@muster/engines';
import { connectAsync } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { curl, psql, publish, StartedSystem, stateFolder, whenUptimeIsKnown } from './system.ts';

const started: StartedSystem[] = [];

async function start(...args: readonly string[]): Promise<StartedSystem> {
  const system = new StartedSystem(args);
  started.push(system);
  await system.whenReady();
  return system;
}

/** Processes that have a state folder in their command line, apart from starters. */
function leftIn(dir: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isRunning({ pid: Number(name), startTime: '' }))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        // It has ended between the two looks.
        return '';
      }
    })
    .filter((command) => command.includes(dir));
}

/** A start that is expected to fail. */
async function failingStart(
  ...args: readonly string[]
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const system = new StartedSystem(args);
  started.push(system);
  return system.ended;
}

function running(pids: Readonly<Record<string, number>>): readonly string[] {
  return Object.entries(pids)
    .filter(([, pid]) => isRunning({ pid, startTime: '' }))
    .map(([name]) => name);
}

afterEach(async () => {
  for (const system of started.splice(0)) {
    system.signal('SIGINT');
    await system.ended;
  }
});

describe('npm start', () => {
  it('names every child, prints nothing but JSON on standard output, and ends with 0 after --for, leaving nothing', async () => {
    const dir = stateFolder();
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    const system = await start('--devices', '2', '--for', '3s', '--dir', dir);
    const { address } = system;
    expect(Object.keys(address.pids).sort()).toEqual([
      'agent',
      'alerting',
      'automation',
      'influxdb',
      'ingestion',
      'mosquitto-0',
      'postgres',
      'presence',
      'registry',
    ]);
    expect(running(address.pids)).toHaveLength(9);
    await vi.waitFor(
      async () =>
        expect((await curl(address, '/api/v1/presence/summary')).body).toMatchObject({ presence: { online: 2 } }),
      { timeout: 8_000 },
    );
    const { code } = await system.ended;
    expect(code).toBe(0);
    expect(system.lines).toHaveLength(1);
    expect(running(address.pids)).toEqual([]);
    expect(existsSync(path.join(dir, 'lock'))).toBe(false);
  });

  it('keeps its state for the next start: devices, presence, passwords', async () => {
    const dir = stateFolder();
    const first = await start('--devices', '0', '--dir', dir);
    await publish(first.address, '-t', 'devices/keeper/status', '-m', 'online', '-r', '-q', '1');
    await publish(first.address, '-t', 'devices/keeper/telemetry', '-m', '{"temp":19}', '-q', '1');
    await vi.waitFor(
      async () => expect((await curl(first.address, '/api/v1/devices/keeper')).body).toHaveProperty('readings.temp'),
      { timeout: 8_000 },
    );
    await whenUptimeIsKnown(first.address);
    expect((await first.stop()).code).toBe(0);
    const second = await start('--devices', '0', '--dir', dir);
    expect(second.address.broker.password).toBe(first.address.broker.password);
    // Its broker was started anew, and the device has not connected to it yet.
    await vi.waitFor(
      async () =>
        expect((await curl(second.address, '/api/v1/devices/keeper')).body).toMatchObject({
          ...{ presence: { state: 'unknown', reason: 'broker-restarted' }, readings: { temp: { value: 19 } } },
        }),
      { timeout: 8_000 },
    );
    expect(await psql(second.address, `SELECT count(*) FROM presence_transition WHERE device = 'keeper'`)).toBe('2');
  });

  it('does not know of the devices of a broker that is not configured any more', async () => {
    const dir = stateFolder();
    const first = await start('--devices', '0', '--brokers', '2', '--dir', dir);
    const { username, password, serviceUrls } = first.address.broker;
    const device = await connectAsync(serviceUrls[1] ?? '', { username, password, clientId: 'mover' });
    await device.publishAsync('devices/mover/status', 'online', { qos: 1, retain: true });
    await vi.waitFor(
      async () => expect(await psql(first.address, `SELECT state FROM presence WHERE device = 'mover'`)).toBe('online'),
      { timeout: 8_000 },
    );
    await device.endAsync();
    expect((await first.stop()).code).toBe(0);
    const second = await start('--devices', '0', '--brokers', '1', '--dir', dir);
    await vi.waitFor(
      async () =>
        expect((await curl(second.address, '/api/v1/devices/mover')).body).toMatchObject({
          presence: { state: 'unknown', reason: 'broker-lost' },
        }),
      { timeout: 8_000 },
    );
  });

  it('virtual devices say goodbye at Ctrl-C, and one Ctrl-C that npm delivers twice is one', async () => {
    const dir = stateFolder();
    const system = await start('--devices', '2', '--dir', dir);
    await vi.waitFor(
      async () =>
        expect((await curl(system.address, '/api/v1/presence/summary')).body).toMatchObject({
          presence: { online: 2 },
        }),
      { timeout: 8_000 },
    );
    system.signal('SIGINT');
    await delay(50);
    system.signal('SIGINT');
    expect((await system.ended).code).toBe(0);
    expect(running(system.address.pids)).toEqual([]);
    const next = await start('--devices', '0', '--dir', dir);
    expect((await curl(next.address, '/api/v1/devices')).body).toMatchObject({
      items: [
        { presence: { state: 'offline', reason: 'shutdown' } },
        { presence: { state: 'offline', reason: 'shutdown' } },
      ],
    });
  });

  it('leaves nothing behind when it is killed with -9, and the next start goes on', async () => {
    const dir = stateFolder();
    const system = await start('--devices', '0', '--dir', dir);
    const { pids } = system.address;
    // `npm start` runs a shell that becomes Node: the pid in the lock is the one to kill.
    const holder = JSON.parse(readFileSync(path.join(dir, 'lock'), 'utf8')) as { pid: number };
    process.kill(holder.pid, 'SIGKILL');
    await system.ended;
    await vi.waitFor(() => expect(running(pids)).toEqual([]), { timeout: 15_000 });
    const next = await start('--devices', '0', '--dir', dir);
    expect((await curl(next.address, '/readyz')).status).toBe(200);
  });

  it('ends what an earlier start left running', async () => {
    const dir = stateFolder();
    const orphan = await ManagedProcess.start({
      name: 'orphan',
      command: 'sleep',
      args: ['600'],
      logFile: path.join(dir, 'orphan.log'),
    });
    writeFileSync(
      path.join(dir, 'processes.json'),
      JSON.stringify([orphan.identity, { ...orphan.identity, pid: process.pid, startTime: '1' }]),
    );
    const system = await start('--devices', '0', '--dir', dir);
    expect(system.stderr).toContain('ended what an earlier start left running: orphan');
    expect(orphan.end).toBeDefined();
  });

  it('refuses a second start in the same folder and says which pid holds it', async () => {
    const dir = stateFolder();
    const system = await start('--devices', '0', '--dir', dir);
    const { code, stdout, stderr } = await failingStart('--dir', dir);
    expect([code, stdout]).toEqual([1, '']);
    const holder = JSON.parse(readFileSync(path.join(dir, 'lock'), 'utf8')) as { pid: number };
    expect(stderr).toContain(`is in use by pid ${holder.pid}`);
    expect((await curl(system.address, '/readyz')).status).toBe(200);
  });

  it('names the holder of a port that is taken, and leaves nothing running', async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => {
        const address = server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    const dir = stateFolder();
    const { code, stderr } = await failingStart('--dir', dir, '--port', `api=${port}`);
    server.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`port ${port} for api is taken by pid ${process.pid} .*--port api=NUMBER`));
    expect(JSON.parse(readFileSync(path.join(dir, 'processes.json'), 'utf8'))).toEqual([]);
  });

  it('says in one line that a database is broken and how to mend it, and leaves nothing running', async () => {
    const dir = stateFolder();
    mkdirSync(path.join(dir, 'postgres/data'), { recursive: true });
    writeFileSync(path.join(dir, 'postgres/data/PG_VERSION'), '9\n');
    const { code, stdout, stderr } = await failingStart('--dir', dir);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr.trim().split('\n').at(-1)).toMatch(
      /^muster: PostgreSQL ended at once .*if .*postgres\/data is damaged or of another version, restore it or move it away/,
    );
    expect(JSON.parse(readFileSync(path.join(dir, 'processes.json'), 'utf8'))).toEqual([]);
  });

  it.each([
    ['secrets.json', '{bad', /secrets\.json is damaged.*restore it, or move the whole folder away/],
    ['secrets.json', '{}', /secrets\.json is damaged/],
    ['processes.json', 'null', /processes\.json is damaged.*remove the file/],
  ])('names %s when it is damaged (%s)', async (file, content, message) => {
    const dir = stateFolder();
    writeFileSync(path.join(dir, file), content);
    const { code, stdout, stderr } = await failingStart('--dir', dir);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr.trim().split('\n').at(-1)).toMatch(message);
    expect(existsSync(path.join(dir, 'lock'))).toBe(false);
  });

  it('says so when the state folder is a file', async () => {
    const { code, stderr } = await failingStart('--dir', '/etc/hostname');
    expect(code).toBe(1);
    expect(stderr).toMatch(/\/etc\/hostname cannot be used as the state folder/);
  });

  it('is interrupted at any moment of its start, leaves nothing, and can be started again', async () => {
    const dir = stateFolder();
    for (const afterMs of [300, 700, 1_100, 1_800]) {
      const system = new StartedSystem(['--devices', '0', '--dir', dir]);
      started.push(system);
      await delay(afterMs);
      system.signal('SIGINT');
      await system.ended;
      expect(existsSync(path.join(dir, 'lock'))).toBe(false);
      expect(leftIn(dir)).toEqual([]);
    }
    const system = await start('--devices', '0', '--dir', dir);
    expect((await curl(system.address, '/readyz')).status).toBe(200);
  });

  it('stops in order when nobody reads its output any more', async () => {
    const dir = stateFolder();
    const system = await start('--devices', '0', '--dir', dir);
    const { pids } = system.address;
    system.closeOutput();
    process.kill(pids['presence'] ?? 0, 'SIGKILL');
    await system.ended;
    expect(running(pids)).toEqual([]);
    expect(existsSync(path.join(dir, 'lock'))).toBe(false);
  });

  it.each([
    [['--devices', 'many'], /--devices.*whole number/],
    [['--for', 'ever'], /expected a duration such as 60s/],
    [['--port', 'http=80'], /expected --port NAME=NUMBER/],
    [['--colour'], /unknown option '--colour'/],
    [['--for', '600h'], /at most 24 days/],
    [['--port', 'api=45001', '--port', 'broker=45001'], /gives 45001 to two names/],
  ])('refuses %j with exit code 2', async (args, message) => {
    const { code, stdout, stderr } = await failingStart(...args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });
});
