import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { DeadLetterPage, DeadLetterReplayAnswer } from '@muster/contract';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, influxql, muster, newToken, publish, StartedSystem, stateFolder, statusAs } from './system.ts';

const SENT_AT_MS = Date.now() - 3_600_000;
const TIMED = 20;
const SOON = { timeout: 30_000, interval: 100 };

const folder = stateFolder();
const topicMap = path.join(folder, 'topics.yaml');
const outside = process.env['MUSTER_TOPIC_MAP'];
let system: StartedSystem;

/** A topic map in which the plants' state is read as this. */
function reads(decoder: 'number' | 'text'): void {
  writeFileSync(
    topicMap,
    `topics:
  - { pattern: 'devices/{device}/status', role: status }
  - { pattern: 'plant/{device}/state', role: telemetry, decoder: ${decoder}, metric: state }
  - { pattern: 'plant/{device}/all', role: telemetry, decoder: ${decoder === 'text' ? 'json' : 'number, metric: all'} }
`,
  );
}

async function start(): Promise<StartedSystem> {
  return StartedSystem.start(['--devices', '0', '--dir', path.join(folder, 'state')]);
}

async function letters(query = ''): Promise<DeadLetterPage> {
  return (await curl(system.address, `/api/v1/dead-letters${query}`)).body as DeadLetterPage;
}

async function stored(device: string): Promise<readonly (readonly unknown[])[]> {
  const text = await influxql(system.address, `SELECT * FROM telemetry WHERE device = '${device}'`);
  const { results } = JSON.parse(text) as { results: { series?: { values: unknown[][] }[] }[] };
  return results[0]?.series?.[0]?.values ?? [];
}

beforeAll(async () => {
  reads('number');
  process.env['MUSTER_TOPIC_MAP'] = topicMap;
  system = await start();
});
afterAll(async () => {
  await system.stop();
  if (outside === undefined) delete process.env['MUSTER_TOPIC_MAP'];
  else process.env['MUSTER_TOPIC_MAP'] = outside;
});

describe('telemetry that a topic map reads wrongly', () => {
  it('is shown with what was wrong, and can be read again', async () => {
    for (const state of ['open', 'shut', 'open'])
      await publish(system.address, '-q', '1', '-t', 'plant/valve/state', '-m', state);
    const body = Array.from({ length: TIMED }, (_, seq) => JSON.stringify({ temp: seq, ts: SENT_AT_MS + seq }));
    for (const device of ['kiln', 'oven'])
      for (const line of body) await publish(system.address, '-q', '1', '-t', `plant/${device}/all`, '-m', line);
    await vi.waitFor(async () => {
      const { items } = await letters('?reason=not-a-number');
      expect(items.map(({ device, count, replayable }) => [device, count, replayable])).toEqual([
        ['oven', 20, 20],
        ['kiln', 20, 20],
        ['valve', 3, 3],
      ]);
    }, SOON);
    const { items, replay } = await letters('?device=valve');
    expect(items).toMatchObject([
      {
        ...{ id: 'valve:not-a-number', device: 'valve', reason: 'not-a-number', topic: 'plant/valve/state' },
        ...{ payload: 'open', payloadBase64: 'b3Blbg==', payloadBytes: 4, count: 3 },
      },
    ]);
    expect(replay).toBeNull();
    const first = await letters('?limit=1');
    expect(first.items).toHaveLength(1);
    const rest = await letters(`?limit=2&cursor=${first.next}`);
    expect([...first.items, ...rest.items].map(({ device }) => device)).toEqual(['oven', 'kiln', 'valve']);
    expect((await muster(system.address, 'dead-letters', '--device', 'valve')).stdout).toMatch(
      /^DEVICE .*\nvalve +not-a-number +3 +3 .* plant\/valve\/state /,
    );
  });

  it('is read again by nobody who may only look', async () => {
    const { token } = await newToken(system.address, 'looks-only', 'viewer');
    const at = `${system.address.api.url}/api/v1/dead-letters`;
    expect(await statusAs(token, at)).toBe(200);
    expect(await statusAs(token, '-X', 'POST', '--json', '{}', `${at}/replay`)).toBe(403);
    expect(await statusAs(token, '-X', 'POST', '--json', '{"dryRun":true}', `${at}/replay`)).toBe(403);
    const wrong = '{"device":"a b"}';
    expect((await curl(system.address, '/api/v1/dead-letters/replay', '-X', 'POST', '--json', wrong)).status).toBe(422);
    expect((await curl(system.address, '/api/v1/dead-letters?cursor=bm9uZQ')).status).toBe(422);
  });

  it('fails again while the topic map is as it was', async () => {
    const dry = await muster(system.address, 'dead-letters', 'replay', '--device', 'valve', '--dry-run', '--json');
    expect(JSON.parse(dry.stdout)).toMatchObject({ dryRun: true, requested: 3, replay: null });
    expect((await letters()).replay).toBeNull();
    const asked = await curl(
      system.address,
      '/api/v1/dead-letters/replay',
      ...['-X', 'POST', '--json', '{"device":"valve"}'],
    );
    expect(asked.status).toBe(202);
    expect(asked.body as DeadLetterReplayAnswer).toMatchObject({
      requested: 3,
      letters: [{ id: 'valve:not-a-number', messages: 3 }],
    });
    await vi.waitFor(async () => {
      const { replay } = await letters();
      expect(replay).toMatchObject({ requested: 3, left: 0, stored: 0, failedAgain: 3 });
      expect(replay?.endedAt).not.toBeNull();
    }, SOON);
    expect((await letters('?device=valve')).items).toMatchObject([{ count: 3, replayable: 3 }]);
    expect(await stored('valve')).toEqual([]);
  });

  it('is stored once the map is mended, each message once, also where ingestion is killed meanwhile', async () => {
    await system.stop();
    reads('text');
    system = await start();
    const asked = await muster(system.address, 'dead-letters', 'replay', '--json');
    expect(JSON.parse(asked.stdout)).toMatchObject({ dryRun: false, requested: 43 });
    process.kill(system.pidOf('ingestion'), 'SIGKILL');
    await vi.waitFor(async () => {
      const { items, replay } = await letters();
      expect(items).toEqual([]);
      expect(replay).toMatchObject({ requested: 43, left: 0, stored: 43, failedAgain: 0 });
    }, SOON);
    expect(await stored('valve')).toHaveLength(3);
    for (const device of ['kiln', 'oven'])
      expect((await stored(device)).map(([time]) => time)).toEqual(
        Array.from({ length: TIMED }, (_, seq) => SENT_AT_MS + seq),
      );
    const shown = await muster(system.address, 'dead-letters');
    expect(shown.stderr).toMatch(/no dead letters.*\n.*43 of 43 stored, 0 could not be used again, 0 left/);
    const known = await curl(system.address, '/api/v1/devices/valve');
    expect(known.body).toMatchObject({ readings: { state: { value: 'open' } } });
  });
});
