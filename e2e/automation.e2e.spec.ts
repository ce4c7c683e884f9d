import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { encodeBirth } from '@muster/contract';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, execute, muster, psql, StartedSystem, stateFolder, type ReadyLine } from './system.ts';

const EXAMPLE = readFileSync(path.join(import.meta.dirname, '../docs/examples/motion-light.yaml'), 'utf8');
const files = mkdtempSync(path.join(tmpdir(), 'muster-rules-'));

let system: StartedSystem;
let address: ReadyLine;
let brokers: readonly MqttClient[] = [];

interface Heard {
  readonly broker: number;
  readonly topic: string;
  readonly payload: string;
  readonly atMs: number;
  readonly relayedFrom: unknown;
}

const heard: Heard[] = [];

function options(): IClientOptions {
  const { username, password } = address.broker;
  return { protocolVersion: 5, username, password, reconnectPeriod: 200 };
}

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '0', '--brokers', '2', '--dir', stateFolder()]);
  ({ address } = system);
  brokers = await Promise.all(address.broker.urls.map((url) => connectAsync(url, options())));
  for (const [broker, client] of brokers.entries()) {
    client.on('message', (topic, payload, { properties }) =>
      heard.push({
        ...{ broker, topic, payload: payload.toString(), atMs: Date.now() },
        relayedFrom: properties?.userProperties?.['muster-relay'],
      }),
    );
    await client.subscribeAsync('home/#', { qos: 1, rh: 2 });
  }
});
afterAll(async () => {
  for (const client of brokers) await client.endAsync(true);
  await system.stop();
});

afterEach(async () => {
  for (const { id } of await rules()) await muster(address, 'rule', 'rm', id);
  heard.length = 0;
});

interface RuleRow {
  readonly id: string;
  readonly state: string;
  readonly stopped: string | null;
}

async function rules(): Promise<readonly RuleRow[]> {
  return ((await curl(address, '/api/v1/rules')).body as { items: readonly RuleRow[] }).items;
}

async function apply(text: string): Promise<void> {
  const file = path.join(files, 'rules.yaml');
  writeFileSync(file, text);
  const { code, stderr } = await muster(address, 'rule', 'apply', '-f', file);
  expect(code, stderr).toBe(0);
}

async function say(broker: number, topic: string, payload: string, retain = true): Promise<void> {
  await brokers[broker]?.publishAsync(topic, payload, { qos: 1, retain });
}

/** The device that a topic is named after has its session at a broker. */
async function settle(device: string, broker: number): Promise<void> {
  await say(broker, `devices/${device}/status`, encodeBirth(1, Date.now()));
  const at = `SELECT evidence ->> 'broker' FROM presence WHERE device = '${device}'`;
  await vi.waitFor(async () => expect(await psql(address, at)).toBe(`mosquitto-${broker}`), { timeout: 5_000 });
  // Automation reads of it within the time of a notification.
  await delay(300);
}

function commands(room: string): readonly string[] {
  return heard
    .filter(({ topic }) => topic === `home/${room}/light/command`)
    .map(({ broker, payload, relayedFrom }) => `${broker}:${payload}${relayedFrom === undefined ? '' : ' relayed'}`);
}

async function until(condition: () => void, timeoutMs = 10_000): Promise<void> {
  await vi.waitFor(condition, { timeout: timeoutMs, interval: 25 });
}

function killAutomation(): void {
  process.kill(system.pidOf('automation'), 'SIGKILL');
}

/** Kills automation, and waits until it runs and answers again. */
async function restartAutomation(): Promise<void> {
  const before = system.pidOf('automation');
  killAutomation();
  await until(() => expect(system.pidOf('automation')).not.toBe(before), 20_000);
  await vi.waitFor(async () => expect((await curl(address, '/api/v1/rules')).status).toBe(200), { timeout: 20_000 });
}

const light = (still: string): string => EXAMPLE.replace('for: 30s', `for: ${still}`);

