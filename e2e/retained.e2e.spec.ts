import type { Drift, OrphanPage, Problem, RetainedPage, SweepReport } from '@muster/contract';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster, publish, retained } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile(['--brokers', '2']);

async function retain(topic: string, payload: string, ...options: readonly string[]): Promise<void> {
  await publish(system.address, '-V', '5', '-t', topic, '-m', payload, '-r', '-q', '1', ...options);
}

/** A device that is in service. */
async function aDevice(id: string): Promise<void> {
  await retain(`devices/${id}/status`, 'online');
  await vi.waitFor(async () => expect((await deviceOf(system.address, id)).state).toBe('discovered'), {
    timeout: 8_000,
  });
}

async function ledger(query: string): Promise<RetainedPage> {
  return (await curl(system.address, `/api/v1/retained?${query}`)).body as RetainedPage;
}

async function topicsOf(query: string): Promise<readonly string[]> {
  return (await ledger(query)).items.map(({ topic }) => topic);
}

async function orphans(): Promise<readonly string[]> {
  const { items } = (await curl(system.address, '/api/v1/retained/orphans')).body as OrphanPage;
  return items.map(({ topic, reason }) => `${topic} ${reason}`);
}

async function sweep(body: object): ReturnType<typeof curl> {
  return curl(
    ...([system.address, '/api/v1/retained/sweep', '-X', 'POST'] as const),
    ...['-H', 'content-type: application/json', '-d', JSON.stringify(body)],
  );
}

/** Until the ledger has come to it: what it hears at once, or what the next sweep over all devices finds. */
async function until(check: () => Promise<void> | void, timeoutMs: number): Promise<void> {
  await vi.waitFor(check, { timeout: timeoutMs, interval: 250 });
}

const HEARD_MS = 5_000;
const SWEPT_MS = 45_000;

/** What only two sweeps find, which take half a minute each: it goes on while other tests run. */
let swept: Promise<void>;
beforeAll(async () => {
  await aDevice('untold');
  await retain('devices/untold/deep/inside', 'x');
  const topics = (): Promise<readonly string[]> => topicsOf('device=untold');
  const sweeps = async (): Promise<void> => {
    await until(async () => expect(await topics()).toContain('devices/untold/deep/inside'), SWEPT_MS);
    await retain('devices/untold/deep/inside', '');
    await until(async () => expect(await topics()).toEqual(['devices/untold/status']), SWEPT_MS);
  };
  swept = sweeps();
  // Whether it failed is for its own test.
  swept.catch(() => undefined);
});

