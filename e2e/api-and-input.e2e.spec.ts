import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Device, DevicePage, Problem } from '@muster/contract';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import {
  brokerArguments,
  curl,
  deviceOf,
  execute,
  muster as asOperator,
  psql,
  publish,
  stateFolder,
} from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();

beforeAll(async () => {
  await publish(system.address, '-q', '1', '-t', 'iotclass/lab1/temperature', '-m', '22.50');
  for (const id of ['sensor42', 'attic', 'cellar', 'garden', 'porch', 'roof']) {
    await publish(
      system.address,
      '-q',
      '1',
      '-r',
      '-t',
      `devices/${id}/status`,
      '-m',
      id === 'sensor42' ? 'offline' : 'online',
    );
  }
  await vi.waitFor(
    async () => {
      expect((await device('lab1')).readings).toHaveProperty('temperature');
      expect((await device('roof')).presence.state).toBe('online');
    },
    { timeout: 5_000 },
  );
});

async function device(id: string): Promise<Device> {
  return deviceOf(system.address, id);
}

describe('the REST API', () => {
  it('answers 422 to an id that is none, and publishes nothing', async () => {
    // The first message that the watcher sees is the marker behind all requests: nothing was published before it.
    const watcher = execute(
      'mosquitto_sub',
      [...brokerArguments(system.address), '-t', '#', '-v', '-R', '-C', '1', '-W', '30'],
      40_000,
    );
    await delay(200);
    for (const id of ['a%20b', 'a,b', 'a=b', 'a%2Fb', '%23', '%2B', 'x%00', '%C3%BC', 'x'.repeat(65), '..%2f..']) {
      for (const [route, ...args] of [
        [`/api/v1/devices/${id}`],
        [`/api/v1/devices/${id}/decommission`, '-X', 'POST'],
        [`/api/v1/devices/${id}`, '-X', 'PATCH', '-H', 'content-type: application/json', '-d', '{"name":"x"}'],
      ] as const) {
        const { status, type, body } = await curl(system.address, route, ...args);
        expect([id, status, type]).toEqual([id, 422, expect.stringContaining('application/problem+json')]);
        expect((body as Problem).detail).toMatch(/A-Z a-z 0-9/);
      }
    }
    await publish(system.address, '-t', 'marker', '-m', 'end');
    expect((await watcher).stdout).toBe('marker end\n');
  });

  it('pages through devices by cursor, in the order of their ids', async () => {
    const ids: string[] = [];
    let next: string | null | undefined;
    do {
      const page = (await curl(system.address, `/api/v1/devices?limit=3${next === undefined ? '' : `&cursor=${next}`}`))
        .body as DevicePage;
      expect(page.items.length).toBeLessThanOrEqual(3);
      ids.push(...page.items.map(({ id }) => id));
      next = page.next;
    } while (next !== null);
    const all = (await curl(system.address, '/api/v1/devices?limit=1000')).body as DevicePage;
    expect(ids).toEqual(all.items.map(({ id }) => id));
    expect(ids).toEqual([...ids].sort());
    expect(ids.length).toBeGreaterThan(5);
  });

  it('filters by presence', async () => {
    const lost = (await curl(system.address, '/api/v1/devices?presence=lost')).body as DevicePage;
    expect(lost.items.map(({ id }) => id)).toContain('sensor42');
    expect(new Set(lost.items.map(({ presence }) => presence.state))).toEqual(new Set(['lost']));
  });

  it('registers a device that is changed, and takes strict bodies only', async () => {
    const patch = (body: string): ReturnType<typeof curl> =>
      curl(system.address, '/api/v1/devices/lab1', '-X', 'PATCH', '-H', 'content-type: application/json', '-d', body);
    expect(await patch('{"name":"Lab bench 1"}')).toMatchObject({
      status: 200,
      body: { name: 'Lab bench 1', state: 'registered' },
    });
    expect(await patch('{"name":"x","colour":"red"}')).toMatchObject({
      status: 422,
      body: { errors: [{ message: expect.stringContaining('colour') }] },
    });
    expect(await patch('{}')).toMatchObject({ status: 422 });
    expect(await patch('{"name":7}')).toMatchObject({ status: 422, body: { errors: [{ path: 'name' }] } });
    expect(await patch('{"name":')).toMatchObject({ status: 400 });
    const large = path.join(stateFolder(), 'large.json');
    writeFileSync(large, JSON.stringify({ name: 'x'.repeat(300_000) }));
    expect(await patch(`@${large}`)).toMatchObject({ status: 413 });
    expect(await patch('{"name":"a\\u0000b"}')).toMatchObject({ status: 422 });
    expect(await curl(system.address, '/api/v1/devices?cursor=AA')).toMatchObject({ status: 422 });
    expect(await curl(system.address, '/api/v1/devices?limit=0')).toMatchObject({ status: 422 });
    expect(await curl(system.address, '/api/v1/devices?colour=red')).toMatchObject({ status: 422 });
    expect(await curl(system.address, '/api/v1/nothing')).toMatchObject({
      status: 404,
      type: expect.stringContaining('application/problem+json'),
    });
  });

  it('describes itself in OpenAPI 3.1, with a page', async () => {
    const { body } = await curl(system.address, '/api/v1/openapi.json');
    expect(body).toMatchObject({ openapi: '3.1.0', paths: { '/api/v1/devices/{id}/decommission': { post: {} } } });
    expect(await curl(system.address, '/docs')).toMatchObject({
      status: 200,
      body: expect.stringContaining('swagger-ui'),
    });
    expect(await curl(system.address, '/docs/swagger-ui-bundle.js')).toMatchObject({ status: 200 });
  });

  it('lets no page of another site change anything', async () => {
    expect(
      await curl(
        system.address,
        '/api/v1/devices/lab1/decommission',
        '-X',
        'POST',
        '-H',
        'Origin: https://evil.example',
      ),
    ).toMatchObject({ status: 403 });
    expect(await curl(system.address, '/api/v1/devices', '-H', 'Host: evil.example')).toMatchObject({ status: 403 });
  });
});