describe('one rule for the lights of all rooms, over two brokers', () => {
  it('turns the light on at motion and off 30 s after the last motion, once, though it is killed in the middle', async () => {
    await apply(EXAMPLE);
    await settle('kitchen-light', 1);
    await say(0, 'home/kitchen/motion', 'true');
    await until(() => expect(commands('kitchen')).toEqual(['1:ON']));
    await delay(1_000);
    await say(0, 'home/kitchen/motion', 'false');
    const lastMotionAtMs = Date.now();
    await delay(12_000);
    await restartAutomation();
    await until(() => expect(commands('kitchen')).toEqual(['1:ON', '1:OFF']), 40_000);
    const offAtMs = heard.find(({ payload }) => payload === 'OFF')?.atMs ?? 0;
    expect(offAtMs - lastMotionAtMs).toBeGreaterThan(29_900);
    expect(offAtMs - lastMotionAtMs).toBeLessThan(33_000);
    await delay(5_000);
    expect(commands('kitchen')).toEqual(['1:ON', '1:OFF']);
  }, 90_000);

  it('keeps rooms apart, and starts the time anew at each motion', async () => {
    await apply(light('2s'));
    await settle('hall-light', 0);
    await settle('attic-light', 1);
    await say(0, 'home/hall/motion', 'true');
    await say(1, 'home/attic/motion', 'true');
    await say(0, 'home/hall/motion', 'false');
    await say(1, 'home/attic/motion', 'false');
    await delay(1_200);
    await say(1, 'home/attic/motion', 'true');
    await say(1, 'home/attic/motion', 'false');
    await until(() => expect(commands('hall')).toEqual(['0:ON', '0:OFF']), 3_000);
    expect(commands('attic')).toEqual(['1:ON', '1:ON']);
    await until(() => expect(commands('attic')).toEqual(['1:ON', '1:ON', '1:OFF']), 3_000);
  });

  it('dims in the evening, and a lamp takes 0 to 100', async () => {
    await apply(light('1s'));
    await settle('hall-light', 0);
    expect((await muster(address, 'mode', 'set', 'evening')).stdout.trim()).toBe('evening');
    await say(0, 'home/hall/motion', 'true');
    await until(() => expect(commands('hall')).toEqual(['0:40']));
    expect((await muster(address, 'mode', 'set', 'day')).code).toBe(0);
  });

  it('leaves the last word to a manual command for as long as the rule says', async () => {
    await apply(light('1s').replace('for: 10m', 'for: 4s'));
    await settle('den-light', 0);
    await say(0, 'home/den/motion', 'true');
    await until(() => expect(commands('den')).toEqual(['0:ON']));
    await say(1, 'home/den/light/command', 'OFF', false);
    const manualAtMs = Date.now();
    await say(0, 'home/den/motion', 'false');
    await say(0, 'home/den/motion', 'true');
    await say(0, 'home/den/motion', 'false');
    // Still for a second by now, and off by hand: the rule says nothing before the override ends, then OFF.
    const at = (broker: string): readonly string[] => commands('den').filter((text) => text.startsWith(broker));
    await until(() => expect([at('0'), at('1')]).toEqual([['0:ON', '0:OFF relayed', '0:OFF'], ['1:OFF']]), 8_000);
    expect((heard.at(-1)?.atMs ?? 0) - manualAtMs).toBeGreaterThan(3_900);
    const runs = (await curl(address, '/api/v1/automation-runs?rule=motion-light')).body;
    expect(JSON.stringify(runs)).toContain('"outcome":"overridden"');
  });

  it('changes modes by schedule', async () => {
    await apply(
      `rules: [{ id: dusk, triggers: [{ schedule: '* * * * * *' }], when: mode == "day", actions: [{ mode: evening }] }]`,
    );
    await vi.waitFor(
      async () =>
        expect((await curl(address, '/api/v1/mode')).body).toMatchObject({ mode: 'evening', setBy: 'rule dusk' }),
      { timeout: 5_000 },
    );
    await muster(address, 'rule', 'rm', 'dusk');
    await muster(address, 'mode', 'set', 'day');
  });

  it('neither loses nor repeats an OFF of 200 rooms, whenever it is killed', async () => {
    await apply(light('6s'));
    const rooms = Array.from({ length: 200 }, (_, index) => `room${index}`);
    for (const [index, room] of rooms.entries()) await say(index % 2, `home/${room}/motion`, 'true');
    await until(() => expect(heard.filter(({ payload }) => payload === 'ON').length).toBeGreaterThanOrEqual(400));
    for (const [index, room] of rooms.entries()) {
      await say(index % 2, `home/${room}/motion`, 'false');
      // So that rooms become due one after the other, and kills come in the middle of it.
      await delay(15);
    }
    for (let kills = 0; kills < 3; kills += 1) {
      await delay(2_000 + kills * 300);
      await restartAutomation();
    }
    // No lamp has a session anywhere, so both brokers are told.
    const offs = (room: string): readonly string[] => commands(room).filter((text) => text.includes('OFF'));
    await until(() => expect(rooms.filter((room) => offs(room).length < 2)).toEqual([]), 30_000);
    await delay(3_000);
    expect(rooms.filter((room) => offs(room).length !== 2)).toEqual([]);
    expect(await psql(address, "SELECT count(*) FROM rule_timer WHERE state IN ('armed', 'claimed')")).toBe('0');
  }, 120_000);
});