describe('the ledger', { timeout: 90_000 }, () => {
  it('has size, hash, QoS, device and age of what is retained', async () => {
    await aDevice('listed');
    await until(async () => expect(await topicsOf('device=listed')).toEqual(['devices/listed/status']), HEARD_MS);
    const [entry] = (await ledger('device=listed')).items;
    expect(entry).toMatchObject({
      ...{ broker: 'mosquitto-0', device: 'listed', bytes: 6, qos: 1, expiresAt: null, expired: false },
      sha256: 'f6fc84c9f21c24907d6bee6eec38cabab5fa9a7be8c4a7827fe9e56f245bd2d5',
    });
    expect(Date.now() - Date.parse(entry?.firstSeenAt ?? '')).toBeLessThan(30_000);
  });

  it('is asked by broker, by device and by an MQTT filter, a page at a time', async () => {
    for (const id of ['paged-1', 'paged-2', 'paged-3']) await retain(`devices/${id}/config`, '{"version":1}');
    const all = ['devices/paged-1/config', 'devices/paged-2/config', 'devices/paged-3/config'];
    await until(async () => expect(await topicsOf('topic=devices/%2B/config')).toEqual(all), HEARD_MS);
    const first = await ledger('topic=devices/%2B/config&limit=2');
    expect(first.items.map(({ topic }) => topic)).toEqual(all.slice(0, 2));
    const second = await ledger(`topic=devices/%2B/config&limit=2&cursor=${first.next ?? ''}`);
    expect([second.items.map(({ topic }) => topic), second.next]).toEqual([all.slice(2), null]);
    expect(await topicsOf('broker=mosquitto-1&topic=devices/%23')).toEqual([]);
    expect(await topicsOf('topic=devices/paged-2/config')).toEqual(['devices/paged-2/config']);
  });

  it('has topics that a device says it owns, as soon as it says so, and not when it says so no more', async () => {
    await aDevice('owner');
    await retain('garage/door', 'closed');
    await retain('devices/owner/info', '{"topics":["garage/door"]}');
    await until(async () => expect(await topicsOf('device=owner')).toContain('garage/door'), 15_000);
    await retain('garage/door', 'open');
    await until(
      async () => expect((await ledger('topic=garage/door')).items[0]).toMatchObject({ bytes: 4, qos: 1 }),
      HEARD_MS,
    );
    await retain('devices/owner/info', '{}');
    await until(async () => expect(await topicsOf('device=owner')).not.toContain('garage/door'), 15_000);
    await until(async () => expect(await orphans()).toContain('garage/door no-owner'), HEARD_MS);
    await retain('garage/door', '');
  });

  it('P10 marks what has expired by our own clock: the broker tells nobody', async () => {
    await aDevice('brief');
    await retain('devices/brief/config', '{"version":1}', '-D', 'publish', 'message-expiry-interval', '3');
    const entry = async (): Promise<unknown> => (await ledger('topic=devices/brief/config')).items[0];
    await until(async () => expect(await entry()).toMatchObject({ expired: false }), HEARD_MS);
    await until(async () => expect(await entry()).toMatchObject({ expired: true }), HEARD_MS);
  });

  it('goes on over a restart of the registry: what changed meanwhile is right afterwards', async () => {
    await aDevice('meanwhile');
    await retain('devices/meanwhile/config', '{"version":1}');
    await until(async () => expect(await topicsOf('device=meanwhile')).toHaveLength(2), HEARD_MS);
    const before = system.pidOf('registry');
    process.kill(before, 'SIGKILL');
    await retain('devices/meanwhile/config', '');
    await retain('devices/meanwhile/lwt', 'online');
    await until(() => expect(system.pidOf('registry')).not.toBe(before), 30_000);
    await until(
      async () =>
        expect(await topicsOf('device=meanwhile')).toEqual(['devices/meanwhile/lwt', 'devices/meanwhile/status']),
      20_000,
    );
  });

  it.each([
    ['?topic=a/%23/b', 422],
    ['?topic=a%01b', 422],
    ['?topic=', 422],
    ['?device=a%2Fb', 422],
    ['?limit=0', 422],
    ['?cursor=bm9uc2Vuc2U', 422],
    ['?colour=red', 422],
    ['/orphans?limit=5000', 422],
  ])('GET /retained%s is answered with %i', async (query, status) => {
    expect((await curl(system.address, `/api/v1/retained${query}`)).status).toBe(status);
  });
});

