import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { DecommissionReport, Device, DevicePage, Problem } from '@muster/contract';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  brokerArguments,
  curl,
  execute,
  influxql,
  psql,
  publish,
  retained,
  StartedSystem,
  stateFolder,
  type ReadyLine,
} from './system.ts';

let system: StartedSystem;
let address: ReadyLine;

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '0', '--dir', stateFolder()]);
  ({ address } = system);
});
afterAll(async () => {
  await system.stop();
});

async function device(id: string): Promise<Device> {
  return (await curl(address, `/api/v1/devices/${id}`)).body as Device;
}

/** A client nobody here wrote, with a retained birth and a will, as the course's devices have them. */
async function clientWithWill(id: string, topic: string, will: string): Promise<{ kill: () => void }> {
  const client = spawn('mosquitto_sub', [
    ...brokerArguments(address),
    ...['-i', id, '-t', `devices/${id}/command`, '-k', '60'],
    ...['--will-topic', topic, '--will-payload', will, '--will-retain', '--will-qos', '1'],
  ]);
  await publish(address, '-t', topic, '-m', 'online', '-r', '-q', '1');
  await delay(200);
  return { kill: () => client.kill('SIGKILL') };
}

describe('telemetry', () => {
  it('iotclass/lab1/temperature = 22.50 is a point in InfluxDB and in GET /devices/lab1 within 1 s', async () => {
    await publish(address, '-t', 'iotclass/lab1/temperature', '-m', '22.50');
    const sentAt = performance.now();
    await vi.waitFor(
      async () => expect((await device('lab1')).readings).toMatchObject({ temperature: { value: 22.5, unit: '°C' } }),
      {
        timeout: 1_000,
        interval: 25,
      },
    );
    expect(performance.now() - sentAt).toBeLessThan(1_000);
    expect(
      await influxql(address, `SELECT temperature FROM telemetry WHERE device = 'lab1' AND time > now() - 1m`),
    ).toContain(',22.5]');
    expect(await device('lab1')).toMatchObject({
      id: 'lab1',
      state: 'discovered',
      presence: { state: 'unknown', reason: 'never-heard' },
    });
  });

  it('in JSON keeps device time, session and sequence number, and redelivery stores no second point', async () => {
    const ts = Date.now() - 60_000;
    const message = JSON.stringify({ temp: 22.5, hum: 45.3, vbat: 3.91, ts, session: 7, seq: 1204 });
    for (let sent = 0; sent < 3; sent += 1)
      await publish(address, '-t', 'devices/json1/telemetry', '-q', '1', '-m', message);
    await vi.waitFor(
      async () => expect(Object.keys((await device('json1')).readings)).toEqual(['hum', 'temp', 'vbat']),
      { timeout: 2_000 },
    );
    const rows = await influxql(
      address,
      `SELECT temp, seq, session FROM telemetry WHERE device = 'json1' AND time > now() - 1h`,
    );
    expect(JSON.parse(rows)).toMatchObject({ results: [{ series: [{ values: [[ts, 22.5, 1204, 7]] }] }] });
  });

  it('of a device without a clock gets the same time again, also from another process of ingestion', async () => {
    const message = JSON.stringify({ temp: 1, up: 5_000, session: 3, seq: 1 });
    await publish(address, '-t', 'devices/clockless/telemetry', '-q', '1', '-m', message);
    await vi.waitFor(async () => expect((await device('clockless')).readings).toHaveProperty('temp'), {
      timeout: 2_000,
    });
    process.kill(address.pids['ingestion'] ?? 0, 'SIGKILL');
    await vi.waitFor(
      () => expect(system.events.splice(0)).toMatchObject([{ event: 'ended' }, { event: 'restarted' }]),
      {
        timeout: 5_000,
      },
    );
    await publish(address, '-t', 'devices/clockless/telemetry', '-q', '1', '-m', message);
    await vi.waitFor(
      async () =>
        expect(await psql(address, `SELECT messages FROM device_activity WHERE device = 'clockless'`)).toBe('2'),
      { timeout: 10_000 },
    );
    const count = await influxql(
      address,
      `SELECT count(temp) FROM telemetry WHERE device = 'clockless' AND time > now() - 1h`,
    );
    expect(count).toContain(',1]');
  });

  it('of motion and light is a reading of the room’s device', async () => {
    await publish(address, '-t', 'home/hall/motion', '-m', 'true', '-r');
    await publish(address, '-t', 'home/hall/light/state', '-m', 'ON', '-r');
    await vi.waitFor(
      async () => {
        expect((await device('hall-motion')).readings).toMatchObject({ motion: { value: true } });
        expect((await device('hall-light')).readings).toMatchObject({ light: { value: 'ON' } });
      },
      { timeout: 2_000 },
    );
  });
});