describe('live readings', () => {
  const open = async (query: string): Promise<{ text: () => string; close: () => void }> => {
    const abort = new AbortController();
    const headers = { authorization: `Bearer ${system.address.api.token}` };
    const answer = await fetch(`${system.address.api.url}/api/v1/live${query}`, { headers, signal: abort.signal });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
    let text = '';
    const sink = new WritableStream<Uint8Array>({ write: (chunk) => void (text += Buffer.from(chunk).toString()) });
    answer.body?.pipeTo(sink).catch(() => undefined);
    return { text: () => text, close: () => abort.abort() };
  };

  it('come as server-sent events within a second, those that are asked for', async () => {
    const all = await open('');
    const some = await open('?device=live1&device=live2&metric=temp');
    // Ingestion tells readings from when it has heard of the interest.
    await delay(500);
    const ts = Date.now();
    await publish(
      system.address,
      '-q',
      '1',
      '-t',
      'devices/live1/telemetry',
      '-m',
      JSON.stringify({ temp: 21.5, hum: 40, ts }),
    );
    await publish(
      system.address,
      '-t',
      'devices/live3/telemetry',
      '-m',
      JSON.stringify({ temp: 3, ts: ts - 3_600_000 }),
    );
    await vi.waitFor(() => expect(all.text()).toContain('live3'), { timeout: 1_000 });
    const events = some
      .text()
      .split('\n\n')
      .filter((event) => event.startsWith('event:'));
    expect(events).toEqual([
      `event: readings\ndata: ${JSON.stringify({
        broker: 'mosquitto-0',
        readings: [{ device: 'live1', metric: 'temp', value: 21.5, unit: '°C', qos: 1, late: false, at: ts }],
      })}`,
    ]);
    expect(all.text()).toContain('"device":"live1","metric":"hum"');
    expect(all.text()).toMatch(/"device":"live3"[^}]*"late":true/);
    all.close();
    some.close();
  });

  it('are asked of nobody when nobody listens', async () => {
    const stream = await open('?metric=temp');
    const interest = async (): Promise<string> =>
      (await execute('curl', ['-s', `${system.address.api.url}/metrics`])).stdout.match(
        /muster_registry_live_listeners\{[^}]*\} (\d+)/,
      )?.[1] ?? '';
    expect(await interest()).toBe('1');
    stream.close();
    await vi.waitFor(async () => expect(await interest()).toBe('0'), { timeout: 2_000 });
  });

  it.each(['?metric=', '?device=a%2Fb', '?more=1'])('refuse %s', async (query) => {
    expect((await curl(system.address, `/api/v1/live${query}`)).status).toBe(422);
  });
});