describe('orphans', { timeout: 90_000 }, () => {
  it('are shown, and cleared only where that is allowed; what devices in service have is never touched', async () => {
    await aDevice('inservice');
    await retain('devices/nobody-1/config', 'a');
    await retain('devices/nobody-2/config', 'b');
    await retain('devices/no id/info', 'c');
    await until(
      async () =>
        expect(await orphans()).toEqual(
          expect.arrayContaining([
            ...[
              'devices/no id/info no-owner',
              'devices/nobody-1/config no-device',
              'devices/nobody-2/config no-device',
            ],
          ]),
        ),
      HEARD_MS,
    );
    expect((await orphans()).join()).not.toContain('inservice');
    const allow = ['devices/+/config', 'devices/inservice/#'];
    const preview = (await sweep({ allow })).body as SweepReport;
    const shown = preview.items.map(({ topic, outcome }) => `${topic} ${outcome}`);
    expect(shown).toEqual(
      expect.arrayContaining(['devices/nobody-1/config would-clear', 'devices/nobody-2/config would-clear']),
    );
    expect(shown.join()).not.toMatch(/inservice|no id/);
    expect(await retained(system.address, 'devices/nobody-1/#')).toHaveLength(1);

    expect((await sweep({ preview: false, allow, limit: 1 })).status).toBe(409);
    const refused = await sweep({ preview: false, allow, expect: 99 });
    expect([refused.status, (refused.body as Problem).detail]).toEqual([
      409,
      expect.stringContaining('Nothing was cleared'),
    ]);
    expect(await retained(system.address, 'devices/nobody-1/#')).toHaveLength(1);

    const report = (await sweep({ preview: false, allow, expect: preview.count })).body as SweepReport;
    for (const { outcome, reasonCode } of report.items) {
      expect(outcome).toBe('cleared');
      expect([0, 16]).toContain(reasonCode);
    }
    expect(await retained(system.address, 'devices/nobody-1/#')).toEqual([]);
    expect(await retained(system.address, 'devices/inservice/#')).toHaveLength(1);
    expect(await retained(system.address, 'devices/no id/#')).toHaveLength(1);
    await until(async () => expect((await orphans()).join()).not.toContain('nobody'), HEARD_MS);
  });

  it.each([
    [{ allow: [] }, 422],
    [{ allow: ['a/#/b'] }, 422],
    [{ allow: ['a\u0001'] }, 422],
    [{ allow: ['$SYS/#'] }, 422],
    [{ allow: ['muster/#'] }, 422],
    [{ preview: false }, 422],
    [{ allow: ['#'], limit: 0 }, 422],
    [{ allow: ['#'], broker: 'elsewhere' }, 404],
  ])('POST /retained/sweep %j is answered with %i', async (body, status) => {
    expect((await sweep(body)).status).toBe(status);
  });

  it('a viewer sees them, and may not sweep', async () => {
    const created = await muster(system.address, 'token', 'create', 'retained viewer', '--scope', 'viewer', '--json');
    const { token } = JSON.parse(created.stdout) as { readonly token: string };
    const viewer = { ...system.address, api: { ...system.address.api, token } };
    expect((await curl(viewer, '/api/v1/retained/orphans')).status).toBe(200);
    const body = ['-X', 'POST', '-H', 'content-type: application/json', '-d', '{"allow":["#"]}'];
    expect((await curl(viewer, '/api/v1/retained/sweep', ...body)).status).toBe(403);
  });
});

describe('muster retained', { timeout: 90_000 }, () => {
  it('lists, shows orphans and drift, and clears only with --yes where there is no terminal', async () => {
    await aDevice('typed');
    await retain('devices/left-over/config', 'x');
    await until(async () => expect((await orphans()).join()).toContain('left-over'), HEARD_MS);
    const list = await muster(system.address, 'retained', 'list', '--device', 'typed');
    expect(list.stdout).toMatch(/^BROKER +TOPIC +DEVICE[^\n]*\nmosquitto-0 +devices\/typed\/status +typed +6 +1 /);
    expect((await muster(system.address, 'retained', 'orphans')).stdout).toMatch(
      /devices\/left-over\/config +left-over +no-device/,
    );
    const refused = await muster(system.address, 'retained', 'sweep', '--allow', 'devices/left-over/#');
    expect([refused.code, refused.stdout, refused.stderr]).toEqual([
      ...[2, expect.stringContaining('devices/left-over/config'), expect.stringContaining('--yes clears')],
    ]);
    expect(await retained(system.address, 'devices/left-over/#')).toHaveLength(1);
    const preview = await muster(
      system.address,
      'retained',
      'sweep',
      '--allow',
      'devices/left-over/#',
      '--preview',
      '--json',
    );
    expect(JSON.parse(preview.stdout)).toMatchObject({ preview: true, count: 1 });
    const done = await muster(system.address, 'retained', 'sweep', '--allow', 'devices/left-over/#', '--yes');
    expect([done.code, done.stdout]).toEqual([0, expect.stringContaining('1 cleared and looked for again')]);
    expect(await retained(system.address, 'devices/left-over/#')).toEqual([]);
    const drift = JSON.parse((await muster(system.address, 'retained', 'drift', '--json')).stdout) as Drift['brokers'];
    expect(drift.map(({ broker, listening }) => [broker, listening])).toEqual([
      ['mosquitto-0', true],
      ['mosquitto-1', true],
    ]);
    expect((await muster(system.address, 'retained', 'ghosts')).stderr).toContain(
      'no ghosts: decommissioned devices are silent',
    );
    expect((await muster(system.address, 'retained', 'sweep', '--allow', 'a/#/b')).code).toBe(2);
  });
});

describe('the sweeps of the ledger', { timeout: 90_000 }, () => {
  it('find what nobody told: any topic in the subtree of a device', async () => {
    await swept;
  });
});