describe('presence', () => {
  it('devices/sensor42/status = online retained, then a killed client, becomes lost with its reason', async () => {
    const client = await clientWithWill('sensor42', 'devices/sensor42/status', 'offline');
    await vi.waitFor(
      async () => expect((await device('sensor42')).presence).toMatchObject({ state: 'online', reason: 'birth' }),
      { timeout: 2_000 },
    );
    client.kill();
    await vi.waitFor(
      async () =>
        expect((await device('sensor42')).presence).toMatchObject({
          state: 'lost',
          reason: 'will',
          evidence: { broker: 'mosquitto-0', topic: 'devices/sensor42/status', payload: 'offline' },
        }),
      { timeout: 5_000 },
    );
    expect((await device('sensor42')).presence.explanation).toMatch(/connection broke/);
    const history = await psql(
      address,
      `SELECT string_agg("from" || '>' || "to", ' ' ORDER BY id) FROM presence_transition WHERE device = 'sensor42'`,
    );
    expect(history).toBe('unknown>online online>lost');
  });

  it.each([
    [
      'a stated goodbye',
      'status',
      '{"status":"offline","session":5,"reason":"shutdown"}',
      { state: 'offline', reason: 'shutdown', session: 5 },
    ],
    [
      'sleep, with the time of waking',
      'status',
      '{"status":"offline","session":6,"reason":"sleep","wake_in":300}',
      { state: 'asleep', reason: 'sleep' },
    ],
    ['the second spelling of the will', 'lwt', 'offline', { state: 'lost', reason: 'will' }],
    ['the course’s plain online', 'status', 'online', { state: 'online', reason: 'birth' }],
  ])('knows %s', async (_, topic, payload, expected) => {
    const id = `says-${expected.reason}-${topic}`;
    await publish(address, '-t', `devices/${id}/${topic}`, '-m', payload, '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device(id)).presence).toMatchObject(expected), { timeout: 2_000 });
  });

  it('keeps what a device says about itself', async () => {
    await publish(
      address,
      '-t',
      'devices/talker/info',
      '-r',
      '-q',
      '1',
      '-m',
      '{"model":"DHT22","firmware":"1.2.3","keep_alive":60}',
    );
    await vi.waitFor(
      async () => expect((await device('talker')).info).toEqual({ model: 'DHT22', firmware: '1.2.3', keep_alive: 60 }),
      { timeout: 2_000 },
    );
  });
});

describe('decommissioning', () => {
  it('leaves no retained message, a new subscriber gets nothing, and a second call is harmless', async () => {
    for (const topic of ['status', 'lwt', 'config', 'info', 'some/thing/of/its/own']) {
      await publish(
        address,
        '-t',
        `devices/retiree/${topic}`,
        '-m',
        topic === 'info' ? '{"topics":["garage/door"]}' : 'online',
        '-r',
        '-q',
        '1',
      );
    }
    await publish(address, '-t', 'iotclass/retiree/status', '-m', 'online', '-r', '-q', '1');
    await publish(address, '-t', 'garage/door', '-m', 'open', '-r', '-q', '1');
    await publish(address, '-t', 'devices/bystander/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('retiree')).info?.topics).toEqual(['garage/door']), {
      timeout: 2_000,
    });
    await publish(address, '-t', 'devices/retiree/telemetry', '-m', '{"temp":20}', '-q', '1');
    await vi.waitFor(async () => expect((await device('retiree')).readings).toHaveProperty('temp'), { timeout: 2_000 });

    const first = await curl(address, '/api/v1/devices/retiree/decommission', '-X', 'POST');
    expect(first.status).toBe(200);
    const report = first.body as DecommissionReport;
    expect(report).toMatchObject({ device: 'retiree', state: 'verified', brokers: ['mosquitto-0'], after: [] });
    expect(report.cleared.map(({ topic }) => topic).sort()).toEqual([
      'devices/retiree/config',
      'devices/retiree/info',
      'devices/retiree/lwt',
      'devices/retiree/some/thing/of/its/own',
      'devices/retiree/status',
      'garage/door',
      'iotclass/retiree/status',
    ]);
    expect(await retained(address, 'devices/retiree/#')).toEqual([]);
    expect(await retained(address, 'garage/#')).toEqual([]);
    expect(await retained(address, 'iotclass/retiree/#')).toEqual([]);
    expect(await retained(address, 'devices/bystander/#')).toEqual(['devices/bystander/status online']);

    const second = await curl(address, '/api/v1/devices/retiree/decommission', '-X', 'POST');
    expect(second).toMatchObject({ status: 200, body: report });
    expect((await curl(address, '/api/v1/devices/retiree/decommission')).body).toEqual(report);
    expect((await device('retiree')).state).toBe('decommissioned');
    const list = (await curl(address, '/api/v1/devices?limit=1000')).body as DevicePage;
    expect(list.items.map(({ id }) => id)).not.toContain('retiree');
    expect(
      await influxql(address, `SELECT temp FROM telemetry WHERE device = 'retiree' AND time > now() - 1h`),
    ).toContain(',20]');
  });

  it('R12 stays done: what the device still sends makes it neither online nor known again', async () => {
    await publish(address, '-t', 'devices/zombie/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('zombie')).presence.state).toBe('online'), { timeout: 2_000 });
    await curl(address, '/api/v1/devices/zombie/decommission', '-X', 'POST');
    await publish(address, '-t', 'devices/zombie/telemetry', '-m', '{"temp":1}', '-q', '1');
    await publish(address, '-t', 'devices/zombie/status', '-m', 'online', '-r', '-q', '1');
    await delay(700);
    expect(await device('zombie')).toMatchObject({ state: 'decommissioned', readings: {} });
    expect(
      await influxql(address, `SELECT * FROM telemetry WHERE device = 'zombie' AND time > now() - 1h`),
    ).not.toContain('series');
    const again = (await curl(address, '/api/v1/devices/zombie/decommission', '-X', 'POST')).body as DecommissionReport;
    expect(again).toMatchObject({ state: 'verified', after: [] });
    expect(again.cleared).toHaveLength(2);
    expect(await retained(address, 'devices/zombie/#')).toEqual([]);
  });

  it('keeps a topic that another device owns as well, and clears it with the last', async () => {
    for (const id of ['twin-a', 'twin-b'])
      await publish(address, '-t', `devices/${id}/info`, '-r', '-q', '1', '-m', '{"topics":["shared/topic"]}');
    await publish(address, '-t', 'shared/topic', '-m', 'x', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('twin-b')).info).not.toBeNull(), { timeout: 2_000 });
    const first = (await curl(address, '/api/v1/devices/twin-a/decommission', '-X', 'POST')).body as DecommissionReport;
    expect(first.kept).toEqual([{ topic: 'shared/topic', owner: 'twin-b' }]);
    expect(await retained(address, 'shared/#')).toHaveLength(1);
    await curl(address, '/api/v1/devices/twin-b/decommission', '-X', 'POST');
    expect(await retained(address, 'shared/#')).toEqual([]);
  });

  it('keeps a topic that is the device’s by its name but that another device says it owns', async () => {
    await publish(address, '-t', 'devices/porch-node/info', '-r', '-q', '1', '-m', '{"topics":["home/porch/motion"]}');
    await publish(address, '-t', 'home/porch/motion', '-m', 'true', '-r', '-q', '1');
    await vi.waitFor(
      async () => {
        expect((await device('porch-node')).info).not.toBeNull();
        expect((await device('porch-motion')).readings).toHaveProperty('motion');
      },
      { timeout: 2_000 },
    );
    const report = (await curl(address, '/api/v1/devices/porch-motion/decommission', '-X', 'POST')).body;
    expect(report).toMatchObject({ state: 'verified', kept: [{ topic: 'home/porch/motion', owner: 'porch-node' }] });
    expect(await retained(address, 'home/porch/#')).toHaveLength(1);
  });

  it('is shared by calls that come at the same time', async () => {
    await publish(address, '-t', 'devices/crowd/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('crowd')).presence.state).toBe('online'), { timeout: 2_000 });
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => curl(address, '/api/v1/devices/crowd/decommission', '-X', 'POST')),
    );
    for (const { status, body } of answers) expect([status, body]).toEqual([200, answers[0]?.body]);
  });

  it('of an unknown device is 404', async () => {
    expect(await curl(address, '/api/v1/devices/nobody/decommission', '-X', 'POST')).toMatchObject({
      status: 404,
      type: expect.stringContaining('application/problem+json'),
    });
  });
});

