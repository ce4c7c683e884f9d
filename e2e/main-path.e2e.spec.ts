import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { DecommissionReport, Device, DevicePage } from '@muster/contract';
import { describe, expect, it, vi } from 'vitest';
import { brokerArguments, curl, deviceOf, influxql, psql, publish, retained } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();

async function device(id: string): Promise<Device> {
  return deviceOf(system.address, id);
}

/** A client nobody here wrote, with a retained birth and a will, as the course's devices have them. */
async function clientWithWill(id: string, topic: string, will: string): Promise<{ kill: () => void }> {
  const client = spawn('mosquitto_sub', [
    ...brokerArguments(system.address),
    ...['-i', id, '-t', `devices/${id}/command`, '-k', '60'],
    ...['--will-topic', topic, '--will-payload', will, '--will-retain', '--will-qos', '1'],
  ]);
  await publish(system.address, '-t', topic, '-m', 'online', '-r', '-q', '1');
  await delay(200);
  return { kill: () => client.kill('SIGKILL') };
}

describe('telemetry', () => {
  it('iotclass/lab1/temperature = 22.50 is a point in InfluxDB and in GET /devices/lab1 within 1 s', async () => {
    await publish(system.address, '-t', 'iotclass/lab1/temperature', '-m', '22.50');
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
      await influxql(system.address, `SELECT temperature FROM telemetry WHERE device = 'lab1' AND time > now() - 1m`),
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
      await publish(system.address, '-t', 'devices/json1/telemetry', '-q', '1', '-m', message);
    await vi.waitFor(
      async () => expect(Object.keys((await device('json1')).readings)).toEqual(['hum', 'temp', 'vbat']),
      { timeout: 5_000 },
    );
    const rows = await influxql(
      system.address,
      `SELECT temp, seq, session FROM telemetry WHERE device = 'json1' AND time > now() - 1h`,
    );
    expect(JSON.parse(rows)).toMatchObject({ results: [{ series: [{ values: [[ts, 22.5, 1204, 7]] }] }] });
  });

  it('of a device without a clock gets the same time again, also from another process of ingestion', async () => {
    const message = JSON.stringify({ temp: 1, up: 5_000, session: 3, seq: 1 });
    await publish(system.address, '-t', 'devices/clockless/telemetry', '-q', '1', '-m', message);
    await vi.waitFor(async () => expect((await device('clockless')).readings).toHaveProperty('temp'), {
      timeout: 5_000,
    });
    process.kill(system.address.pids['ingestion'] ?? 0, 'SIGKILL');
    await vi.waitFor(() => expect(system.started.events).toMatchObject([{ event: 'ended' }, { event: 'restarted' }]), {
      timeout: 15_000,
    });
    await publish(system.address, '-t', 'devices/clockless/telemetry', '-q', '1', '-m', message);
    await vi.waitFor(
      async () =>
        expect(await psql(system.address, `SELECT messages FROM device_activity WHERE device = 'clockless'`)).toBe('2'),
      { timeout: 10_000 },
    );
    const count = await influxql(
      system.address,
      `SELECT count(temp) FROM telemetry WHERE device = 'clockless' AND time > now() - 1h`,
    );
    expect(count).toContain(',1]');
  });

  it('of motion and light is a reading of the room’s device', async () => {
    await publish(system.address, '-t', 'home/hall/motion', '-m', 'true', '-r');
    await publish(system.address, '-t', 'home/hall/light/state', '-m', 'ON', '-r');
    await vi.waitFor(
      async () => {
        expect((await device('hall-motion')).readings).toMatchObject({ motion: { value: true } });
        expect((await device('hall-light')).readings).toMatchObject({ light: { value: 'ON' } });
      },
      { timeout: 5_000 },
    );
  });
});

