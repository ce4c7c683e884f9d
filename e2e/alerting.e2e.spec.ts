import { setTimeout as delay } from 'node:timers/promises';
import type { AlertDetail, Delivery, DeliveryPage, ReceiverList } from '@muster/contract';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { HookNotification, ReceivedMail, RoutedNotification } from './alerting/receivers.ts';
import { AlertingScene, GRACE_SECONDS } from './alerting/scene.ts';
import { curl, missingProgram, muster, psql } from './system.ts';

const reason = missingProgram('prometheus-alertmanager');
const MAX_CONNECTIONS = 50;
/** Groups in these tests are told after one second, and again after two. */
const SETTLED_MS = 5_000;

const RULES = `rules:
  - { name: device-lost, kind: presence, for: 1s, runbook: docs/operations.md#device-lost }
  - { name: warm, kind: threshold, metric: temp, above: 30, clear: 28 }
`;

function post(body: object): readonly string[] {
  return ['-X', 'POST', '-H', 'content-type: application/json', '-d', JSON.stringify(body)];
}

describe.skipIf(reason !== undefined)(`alerting${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  let scene: AlertingScene;

  beforeAll(async () => {
    scene = await AlertingScene.start(MAX_CONNECTIONS);
    await scene.apply(RULES);
  });
  afterAll(async () => {
    await scene.stop();
  });

  const hooked = (subject: string): readonly HookNotification[] =>
    scene.hook.notifications.filter(
      ({ data }) => data.receiver === 'hook' && data.alerts.some((alert) => alert.subject === subject),
    );
  const routed = (subject: string): readonly RoutedNotification[] =>
    scene.hook.routed.filter(({ alerts }) => alerts.some(({ labels }) => labels['subject'] === subject));
  const mailed = (subject: string): readonly ReceivedMail[] =>
    scene.mailbox.mails.filter(({ text }) => text.includes(`subject=${subject}`) || text.includes(`${subject} `));
  const temperature = async (client: MqttClient, device: string, value: number): Promise<void> => {
    await client.publishAsync(`devices/${device}/telemetry`, JSON.stringify({ temp: value }), { qos: 1 });
  };

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

  it('a killed device reaches Alertmanager, webhook and mailbox once and resolves when it is back', async () => {
    const device = await scene.connect('killed');
    await vi.waitFor(async () =>
      expect((await curl(scene.address, '/api/v1/devices/killed')).body).toMatchObject({
        presence: { state: 'online' },
      }),
    );
    device.options.reconnectPeriod = 0;
    device.stream.destroy();
    await scene.alert('device-lost', 'killed', 'firing');
    await vi.waitFor(
      () => expect([hooked('killed').length, routed('killed').length, mailed('killed').length]).toEqual([1, 1, 1]),
      { timeout: 10_000 },
    );
    expect((await scene.alertmanager.active()).map(({ labels }) => labels['subject'])).toContain('killed');
    await delay(SETTLED_MS);
    expect([hooked('killed').length, routed('killed').length, mailed('killed').length]).toEqual([1, 1, 1]);
    await scene.connect('killed');
    await scene.alert('device-lost', 'killed', 'resolved');
    await vi.waitFor(
      () => expect([hooked('killed').length, routed('killed').length, mailed('killed').length]).toEqual([2, 2, 2]),
      { timeout: 15_000 },
    );
    expect(hooked('killed').map(({ type }) => type)).toEqual(['alert.firing', 'alert.resolved']);
    expect(routed('killed').map(({ status }) => status)).toEqual(['firing', 'resolved']);
    expect(mailed('killed').map(({ subject }) => subject)).toEqual([
      '[Muster FIRING 1] killed is lost',
      '[Muster RESOLVED] Resolved: killed is lost',
    ]);
    const ids = mailed('killed').map(({ messageId }) => messageId);
    expect(new Set(ids).size).toBe(2);
    expect(ids[0]).toMatch(/^<[0-9a-f-]{36}@example\.org>$/);
    expect(scene.hook.forged).toEqual([]);
  });

  it('a restart in between repeats nothing', async () => {
    const device = await scene.connect('between');
    await vi.waitFor(async () =>
      expect((await curl(scene.address, '/api/v1/devices/between')).body).toMatchObject({
        presence: { state: 'online' },
      }),
    );
    device.options.reconnectPeriod = 0;
    device.stream.destroy();
    const { id } = await scene.alert('device-lost', 'between', 'firing');
    await vi.waitFor(
      () => expect([hooked('between').length, routed('between').length, mailed('between').length]).toEqual([1, 1, 1]),
      { timeout: 10_000 },
    );
    await scene.restartAlerting('SIGKILL');
    await delay(SETTLED_MS);
    expect([hooked('between').length, routed('between').length, mailed('between').length]).toEqual([1, 1, 1]);
    expect((await scene.alert('device-lost', 'between', 'firing')).id).toBe(id);
    await scene.connect('between');
    await vi.waitFor(
      () => expect([hooked('between').length, routed('between').length, mailed('between').length]).toEqual([2, 2, 2]),
      { timeout: 15_000 },
    );
    expect(await psql(scene.address, `SELECT count(*) FROM alert WHERE subject = 'between'`)).toBe('1');
  });

  // One client publishes the wills of all on their own topics: to presence that is the same message.
  it('10,000 wills at once give at most one notification per group', { timeout: 240_000 }, async () => {
    const broker = await scene.connect();
    const devices = Array.from({ length: 10_000 }, (_, index) => `storm-${index}`);
    const publish = async (payload: string): Promise<void> => {
      for (let at = 0; at < devices.length; at += 1_000)
        await Promise.all(
          devices
            .slice(at, at + 1_000)
            .map((id) => broker.publishAsync(`devices/${id}/status`, payload, { qos: 1, retain: true })),
        );
    };
    const inState = async (state: string): Promise<string> =>
      psql(scene.address, `SELECT count(*) FROM presence WHERE state = '${state}' AND device LIKE 'storm-%'`);
    await publish('online');
    await vi.waitFor(async () => expect(await inState('online')).toBe('10000'), { timeout: 60_000, interval: 500 });
    await publish('offline');
    const firing = `SELECT count(*) FROM alert WHERE state = 'firing' AND subject LIKE 'storm-%' AND rule = 'device-lost'`;
    await vi.waitFor(async () => expect(await psql(scene.address, firing)).toBe('10000'), {
      timeout: 60_000,
      interval: 500,
    });
    const stormy = (): readonly string[] => [
      ...scene.hook.notifications
        .filter(({ data }) => data.receiver === 'storm')
        .map(({ data }) => `storm ${data.group['rule'] ?? ''} ${data.firing} ${data.alerts.length + data.omitted}`),
      ...scene.hook.routed
        .filter(({ alerts }) => alerts.some(({ labels }) => labels['device']?.startsWith('storm-') === true))
        .map(({ groupLabels, alerts }) => `router ${groupLabels['alertname'] ?? ''} ${alerts.length}`),
    ];
    await vi.waitFor(
      () => expect([...stormy()].sort()).toEqual(['router device-lost 10000', 'storm device-lost 10000 10000']),
      { timeout: 90_000, interval: 500 },
    );
    await delay(SETTLED_MS);
    expect(stormy()).toHaveLength(2);
    const perGroup = `SELECT max(times) FROM (SELECT count(*) AS times FROM notification
      WHERE receiver = 'storm' GROUP BY "group") AS counted`;
    expect(await psql(scene.address, perGroup)).toBe('1');
    await publish('online');
    await vi.waitFor(async () => expect(await psql(scene.address, firing)).toBe('0'), {
      timeout: 60_000,
      interval: 500,
    });
    await broker.endAsync();
  });

  it('a receiver that is away for a while gets what it missed, once, and the log says what happened', async () => {
    const client = await scene.connect();
    await scene.hook.stop();
    await temperature(client, 'oven', 80);
    await scene.alert('warm', 'oven', 'firing');
    const attempts = async (): Promise<readonly Delivery[]> =>
      ((await curl(scene.address, '/api/v1/deliveries?receiver=hook&limit=20')).body as DeliveryPage).items.filter(
        ({ summary }) => summary.includes('oven'),
      );
    await vi.waitFor(async () => expect((await attempts()).length).toBeGreaterThanOrEqual(2), { timeout: 15_000 });
    expect((await attempts()).every(({ outcome }) => outcome === 'failed')).toBe(true);
    const { items } = (await curl(scene.address, '/api/v1/receivers')).body as ReceiverList;
    // Other groups of it may wait, too.
    const hook = items.find(({ name }) => name === 'hook');
    expect(hook?.lastFailure?.detail).toContain('ECONNREFUSED');
    expect(hook?.waiting).toBeGreaterThanOrEqual(1);
    await scene.hook.start();
    await vi.waitFor(() => expect(hooked('oven')).toHaveLength(1), { timeout: 20_000 });
    const [last, ...before] = await attempts();
    expect([last?.outcome, before.every(({ outcome }) => outcome === 'failed')]).toEqual(['delivered', true]);
    expect(new Set([last, ...before].map((attempt) => attempt?.notification))).toEqual(
      new Set([hooked('oven')[0]?.id]),
    );
    await temperature(client, 'oven', 20);
    await scene.alert('warm', 'oven', 'resolved');
    await client.endAsync();
  });

  it('a silence keeps alerts from everybody while it lasts, and they are told when it has ended', async () => {
    const client = await scene.connect();
    const created = await muster(
      scene.address,
      ...['silence', 'create', '--match', 'device=cellar-*', '--for', '1h', '--why', 'painting', '--json'],
    );
    const { id } = JSON.parse(created.stdout) as { id: string };
    await temperature(client, 'cellar-1', 80);
    expect(await scene.alert('warm', 'cellar-1', 'firing')).toMatchObject({ silencedBy: id });
    await delay(SETTLED_MS);
    expect([hooked('cellar-1'), routed('cellar-1'), mailed('cellar-1')]).toEqual([[], [], []]);
    expect((await muster(scene.address, 'silence', 'rm', id)).code).toBe(0);
    await vi.waitFor(
      () =>
        expect([hooked('cellar-1').length, routed('cellar-1').length, mailed('cellar-1').length]).toEqual([1, 1, 1]),
      { timeout: 10_000 },
    );
    await temperature(client, 'cellar-1', 20);
    await client.endAsync();
  });

  it('a maintenance window does the same, also over a restart', async () => {
    const client = await scene.connect();
    const window = [
      ...['maintenance', 'create', 'works', '--match', 'device=attic-*', '--cron', '* * * * *'],
      ...['--duration', '2m', '--time-zone', 'Europe/Berlin', '--why', 'works', '--json'],
    ];
    expect(JSON.parse((await muster(scene.address, ...window)).stdout)).toMatchObject({ name: 'works', active: true });
    await scene.restartAlerting('SIGTERM');
    await temperature(client, 'attic-1', 80);
    expect(await scene.alert('warm', 'attic-1', 'firing')).toMatchObject({ silencedBy: 'maintenance works' });
    await delay(SETTLED_MS);
    expect([hooked('attic-1'), routed('attic-1'), mailed('attic-1')]).toEqual([[], [], []]);
    expect((await muster(scene.address, 'maintenance', 'rm', 'works')).code).toBe(0);
    await vi.waitFor(() => expect(hooked('attic-1')).toHaveLength(1), { timeout: 10_000 });
    await temperature(client, 'attic-1', 20);
    await client.endAsync();
  });

  it('an alert is acknowledged once, and keeps what people say about it', async () => {
    const client = await scene.connect();
    await temperature(client, 'stove', 80);
    const { id } = await scene.alert('warm', 'stove', 'firing');
    const acknowledged = await muster(scene.address, 'alert', 'ack', id, '--comment', 'on my way', '--json');
    expect(JSON.parse(acknowledged.stdout)).toMatchObject({
      acknowledgedBy: 'muster up',
      comments: [{ actor: 'muster up', text: 'on my way' }],
    });
    const again = await muster(scene.address, 'alert', 'ack', id);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('409: muster up has acknowledged')]);
    await temperature(client, 'stove', 20);
    await scene.alert('warm', 'stove', 'resolved');
    await muster(scene.address, 'alert', 'comment', id, 'the door was open');
    const detail = (await curl(scene.address, `/api/v1/alerts/${id}`)).body as AlertDetail;
    expect(detail.history.map(({ kind, text }) => [kind, text])).toEqual([
      ['firing', 'temp of stove is 80, and the limit is 30'],
      ['acknowledged', null],
      ['comment', 'on my way'],
      ['resolved', 'at 20'],
      ['comment', 'the door was open'],
    ]);
    await client.endAsync();
  });

  it('a receiver can be tried, and says what it answered', async () => {
    for (const receiver of ['hook', 'mail', 'router']) {
      const tried = await muster(scene.address, 'alert', 'test', receiver, '--json');
      expect([receiver, JSON.parse(tried.stdout)]).toMatchObject([receiver, { outcome: 'delivered', kind: 'test' }]);
    }
    const unknown = await muster(scene.address, 'alert', 'test', 'nobody');
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('there is no receiver nobody')]);
    const { stdout } = await muster(scene.address, 'alert', 'receivers');
    expect(stdout).toContain('ops@example.org');
    expect(stdout).not.toContain('whsec_');
  });

  it('what automation asks to tell is told once', async () => {
    const notice = `INSERT INTO notice (at, rule, subject, severity, text) VALUES (now(), 'evening', 'hall', 'info', 'lights are on')`;
    await psql(scene.address, `${notice}; NOTIFY muster_notice`);
    await vi.waitFor(() => expect(hooked('hall').map(({ type }) => type)).toEqual(['notice']), { timeout: 10_000 });
    await vi.waitFor(() => expect(mailed('hall')).toHaveLength(1), { timeout: 10_000 });
    await delay(SETTLED_MS);
    expect([hooked('hall').length, mailed('hall').length]).toEqual([1, 1]);
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
      hooked('mosquitto-0').filter(({ data }) => data.alerts.some(({ rule }) => rule === 'broker-lost')),
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

    await temperature(client, 'quiet-1', 20);
    for (let step = 0; step < 6; step += 1) {
      await temperature(client, 'pot-1', 20 + 4 * step);
      await delay(500);
    }
    expect((await scene.alert('rises', 'pot-1', 'firing')).value).toBeGreaterThan(5);
    await scene.alert('silent', 'quiet-1', 'firing');
    await temperature(client, 'quiet-1', 20);
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
    for (const rule of ['flaps', 'silent', 'rises', 'drops', 'hoard', 'letters', 'busy'])
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
