import { setTimeout as delay } from 'node:timers/promises';
import type { AlertDetail, Delivery, DeliveryPage, ReceiverList } from '@muster/contract';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ReceivedMail, RoutedNotification } from './alerting/receivers.ts';
import { AlertingScene, SETTLED_MS } from './alerting/scene.ts';
import { curl, missingProgram, muster, psql } from './system.ts';

const reason = missingProgram('prometheus-alertmanager');

const RULES = `rules:
  - { name: device-lost, kind: presence, for: 1s, runbook: docs/operations.md#device-lost }
  - { name: warm, kind: threshold, metric: temp, above: 30, clear: 28 }
`;

describe.skipIf(reason !== undefined)(`alerting${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  let scene: AlertingScene;

  beforeAll(async () => {
    scene = await AlertingScene.start();
    await scene.apply(RULES);
  });
  afterAll(async () => {
    await scene.stop();
  });

  const routed = (subject: string): readonly RoutedNotification[] =>
    scene.hook.routed.filter(({ alerts }) => alerts.some(({ labels }) => labels['subject'] === subject));
  const mailed = (subject: string): readonly ReceivedMail[] =>
    scene.mailbox.mails.filter(({ text }) => text.includes(`subject=${subject}`) || text.includes(`${subject} `));
  /** How often the webhook, Alertmanager and the mailbox were told. */
  const told = (subject: string): readonly number[] => [
    scene.hooked(subject).length,
    routed(subject).length,
    mailed(subject).length,
  ];

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
    await vi.waitFor(() => expect(told('killed')).toEqual([1, 1, 1]), { timeout: 10_000 });
    expect((await scene.alertmanager.active()).map(({ labels }) => labels['subject'])).toContain('killed');
    await delay(SETTLED_MS);
    expect(told('killed')).toEqual([1, 1, 1]);
    await scene.connect('killed');
    await scene.alert('device-lost', 'killed', 'resolved');
    await vi.waitFor(() => expect(told('killed')).toEqual([2, 2, 2]), { timeout: 15_000 });
    expect(scene.hooked('killed').map(({ type }) => type)).toEqual(['alert.firing', 'alert.resolved']);
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
    await vi.waitFor(() => expect(told('between')).toEqual([1, 1, 1]), { timeout: 10_000 });
    await scene.restartAlerting('SIGKILL');
    await delay(SETTLED_MS);
    expect(told('between')).toEqual([1, 1, 1]);
    expect((await scene.alert('device-lost', 'between', 'firing')).id).toBe(id);
    await scene.connect('between');
    await vi.waitFor(() => expect(told('between')).toEqual([2, 2, 2]), { timeout: 15_000 });
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
    await scene.temperature(client, 'oven', 80);
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
    await vi.waitFor(() => expect(scene.hooked('oven')).toHaveLength(1), { timeout: 20_000 });
    const [last, ...before] = await attempts();
    expect([last?.outcome, before.every(({ outcome }) => outcome === 'failed')]).toEqual(['delivered', true]);
    expect(new Set([last, ...before].map((attempt) => attempt?.notification))).toEqual(
      new Set([scene.hooked('oven')[0]?.id]),
    );
    await scene.temperature(client, 'oven', 20);
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
    await scene.temperature(client, 'cellar-1', 80);
    expect(await scene.alert('warm', 'cellar-1', 'firing')).toMatchObject({ silencedBy: id });
    await delay(SETTLED_MS);
    expect([scene.hooked('cellar-1'), routed('cellar-1'), mailed('cellar-1')]).toEqual([[], [], []]);
    expect((await muster(scene.address, 'silence', 'rm', id)).code).toBe(0);
    await vi.waitFor(() => expect(told('cellar-1')).toEqual([1, 1, 1]), { timeout: 10_000 });
    await scene.temperature(client, 'cellar-1', 20);
    await client.endAsync();
  });

  it('a maintenance window does the same, also over a restart', async () => {
    const client = await scene.connect();
    const window = [
      ...['maintenance', 'create', 'works', '--match', 'device=attic-*', '--cron', '* * * * *'],
      ...['--duration', '2m', '--time-zone', 'Europe/Berlin', '--why', 'works', '--json'],
    ];
    expect(JSON.parse((await muster(scene.address, ...window)).stdout)).toMatchObject({
      name: 'works',
      active: true,
    });
    await scene.restartAlerting('SIGTERM');
    await scene.temperature(client, 'attic-1', 80);
    expect(await scene.alert('warm', 'attic-1', 'firing')).toMatchObject({ silencedBy: 'maintenance works' });
    await delay(SETTLED_MS);
    expect([scene.hooked('attic-1'), routed('attic-1'), mailed('attic-1')]).toEqual([[], [], []]);
    expect((await muster(scene.address, 'maintenance', 'rm', 'works')).code).toBe(0);
    await vi.waitFor(() => expect(scene.hooked('attic-1')).toHaveLength(1), { timeout: 10_000 });
    await scene.temperature(client, 'attic-1', 20);
    await client.endAsync();
  });

  it('an alert is acknowledged once, and keeps what people say about it', async () => {
    const client = await scene.connect();
    await scene.temperature(client, 'stove', 80);
    const { id } = await scene.alert('warm', 'stove', 'firing');
    const acknowledged = await muster(scene.address, 'alert', 'ack', id, '--comment', 'on my way', '--json');
    expect(JSON.parse(acknowledged.stdout)).toMatchObject({
      acknowledgedBy: 'muster up',
      comments: [{ actor: 'muster up', text: 'on my way' }],
    });
    const again = await muster(scene.address, 'alert', 'ack', id);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('409: muster up has acknowledged')]);
    await scene.temperature(client, 'stove', 20);
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
    await vi.waitFor(() => expect(scene.hooked('hall').map(({ type }) => type)).toEqual(['notice']), {
      timeout: 10_000,
    });
    await vi.waitFor(() => expect(mailed('hall')).toHaveLength(1), { timeout: 10_000 });
    await delay(SETTLED_MS);
    expect([scene.hooked('hall').length, mailed('hall').length]).toEqual([1, 1]);
  });
});
