import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { DeviceCore, DeviceCoreError, type DeviceHost } from './device-core.ts';
import { ScriptedWorld, type Script } from './scripted-world.ts';

const SCRIPTS = path.join(import.meta.dirname, '../../../firmware/scripts');
const VECTORS = path.join(import.meta.dirname, '../../contract/vectors.json');
const scripts = readdirSync(SCRIPTS).filter((file) => file.endsWith('.json'));

let core: DeviceCore;
beforeAll(async () => {
  core = await DeviceCore.load();
});

const { sessions } = JSON.parse(readFileSync(VECTORS, 'utf8')) as {
  readonly sessions: readonly { readonly name: string; readonly script: Script; readonly said: readonly string[] }[];
};

/** A publication in the words of the vectors: `b` a birth, `g` a goodbye, `t` a reading; undefined for any other. */
function said(line: string): string | undefined {
  const [, topic] = /^\d+ publish devices\/[^/]+\/(status|telemetry) /.exec(line) ?? [];
  if (topic === undefined) return undefined;
  const body = JSON.parse(line.slice(line.indexOf('{'))) as {
    readonly status?: string;
    readonly reason?: string;
    readonly session: number;
    readonly seq?: number;
    readonly prev?: { readonly session: number; readonly seq: number; readonly dropped: number };
  };
  const { session, prev } = body;
  if (topic === 'telemetry') return `t ${session} ${body.seq}`;
  if (body.status === 'offline') return `g ${session} ${body.reason}`;
  return prev === undefined ? `b ${session}` : `b ${session} prev ${prev.session} ${prev.seq} ${prev.dropped}`;
}

function play(file: string): readonly string[] {
  const world = new ScriptedWorld(core, JSON.parse(readFileSync(path.join(SCRIPTS, file), 'utf8')) as Script);
  world.run();
  return world.trace;
}

const telemetry = (trace: readonly string[]): readonly string[] => trace.filter((line) => line.includes('/telemetry '));

describe('the firmware in WebAssembly', () => {
  it.each(scripts)('plays %s to the same trace as the native build, byte for byte', (file) => {
    const expected = readFileSync(path.join(SCRIPTS, file.replace('.json', '.trace')), 'utf8');
    expect(`${play(file).join('\n')}\n`).toBe(expected);
  });

  it.each(sessions)('keeps to the contract: $name', ({ script, said: expected }) => {
    const world = new ScriptedWorld(core, script);
    world.run();
    expect(world.trace.map(said).filter((words) => words !== undefined)).toEqual(expected);
  });

  it('tells about 360 readings in an office day instead of 17,280', () => {
    const count = telemetry(play('office-day.json')).length;
    expect(count).toBeGreaterThanOrEqual(340);
    expect(count).toBeLessThanOrEqual(380);
  });

  it('holds 5,000 devices in one instance, at most 20 KB each', async () => {
    const fleet = await DeviceCore.load();
    const before = fleet.memoryBytes;
    const published: string[] = [];
    for (let index = 0; index < 5_000; index += 1) {
      const board = fleet.create({ id: `device-${index}`, node: 'dht22' }, stillHost(published));
      board.tick();
      board.connected();
    }
    expect(fleet.bytesPerDevice).toBeLessThanOrEqual(20_000);
    expect((fleet.memoryBytes - before) / 5_000).toBeLessThanOrEqual(20_000);
    expect(published.filter((topic) => topic.endsWith('/status'))).toHaveLength(5_000);
    expect(new Set(published).has('devices/device-4999/status')).toBe(true);
  });

  it('uses the place of a device that was destroyed again', async () => {
    const fleet = await DeviceCore.load();
    fleet.create({ id: 'first', node: 'light', room: 'hall' }, stillHost([])).destroy();
    const before = fleet.memoryBytes;
    for (let index = 0; index < 1_000; index += 1) {
      fleet.create({ id: `device-${index}`, node: 'motion', room: 'hall' }, stillHost([])).destroy();
    }
    expect(fleet.memoryBytes).toBe(before);
  });

  it.each([
    [{ id: 'a b', node: 'dht22' }, 'bad-id'],
    [{ id: 'x'.repeat(65), node: 'dht22' }, 'bad-id'],
    [{ id: 'lamp', node: 'light', room: '' }, 'bad-room'],
    [{ id: 'lamp', node: 'light', room: 'hall/+' }, 'bad-room'],
    [{ id: 'lamp', node: 'light', room: 'hall', settings: { keep_alive: 29 } }, 'bad-settings'],
    [{ id: 'x'.repeat(5_000), node: 'dht22' }, 'too-long'],
  ] as const)('refuses %j with %s', (options, code) => {
    const attempt = (): unknown => core.create(options, stillHost([]));
    expect(attempt).toThrow(DeviceCoreError);
    expect(attempt).toThrow(expect.objectContaining({ code }));
  });

  it('leaves out a message that is longer than its memory for one', () => {
    const board = core.create({ id: 'flooded', node: 'dht22' }, stillHost([]));
    board.tick();
    board.connected();
    board.message('devices/flooded/command', 'x'.repeat(1_000_000), false);
    expect(board.phase).toBe('online');
    board.destroy();
  });
});

/** A host on which nothing happens but that it notes what is published. */
function stillHost(published: string[]): DeviceHost {
  return {
    connect: () => undefined,
    publish: ({ topic }) => published.push(topic),
    subscribe: () => undefined,
    disconnect: () => undefined,
    millis: () => 0,
    epochMs: () => undefined,
    random: () => 4,
    resetReason: () => 'power',
    readClimate: () => undefined,
    readPin: () => false,
    writeDuty: () => undefined,
    batteryMillivolts: () => undefined,
    readFlash: () => undefined,
    writeFlash: () => true,
    powerDown: () => undefined,
    restart: () => undefined,
    log: () => undefined,
  };
}