describe('bad input', () => {
  it('is counted, kept as a sample, and hurts nothing else', async () => {
    const bad: readonly (readonly [reason: string, topic: string, ...payload: string[]])[] = [
      ['not-a-number', 'iotclass/bad/temperature', '-m', 'NaN'],
      ['not-finite', 'iotclass/bad/temperature', '-m', '1e999'],
      ['payload-empty', 'iotclass/bad/temperature', '-n'],
      ['invalid-json', 'devices/bad/telemetry', '-m', '{"temp":'],
      ['bad-value', 'devices/bad/telemetry', '-m', '{"temp":[1],"hum":{"a":1}}'],
      ['bad-name', 'devices/bad/telemetry', '-m', '{"a b":1,"c,d=e":2}'],
      ['bad-time', 'devices/bad/telemetry', '-m', '{"ts":"soon","temp":1}'],
      ['not-a-boolean', 'home/bad/motion', '-m', 'maybe'],
      ['invalid-device-id', 'devices/with space/telemetry', '-m', '{"temp":1}'],
      ['invalid-device-id', 'devices/with,comma=equals/telemetry', '-m', '{"temp":1}'],
    ];
    for (const [, topic, ...payload] of bad) await publish(system.address, '-q', '1', '-t', topic, ...payload);
    await pipe('devices/bad/telemetry', Buffer.alloc(1_000_000, 0x31));
    await pipe('devices/bad/telemetry', Buffer.from([0xff, 0xfe, 0x80]));
    await pipe('devices/bad/telemetry', Buffer.from('['.repeat(30_000)));
    await publish(system.address, '-q', '1', '-t', Array.from({ length: 200 }, () => 'x').join('/'), '-m', '1');
    await publish(system.address, '-q', '1', '-t', 'devices/bad/status', '-m', '{"status":"confused"}');
    for (const body of [
      '{"note":"\\ud800"}',
      '{"\\ud800":1}',
      '{"temp":1,"up":1e15,"session":1}',
      '{"temp":1,"up":1e300,"session":1}',
      '{"temp":1e308,"hum":-0}',
      '{"temp":1,"ts":9e18}',
      '{"temp":1,"ts":1000000000}',
    ]) {
      await publish(system.address, '-q', '1', '-t', 'devices/worse/telemetry', '-m', body);
    }
    await publish(system.address, '-q', '1', '-t', `${'x'.repeat(20)}/devices/worse/telemetry`, '-m', '1');
    await publish(system.address, '-q', '1', '-r', '-t', 'devices/worse/info', '-m', '{"model":"\\ud800"}');
    await publish(
      system.address,
      '-q',
      '1',
      '-r',
      '-t',
      'devices/worse/status',
      '-m',
      `{"status":"online","x":"${'y'.repeat(175)}\u{1f525}"}`,
    );
    await publish(system.address, '-q', '1', '-t', 'devices/good/telemetry', '-m', '{"temp":21}');
    await publish(system.address, '-q', '1', '-r', '-t', 'devices/good/status', '-m', 'online');
    await publish(system.address, '-q', '1', '-r', '-t', 'devices/good/info', '-m', '{"model":"fine"}');

    await vi.waitFor(
      async () =>
        expect(await device('good')).toMatchObject({
          readings: { temp: { value: 21 } },
          presence: { state: 'online' },
          info: { model: 'fine' },
        }),
      { timeout: 8_000 },
    );
    const reasons = async (): Promise<readonly string[]> =>
      (await psql(system.address, 'SELECT DISTINCT reason FROM dead_letter ORDER BY 1')).split('\n');
    await vi.waitFor(
      async () =>
        expect(await reasons()).toEqual(
          [
            ...new Set([...bad.map(([reason]) => reason), 'payload-too-large', 'invalid-utf8', 'refused-by-influxdb']),
          ].sort(),
        ),
      { timeout: 8_000 },
    );
    expect(
      await psql(system.address, `SELECT encode(payload, 'escape') FROM dead_letter WHERE reason = 'not-a-number'`),
    ).toBe('NaN');
    expect(
      await psql(
        system.address,
        `SELECT payload_size, length(payload) FROM dead_letter WHERE reason = 'payload-too-large'`,
      ),
    ).toBe('1000000|1024');
    expect(await psql(system.address, `SELECT count FROM dead_letter WHERE reason = 'invalid-device-id'`)).toBe('2');
    expect((await device('bad')).presence.state).toBe('unknown');
    // Nothing ended, and nothing had to be started again.
    expect(system.started.events).toEqual([]);
  });

  async function pipe(topic: string, payload: Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const client = spawn('mosquitto_pub', [...brokerArguments(system.address), '-q', '1', '-t', topic, '-s'], {
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      client.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`mosquitto_pub: ${code}`))));
      client.stdin.end(payload);
    });
  }
});