describe('what is not news', () => {
  it('fires nothing: retained, and known from before', async () => {
    await say(0, 'home/cellar/motion', 'true');
    await delay(300);
    await apply(light('1s'));
    await restartAutomation();
    await delay(2_500);
    expect(commands('cellar')).toEqual([]);
    // But what has ended since is known: the light goes off.
    await say(0, 'home/cellar/motion', 'false');
    await until(() => expect(commands('cellar').filter((text) => text.includes('OFF'))).not.toEqual([]));
    expect(commands('cellar').filter((text) => text.includes('ON'))).toEqual([]);
  });

  it('fires nothing: telemetry that is late', async () => {
    await apply(
      `rules: [{ id: hot, triggers: [{ metric: temp, device: 'oven*', above: 30 }], actions: [{ publish: 'home/{device}/hot', payload: 1 }] }]`,
    );
    await delay(500);
    const telemetry = (ts: number): string => JSON.stringify({ temp: 99, ts });
    await say(0, 'devices/oven1/telemetry', telemetry(Date.now() - 60_000), false);
    await say(0, 'devices/oven2/telemetry', telemetry(Date.now()), false);
    await until(() => expect(heard.map(({ topic }) => topic)).toContain('home/oven2/hot'));
    await delay(500);
    expect(heard.map(({ topic }) => topic)).not.toContain('home/oven1/hot');
  });

  it('is carried to the other brokers once: a room command that a device sends', async () => {
    await say(0, 'home/porch/light/command', '55', false);
    // The brokers have connections of their own: which is heard first is chance.
    const inAll = (): readonly string[] => [...commands('porch')].sort();
    await until(() => expect(inAll()).toEqual(['0:55', '1:55 relayed']));
    await delay(1_000);
    expect(inAll()).toEqual(['0:55', '1:55 relayed']);
  });
});