describe('the REST API', () => {
  it('answers 422 to an id that is none, and publishes nothing', async () => {
    // The first message that the watcher sees is the marker behind all requests: nothing was published before it.
    const watcher = execute(
      'mosquitto_sub',
      [...brokerArguments(address), '-t', '#', '-v', '-R', '-C', '1', '-W', '30'],
      40_000,
    );
    await delay(200);
    for (const id of ['a%20b', 'a,b', 'a=b', 'a%2Fb', '%23', '%2B', 'x%00', '%C3%BC', 'x'.repeat(65), '..%2f..']) {
      for (const [route, ...args] of [
        [`/api/v1/devices/${id}`],
        [`/api/v1/devices/${id}/decommission`, '-X', 'POST'],
        [`/api/v1/devices/${id}`, '-X', 'PATCH', '-H', 'content-type: application/json', '-d', '{"name":"x"}'],
      ] as const) {
        const { status, type, body } = await curl(address, route, ...args);
        expect([id, status, type]).toEqual([id, 422, expect.stringContaining('application/problem+json')]);
        expect((body as Problem).detail).toMatch(/A-Z a-z 0-9/);
      }
    }
    await publish(address, '-t', 'marker', '-m', 'end');
    expect((await watcher).stdout).toBe('marker end\n');
  });

  it('pages through devices by cursor, in the order of their ids', async () => {
    const ids: string[] = [];
    let next: string | null | undefined;
    do {
      const page = (await curl(address, `/api/v1/devices?limit=3${next === undefined ? '' : `&cursor=${next}`}`))
        .body as DevicePage;
      expect(page.items.length).toBeLessThanOrEqual(3);
      ids.push(...page.items.map(({ id }) => id));
      next = page.next;
    } while (next !== null);
    const all = (await curl(address, '/api/v1/devices?limit=1000')).body as DevicePage;
    expect(ids).toEqual(all.items.map(({ id }) => id));
    expect(ids).toEqual([...ids].sort());
    expect(ids.length).toBeGreaterThan(5);
  });

  it('filters by presence', async () => {
    const lost = (await curl(address, '/api/v1/devices?presence=lost')).body as DevicePage;
    expect(lost.items.map(({ id }) => id)).toContain('sensor42');
    expect(new Set(lost.items.map(({ presence }) => presence.state))).toEqual(new Set(['lost']));
  });

  it('registers a device that is changed, and takes strict bodies only', async () => {
    const patch = (body: string): ReturnType<typeof curl> =>
      curl(address, '/api/v1/devices/lab1', '-X', 'PATCH', '-H', 'content-type: application/json', '-d', body);
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
    expect(await curl(address, '/api/v1/devices?cursor=AA')).toMatchObject({ status: 422 });
    expect(await curl(address, '/api/v1/devices?limit=0')).toMatchObject({ status: 422 });
    expect(await curl(address, '/api/v1/devices?colour=red')).toMatchObject({ status: 422 });
    expect(await curl(address, '/api/v1/nothing')).toMatchObject({
      status: 404,
      type: expect.stringContaining('application/problem+json'),
    });
  });

  it('describes itself in OpenAPI 3.1, with a page', async () => {
    const { body } = await curl(address, '/api/v1/openapi.json');
    expect(body).toMatchObject({ openapi: '3.1.0', paths: { '/api/v1/devices/{id}/decommission': { post: {} } } });
    expect(await curl(address, '/docs')).toMatchObject({ status: 200, body: expect.stringContaining('swagger-ui') });
    expect(await curl(address, '/docs/swagger-ui-bundle.js')).toMatchObject({ status: 200 });
  });

  it('lets no page of another site change anything', async () => {
    expect(
      await curl(address, '/api/v1/devices/lab1/decommission', '-X', 'POST', '-H', 'Origin: https://evil.example'),
    ).toMatchObject({ status: 403 });
    expect(await curl(address, '/api/v1/devices', '-H', 'Host: evil.example')).toMatchObject({ status: 403 });
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
    for (const [, topic, ...payload] of bad) await publish(address, '-q', '1', '-t', topic, ...payload);
    await pipe('devices/bad/telemetry', Buffer.alloc(1_000_000, 0x31));
    await pipe('devices/bad/telemetry', Buffer.from([0xff, 0xfe, 0x80]));
    await pipe('devices/bad/telemetry', Buffer.from('['.repeat(30_000)));
    await publish(address, '-q', '1', '-t', Array.from({ length: 200 }, () => 'x').join('/'), '-m', '1');
    await publish(address, '-q', '1', '-t', 'devices/bad/status', '-m', '{"status":"confused"}');
    for (const body of [
      '{"note":"\\ud800"}',
      '{"\\ud800":1}',
      '{"temp":1,"up":1e15,"session":1}',
      '{"temp":1,"up":1e300,"session":1}',
      '{"temp":1e308,"hum":-0}',
      '{"temp":1,"ts":9e18}',
      '{"temp":1,"ts":1000000000}',
    ]) {
      await publish(address, '-q', '1', '-t', 'devices/worse/telemetry', '-m', body);
    }
    await publish(address, '-q', '1', '-t', `${'x'.repeat(20)}/devices/worse/telemetry`, '-m', '1');
    await publish(address, '-q', '1', '-r', '-t', 'devices/worse/info', '-m', '{"model":"\\ud800"}');
    await publish(
      address,
      '-q',
      '1',
      '-r',
      '-t',
      'devices/worse/status',
      '-m',
      `{"status":"online","x":"${'y'.repeat(175)}\u{1f525}"}`,
    );
    await publish(address, '-q', '1', '-t', 'devices/good/telemetry', '-m', '{"temp":21}');
    await publish(address, '-q', '1', '-r', '-t', 'devices/good/status', '-m', 'online');
    await publish(address, '-q', '1', '-r', '-t', 'devices/good/info', '-m', '{"model":"fine"}');

    await vi.waitFor(
      async () =>
        expect(await device('good')).toMatchObject({
          readings: { temp: { value: 21 } },
          presence: { state: 'online' },
          info: { model: 'fine' },
        }),
      { timeout: 3_000 },
    );
    const reasons = async (): Promise<readonly string[]> =>
      (await psql(address, 'SELECT DISTINCT reason FROM dead_letter ORDER BY 1')).split('\n');
    await vi.waitFor(
      async () =>
        expect(await reasons()).toEqual(
          [
            ...new Set([...bad.map(([reason]) => reason), 'payload-too-large', 'invalid-utf8', 'refused-by-influxdb']),
          ].sort(),
        ),
      { timeout: 3_000 },
    );
    expect(await psql(address, `SELECT encode(payload, 'escape') FROM dead_letter WHERE reason = 'not-a-number'`)).toBe(
      'NaN',
    );
    expect(
      await psql(address, `SELECT payload_size, length(payload) FROM dead_letter WHERE reason = 'payload-too-large'`),
    ).toBe('1000000|1024');
    expect(await psql(address, `SELECT count FROM dead_letter WHERE reason = 'invalid-device-id'`)).toBe('2');
    expect((await device('bad')).presence.state).toBe('unknown');
    // Nothing ended, and nothing had to be started again.
    expect(system.events).toEqual([]);
  });

  async function pipe(topic: string, payload: Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const client = spawn('mosquitto_pub', [...brokerArguments(address), '-q', '1', '-t', topic, '-s'], {
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      client.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`mosquitto_pub: ${code}`))));
      client.stdin.end(payload);
    });
  }
});

describe('the command line', () => {
  const muster = (...args: readonly string[]): ReturnType<typeof execute> =>
    execute('node', ['apps/cli/dist/main.js', ...args, '--url', address.api.url]);

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
    await publish(address, '-t', 'devices/by-cli/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('by-cli')).presence.state).toBe('online'), { timeout: 2_000 });
    const { code, stdout } = await muster('decommission', 'by-cli');
    expect(code).toBe(0);
    expect(stdout).toMatch(/by-cli: verified at[\s\S]*devices\/by-cli\/status/);
    expect(JSON.parse((await muster('decommission', 'by-cli', '--json')).stdout)).toMatchObject({ state: 'verified' });
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