describe('presence', () => {
  it('devices/sensor42/status = online retained, then a killed client, becomes lost with its reason', async () => {
    const client = await clientWithWill('sensor42', 'devices/sensor42/status', 'offline');
    await vi.waitFor(
      async () => expect((await device('sensor42')).presence).toMatchObject({ state: 'online', reason: 'birth' }),
      { timeout: 5_000 },
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
      system.address,
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
    await publish(system.address, '-t', `devices/${id}/${topic}`, '-m', payload, '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device(id)).presence).toMatchObject(expected), { timeout: 5_000 });
  });

  it('keeps what a device says about itself', async () => {
    await publish(
      system.address,
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
      { timeout: 5_000 },
    );
  });
});

describe('decommissioning', () => {
  it('leaves no retained message, a new subscriber gets nothing, and a second call is harmless', async () => {
    for (const topic of ['status', 'lwt', 'config', 'info', 'some/thing/of/its/own']) {
      await publish(
        system.address,
        '-t',
        `devices/retiree/${topic}`,
        '-m',
        topic === 'info' ? '{"topics":["garage/door"]}' : 'online',
        '-r',
        '-q',
        '1',
      );
    }
    await publish(system.address, '-t', 'iotclass/retiree/status', '-m', 'online', '-r', '-q', '1');
    await publish(system.address, '-t', 'garage/door', '-m', 'open', '-r', '-q', '1');
    await publish(system.address, '-t', 'devices/bystander/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('retiree')).info?.topics).toEqual(['garage/door']), {
      timeout: 5_000,
    });
    await publish(system.address, '-t', 'devices/retiree/telemetry', '-m', '{"temp":20}', '-q', '1');
    await vi.waitFor(async () => expect((await device('retiree')).readings).toHaveProperty('temp'), { timeout: 5_000 });

    const first = await curl(system.address, '/api/v1/devices/retiree/decommission', '-X', 'POST');
    expect(first.status).toBe(200);
    const report = first.body as DecommissionReport;
    expect(report).toMatchObject({
      device: 'retiree',
      state: expect.stringMatching(/^(verified|done)$/) as string,
      brokers: ['mosquitto-0'],
      after: [],
    });
    expect(report.cleared.map(({ topic }) => topic).sort()).toEqual([
      'devices/retiree/config',
      'devices/retiree/info',
      'devices/retiree/lwt',
      'devices/retiree/some/thing/of/its/own',
      'devices/retiree/status',
      'garage/door',
      'iotclass/retiree/status',
    ]);
    expect(await retained(system.address, 'devices/retiree/#')).toEqual([]);
    expect(await retained(system.address, 'garage/#')).toEqual([]);
    expect(await retained(system.address, 'iotclass/retiree/#')).toEqual([]);
    expect(await retained(system.address, 'devices/bystander/#')).toEqual(['devices/bystander/status online']);

    const done = await vi.waitFor(
      async () => {
        const { body } = await curl(system.address, '/api/v1/devices/retiree/decommission');
        expect(body).toMatchObject({ state: 'done', verifiedAt: report.verifiedAt });
        return body as DecommissionReport;
      },
      { timeout: 10_000 },
    );
    const second = await curl(system.address, '/api/v1/devices/retiree/decommission', '-X', 'POST');
    expect(second).toMatchObject({ status: 200, body: done });
    expect((await curl(system.address, '/api/v1/devices/retiree/decommission')).body).toEqual(done);
    expect((await device('retiree')).state).toBe('decommissioned');
    const list = (await curl(system.address, '/api/v1/devices?limit=1000')).body as DevicePage;
    expect(list.items.map(({ id }) => id)).not.toContain('retiree');
    expect(
      await influxql(system.address, `SELECT temp FROM telemetry WHERE device = 'retiree' AND time > now() - 1h`),
    ).toContain(',20]');
  });

  it('R12 stays done: what the device still sends makes it neither online nor known again', async () => {
    await publish(system.address, '-t', 'devices/zombie/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('zombie')).presence.state).toBe('online'), { timeout: 5_000 });
    await curl(system.address, '/api/v1/devices/zombie/decommission', '-X', 'POST');
    await vi.waitFor(
      async () =>
        expect((await curl(system.address, '/api/v1/devices/zombie/decommission')).body).toMatchObject({
          state: 'done',
        }),
      { timeout: 10_000 },
    );
    await publish(system.address, '-t', 'devices/zombie/telemetry', '-m', '{"temp":1}', '-q', '1');
    await publish(system.address, '-t', 'devices/zombie/status', '-m', 'online', '-r', '-q', '1');
    await delay(700);
    expect(await device('zombie')).toMatchObject({ state: 'decommissioned', readings: {} });
    expect(
      await influxql(system.address, `SELECT * FROM telemetry WHERE device = 'zombie' AND time > now() - 1h`),
    ).not.toContain('series');
    const again = (await curl(system.address, '/api/v1/devices/zombie/decommission', '-X', 'POST'))
      .body as DecommissionReport;
    // By this look, which is verified a second time later, or by the tombstone watch, whichever came first.
    expect(again.after).toEqual([]);
    expect(['verified', 'done']).toContain(again.state);
    expect(await retained(system.address, 'devices/zombie/#')).toEqual([]);
  });

  it('keeps a topic that another device owns as well, and clears it with the last', async () => {
    for (const id of ['twin-a', 'twin-b'])
      await publish(system.address, '-t', `devices/${id}/info`, '-r', '-q', '1', '-m', '{"topics":["shared/topic"]}');
    await publish(system.address, '-t', 'shared/topic', '-m', 'x', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('twin-b')).info).not.toBeNull(), { timeout: 5_000 });
    const first = (await curl(system.address, '/api/v1/devices/twin-a/decommission', '-X', 'POST'))
      .body as DecommissionReport;
    expect(first.kept).toEqual([{ topic: 'shared/topic', owner: 'twin-b' }]);
    expect(await retained(system.address, 'shared/#')).toHaveLength(1);
    await curl(system.address, '/api/v1/devices/twin-b/decommission', '-X', 'POST');
    expect(await retained(system.address, 'shared/#')).toEqual([]);
  });

  it('keeps a topic that is the device’s by its name but that another device says it owns', async () => {
    await publish(
      system.address,
      '-t',
      'devices/porch-node/info',
      '-r',
      '-q',
      '1',
      '-m',
      '{"topics":["home/porch/motion"]}',
    );
    await publish(system.address, '-t', 'home/porch/motion', '-m', 'true', '-r', '-q', '1');
    await vi.waitFor(
      async () => {
        expect((await device('porch-node')).info).not.toBeNull();
        expect((await device('porch-motion')).readings).toHaveProperty('motion');
      },
      { timeout: 5_000 },
    );
    const report = (await curl(system.address, '/api/v1/devices/porch-motion/decommission', '-X', 'POST')).body;
    expect(report).toMatchObject({
      state: expect.stringMatching(/^(verified|done)$/) as string,
      kept: [{ topic: 'home/porch/motion', owner: 'porch-node' }],
    });
    expect(await retained(system.address, 'home/porch/#')).toHaveLength(1);
  });

  it('is shared by calls that come at the same time', async () => {
    await publish(system.address, '-t', 'devices/crowd/status', '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await device('crowd')).presence.state).toBe('online'), { timeout: 5_000 });
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => curl(system.address, '/api/v1/devices/crowd/decommission', '-X', 'POST')),
    );
    const { verifiedAt, cleared } = answers[0]?.body as DecommissionReport;
    for (const { status, body } of answers) expect([status, body]).toMatchObject([200, { verifiedAt, cleared }]);
  });

  it('of an unknown device is 404', async () => {
    expect(await curl(system.address, '/api/v1/devices/nobody/decommission', '-X', 'POST')).toMatchObject({
      status: 404,
      type: expect.stringContaining('application/problem+json'),
    });
  });
});