describe('the command line', () => {
  const muster = (...args: readonly string[]): ReturnType<typeof execute> => asOperator(system.address, ...args);

  it('lists and shows devices, for people and as JSON', async () => {
    expect((await muster('device', 'ls')).stdout).toMatch(/DEVICE +PRESENCE +REASON[\s\S]*sensor42 +lost +will/);
    const listed = JSON.parse(
      (await muster('device', 'ls', '--json', '--presence', 'lost')).stdout,
    ) as readonly Device[];
    expect(listed.map(({ id }) => id)).toContain('sensor42');
    expect((await muster('device', 'show', 'lab1')).stdout).toMatch(/temperature +22\.5 °C/);
    expect(JSON.parse((await muster('device', 'show', 'lab1', '--json')).stdout)).toMatchObject({ id: 'lab1' });
  });

  it('decommissions, and says what it did', async () => {
    await publish(system.address, '-t', 'devices/by-cli/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('by-cli')).presence.state).toBe('online'), { timeout: 5_000 });
    const { code, stdout } = await muster('decommission', 'by-cli');
    expect(code).toBe(0);
    expect(stdout).toMatch(/by-cli: verified at[\s\S]*devices\/by-cli\/status/);
    expect(JSON.parse((await muster('decommission', 'by-cli', '--json')).stdout)).toMatchObject({
      state: expect.stringMatching(/verified|done/),
    });
  });

  it('ends with 1 for what failed and 2 for what was asked wrongly, and says why', async () => {
    expect(await muster('device', 'show', 'nobody')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('404: no device nobody'),
    });
    expect(await muster('device', 'show', 'a b')).toMatchObject({ code: 2, stdout: '' });
    expect(await muster('devise')).toMatchObject({ code: 2 });
    const away = await execute('node', ['apps/cli/dist/main.js', 'device', 'ls', '--url', 'http://127.0.0.1:9']);
    expect(away).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no API at http:\/\/127\.0\.0\.1:9 .*npm start/),
    });
  });
});
