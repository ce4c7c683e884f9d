import { setTimeout as delay } from 'node:timers/promises';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AlertingScene, GRACE_SECONDS, SETTLED_MS } from './alerting/scene.ts';
import { curl, missingProgram, muster, psql } from './system.ts';

const reason = missingProgram('prometheus-alertmanager');

function post(body: object): readonly string[] {
  return ['-X', 'POST', '-H', 'content-type: application/json', '-d', JSON.stringify(body)];
}

describe.skipIf(reason !== undefined)(`alert rules${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  let scene: AlertingScene;

  beforeAll(async () => {
    scene = await AlertingScene.start();
    await scene.apply(
      'rules:\n  - { name: device-lost, kind: presence, for: 1s, runbook: docs/operations.md#device-lost }\n',
    );
  });
  afterAll(async () => {
    await scene.stop();
  });

  it('a real Mosquitto with max_connections 50 filled to 41 in all raises the 80 % alert, and 30 in all resolves it', async () => {
    const watcher = await scene.connect();
    let connected = 0;
    watcher.on('message', (_, payload) => (connected = Number(payload.toString())));
    await watcher.subscribeAsync('$SYS/broker/clients/connected');
    await vi.waitFor(() => expect(connected).toBeGreaterThan(5), { timeout: 10_000 });
    // Those of the services count; they may still be connecting.
    await delay(2_000);
    const own = connected;
    const crowd: MqttClient[] = [];
    while (own + crowd.length < 39) crowd.push(await scene.connect());
    await vi.waitFor(() => expect(connected).toBe(39), { timeout: 10_000 });
    expect(await scene.alerts('rule=broker-connections')).toEqual([]);
    while (own + crowd.length < 41) crowd.push(await scene.connect());
    const alert = await scene.alert('broker-connections', 'mosquitto-0', 'firing');
    expect(alert.value).toBeGreaterThanOrEqual(80);
    await vi.waitFor(() => expect(connected).toBe(41), { timeout: 10_000 });
    expect(alert).toMatchObject({ severity: 'critical', broker: 'mosquitto-0' });
    await Promise.all(crowd.splice(0, 11).map((client) => client.endAsync()));
    await vi.waitFor(() => expect(connected).toBe(30), { timeout: 10_000 });
    expect((await scene.alert('broker-connections', 'mosquitto-0', 'resolved')).id).toBe(alert.id);
    await Promise.all([...crowd, watcher].map((client) => client.endAsync()));
  });

  it('one alert for a lost broker says how many devices stand behind it, and those raise none (P6, P7)', async () => {
    for (let index = 0; index < 8; index += 1) await scene.connect(`behind-${index}`);
    const online = `SELECT count(*) FROM presence WHERE state = 'online' AND device LIKE 'behind-%'`;
    await vi.waitFor(async () => expect(await psql(scene.address, online)).toBe('8'), { timeout: 10_000 });
    const behind = `SELECT count(*) FROM device LEFT JOIN presence ON presence.device = device.id
      LEFT JOIN device_activity ON device_activity.device = device.id
      WHERE coalesce(presence.evidence ->> 'broker', device_activity.broker) = 'mosquitto-0'`;
    const known = Number(await psql(scene.address, behind));
    expect(known).toBeGreaterThanOrEqual(8);
    await scene.apply('rules:\n  - { name: broker-lost, kind: broker-lost, for: 2s, severity: critical }\n');
    await scene.stopBroker();
    const alert = await scene.alert('broker-lost', 'mosquitto-0', 'firing');
    expect(alert.summary).toBe(`mosquitto-0 is lost; ${known} devices stand behind it`);
    await delay(SETTLED_MS);
    expect(
      scene.hooked('mosquitto-0').filter(({ data }) => data.alerts.some(({ rule }) => rule === 'broker-lost')),
    ).toHaveLength(1);
    await scene.startBroker();
    await scene.alert('broker-lost', 'mosquitto-0', 'resolved', 60_000);
    await vi.waitFor(async () => expect(await psql(scene.address, online)).toBe('8'), { timeout: 60_000 });
    await delay((GRACE_SECONDS + 3) * 1_000);
    expect(
      await psql(scene.address, `SELECT count(*) FROM alert WHERE subject LIKE 'behind-%' AND state <> 'pending'`),
    ).toBe('0');
  });

  it('every other kind of rule raises its alert from what really happens', { timeout: 120_000 }, async () => {
    await scene.apply(`rules:
  - { name: flaps, kind: flapping, times: 2, within: 1m, devices: ['flap-*'] }
  - { name: silent, kind: absence, metric: temp, for: 3s, devices: ['quiet-*'] }
  - { name: rises, kind: rate, metric: temp, per: 2s, above: 5, devices: ['pot-*'] }
  - { name: drops, kind: broker-dropped, above: 10, within: 1m }
  - { name: hoard, kind: broker-retained, above: 50, clear: 20, per_device: 0, brokers: [mosquitto-1] }
  - { name: letters, kind: dead-letters, above: 5, within: 1m }
  - { name: busy, kind: ingestion, figure: messages_total, above: 0 }
  - { name: left-behind, kind: ingestion, figure: stopped_spool_bytes, above: 0 }
`);
    const client = await scene.connect(undefined, 1);
    for (let time = 0; time < 2; time += 1) {
      const device = await scene.connect('flap-1');
      await delay(300);
      device.options.reconnectPeriod = 0;
      device.stream.destroy();
      await delay(300);
    }
    // Soon after the start of its broker they are judged when the grace is over.
    await scene.alert('flaps', 'flap-1', 'firing', (GRACE_SECONDS + 10) * 1_000);

    await scene.temperature(client, 'quiet-1', 20);
    for (let step = 0; step < 6; step += 1) {
      await scene.temperature(client, 'pot-1', 20 + 4 * step);
      await delay(500);
    }
    expect((await scene.alert('rises', 'pot-1', 'firing')).value).toBeGreaterThan(5);
    await scene.alert('silent', 'quiet-1', 'firing');
    await scene.temperature(client, 'quiet-1', 20);
    await scene.alert('silent', 'quiet-1', 'resolved');

    const sleeper = await scene.connect(undefined, 1);
    const { protocol: _, ...kept } = sleeper.options;
    const persistent = mqtt.connect({ ...kept, protocol: 'mqtt', clientId: 'sleeper', clean: false });
    await persistent.subscribeAsync('backlog/#', { qos: 1 });
    await persistent.endAsync();
    for (let message = 0; message < 300; message += 1) await client.publishAsync('backlog/x', 'x', { qos: 1 });
    expect(await scene.alert('drops', 'mosquitto-1', 'firing', 30_000)).toMatchObject({
      broker: 'mosquitto-1',
      value: 200,
    });

    const retain = async (payload: string): Promise<void> => {
      for (let topic = 0; topic < 200; topic += 1)
        await client.publishAsync(`hoard/${topic}`, payload, { qos: 1, retain: true });
    };
    await retain('x');
    await scene.alert('hoard', 'mosquitto-1', 'firing', 30_000);
    await retain('');
    await scene.alert('hoard', 'mosquitto-1', 'resolved', 30_000);

    for (let letter = 0; letter < 20; letter += 1)
      await client.publishAsync('devices/broken/telemetry', '{"temp":', { qos: 1 });
    expect(await scene.alert('letters', 'invalid-json', 'firing', 30_000)).toMatchObject({ value: 20 });
    await scene.alert('busy', 'ingestion', 'firing', 30_000);
    // What another process has left on record when it ended.
    const left = (bytes: number): Promise<string> =>
      psql(
        scene.address,
        `INSERT INTO ingestion_spool (ordinal, bytes, seen_at) VALUES (7, ${bytes}, now() - interval '1 hour')
          ON CONFLICT (ordinal) DO UPDATE SET bytes = excluded.bytes`,
      );
    await left(1_234);
    expect(await scene.alert('left-behind', 'ingestion', 'firing', 30_000)).toMatchObject({ value: 1_234 });
    await left(0);
    await scene.alert('left-behind', 'ingestion', 'resolved', 30_000);
    for (const rule of ['flaps', 'silent', 'rises', 'drops', 'hoard', 'letters', 'busy', 'left-behind'])
      expect((await muster(scene.address, 'alert', 'rule', 'rm', rule)).code).toBe(0);
    await scene.alert('letters', 'invalid-json', 'resolved');
    await scene.alert('busy', 'ingestion', 'resolved');
    await Promise.all([client, sleeper].map((one) => one.endAsync()));
  });

  it('answers what is wrong with a request, and changes nothing', async () => {
    const bad: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      ['/api/v1/alerts/none', [], 422, /uuid/i],
      ['/api/v1/alerts/00000000-0000-4000-8000-000000000000', [], 404, /there is no alert/],
      ['/api/v1/alerts?state=on', [], 422, /state|option/i],
      ['/api/v1/alerts?cursor=x', [], 422, /cursor/],
      ['/api/v1/alerts?cursor=WyIxIiwiMiIsIjMiXQ', [], 422, /cursor/],
      ['/api/v1/silences', post({ matchers: {}, until: '2099-01-01T00:00:00Z', why: 'x' }), 422, /at least one label/],
      ['/api/v1/silences', post({ matchers: { rule: '*' }, until: '2001-01-01T00:00:00Z', why: 'x' }), 422, /to come/],
      [
        '/api/v1/alert-rules/apply',
        post({ yaml: 'rules: [{name: a, kind: presence, fro: 1s}]' }),
        422,
        /"line":1,"column":40/,
      ],
      ['/api/v1/alert-rules/nothing', [], 404, /there is no alert rule/],
      [
        '/api/v1/maintenance-windows',
        post({ name: 'x', matchers: { rule: '*' }, schedule: { cron: '99 * * * *', duration: '1h' }, why: 'x' }),
        422,
        /cron/,
      ],
    ];
    for (const [path, args, status, detail] of bad) {
      const answer = await curl(scene.address, path, ...args);
      expect([path, answer.status, answer.type]).toEqual([
        path,
        status,
        expect.stringContaining('application/problem+json'),
      ]);
      expect(JSON.stringify(answer.body)).toMatch(detail);
    }
  });

  it('rules have versions, a dry run changes nothing, and the starter set stays as operators left it', async () => {
    const { stdout } = await muster(scene.address, 'alert', 'rule', 'ls', '--json');
    const rules = JSON.parse(stdout) as { name: string; starter: boolean; version: number }[];
    expect(rules.filter(({ starter }) => starter).length).toBeGreaterThan(8);
    expect(rules.find(({ name }) => name === 'device-lost')).toMatchObject({ starter: false, version: 2 });
    expect((await muster(scene.address, 'alert', 'rule', 'rm', 'battery-low')).code).toBe(0);
    await scene.restartAlerting('SIGTERM');
    expect((await curl(scene.address, '/api/v1/alert-rules/battery-low')).status).toBe(404);
    expect((await curl(scene.address, '/api/v1/alert-rules/battery-low/versions')).body).toMatchObject({
      items: [
        { version: 2, definition: null },
        { version: 1, author: 'muster' },
      ],
    });
    const dry = await curl(
      scene.address,
      '/api/v1/alert-rules/apply',
      ...post({ yaml: 'rules: [{ name: cold, kind: threshold, metric: temp, below: 25 }]', dryRun: true }),
    );
    expect(dry.body).toMatchObject({ dryRun: true, items: [{ name: 'cold', change: 'created', version: 1 }] });
    expect((await curl(scene.address, '/api/v1/alert-rules/cold')).status).toBe(404);
  });
});