describe('rules', () => {
  it('react to presence', async () => {
    await apply(
      `rules: [{ id: gone, triggers: [{ presence: lost, device: 'pump*' }], actions: [{ notify: '{device} is lost', severity: critical }] }]`,
    );
    await settle('pump1', 0);
    await say(0, 'devices/pump1/status', 'offline');
    await vi.waitFor(
      async () =>
        expect(await psql(address, "SELECT severity, text FROM notice WHERE rule = 'gone'")).toBe(
          'critical|pump1 is lost',
        ),
      { timeout: 5_000 },
    );
  });

  it('that trigger themselves are stopped, which is reported, and run again when they are enabled', async () => {
    await apply(`rules:
  - { id: echo, triggers: [{ topic: 'home/{room}/echo' }], actions: [{ publish: 'home/{room}/echo', payload: again }] }`);
    await say(0, 'home/hall/echo', 'once', false);
    await vi.waitFor(
      async () =>
        expect((await rules())[0]).toMatchObject({ state: 'stopped', stopped: 'it triggered itself: echo → echo' }),
      {
        timeout: 5_000,
      },
    );
    expect((await muster(address, 'rule', 'ls')).stdout).toContain('stopped: it triggered itself: echo → echo');
    expect(await psql(address, "SELECT text FROM notice WHERE rule = 'echo'")).toContain('was stopped');
    expect((await muster(address, 'rule', 'enable', 'echo')).stdout).toContain('echo is enabled');
  });

  it('are checked before they are saved, and every fault has its place', async () => {
    const file = path.join(files, 'bad.yaml');
    writeFileSync(file, light('30'));
    const { code, stderr } = await muster(address, 'rule', 'apply', '-f', file);
    expect(code).toBe(1);
    expect(stderr).toContain(`${file}:12:14 rules.0.triggers.1.for: expected string`);
    expect(await rules()).toEqual([]);
    expect((await muster(address, 'rule', 'apply', '-f', path.join(files, 'none.yaml'))).code).toBe(2);
  });

  it('have versions; what has not changed is no new one', async () => {
    await apply(light('5s'));
    await apply(light('5s'));
    await apply(light('7s'));
    const shown = JSON.parse((await muster(address, 'rule', 'show', 'motion-light', '--json')).stdout) as {
      version: number;
    };
    expect(shown.version).toBeGreaterThan(1);
    const before = await muster(address, 'rule', 'show', 'motion-light', '--at-version', String(shown.version - 1));
    expect(before.stdout).toContain('for: 5s');
    expect((await muster(address, 'rule', 'show', 'motion-light')).stdout).toContain('for: 7s');
  });

  it('are for operators: a viewer looks, nobody comes in past the registry', async () => {
    const created = await muster(address, 'token', 'create', 'looker', '--scope', 'viewer');
    const header = ['-H', `authorization: Bearer ${created.stdout.trim()}`];
    const viewer = async (...args: readonly string[]): Promise<number> =>
      Number(
        (
          await execute('curl', [
            '-s',
            '-o',
            '/dev/null',
            '-w',
            '%{http_code}',
            ...header,
            ...args,
            `${address.api.url}/api/v1/rules`,
          ])
        ).stdout,
      );
    expect(await viewer()).toBe(200);
    expect(await viewer('-X', 'POST', '-H', 'content-type: application/json', '-d', '{"yaml":"x"}')).toBe(403);
    const { stdout } = await execute('ss', ['-Hltnp']);
    const port = /127\.0\.0\.1:(\d+) .*pid=PID,/.source.replace('PID', String(system.pidOf('automation')));
    const own = new RegExp(port).exec(stdout)?.[1];
    const direct = await execute('curl', [
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      ...header,
      `http://127.0.0.1:${own}/api/v1/rules`,
    ]);
    expect(direct.stdout).toBe('401');
  });

  it('are away with their service: the registry says so, and devices are not affected', async () => {
    process.kill(system.pidOf('automation'), 'SIGSTOP');
    try {
      const devices = await curl(address, '/api/v1/devices');
      expect(devices.status).toBe(200);
    } finally {
      process.kill(system.pidOf('automation'), 'SIGCONT');
    }
    const before = system.pidOf('automation');
    killAutomation();
    const { status, body } = await curl(address, '/api/v1/rules');
    expect([status, body]).toMatchObject([503, { detail: expect.stringContaining('automation is away') }]);
    await until(() => expect(system.pidOf('automation')).not.toBe(before), 20_000);
    await vi.waitFor(async () => expect((await curl(address, '/api/v1/rules')).status).toBe(200), { timeout: 20_000 });
  });
});
