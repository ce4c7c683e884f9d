import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { DecommissionReport, FleetSummary } from '@muster/contract';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, missingProgram, muster, psql, publish, retained } from './system.ts';
import { Terminal } from './tmux.ts';
import { deviceRequests } from './device-requests.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile(['--brokers', '2']);
const { search, send, bulk } = deviceRequests(system);
const MAIN = path.join(import.meta.dirname, '../apps/cli/dist/main.js');
const files = mkdtempSync(path.join(tmpdir(), 'muster-devices-'));
const inFiles = (name: string): string => path.join(files, name);

const open: Terminal[] = [];

afterEach(async () => {
  for (const terminal of open.splice(0)) await terminal.close();
});

async function found(q: string): Promise<string> {
  const { status, ids, detail } = await search(q);
  return status === 200 ? ids.join(' ') : detail;
}

/** A device that says something of itself, and that telemetry tells of. */
async function aDevice(id: string, temp: number, firmware: string): Promise<void> {
  const topic = `devices/${id}`;
  await publish(system.address, '-t', `${topic}/status`, '-m', 'online', '-r', '-q', '1');
  await publish(
    system.address,
    '-t',
    `${topic}/info`,
    '-m',
    JSON.stringify({ model: 'ESP32-C3', firmware }),
    '-r',
    '-q',
    '1',
  );
  await publish(system.address, '-t', `${topic}/telemetry`, '-m', JSON.stringify({ temp }), '-q', '1');
  await vi.waitFor(
    async () =>
      expect(await deviceOf(system.address, id)).toMatchObject({
        ...{ presence: { state: 'online' }, info: { firmware }, readings: { temp: { value: temp } } },
      }),
    { timeout: 10_000 },
  );
}

describe('tags, groups and search', { timeout: 120_000 }, () => {
  it('find the devices that are meant', async () => {
    await aDevice('roof1', 31, '1.9.0');
    await aDevice('roof2', 20, '1.10.0');
    await aDevice('cellar', 12, 'v1.10.0-rc1');
    expect((await send('PATCH', '/devices/roof1', { tags: ['Roof', 'site:7', 'roof'] })).body).toMatchObject({
      ...{ tags: ['roof', 'site:7'], state: 'registered' },
    });
    expect((await send('POST', '/groups', { name: 'House', description: 'all of it' })).body).toMatchObject({
      ...{ name: 'house', description: 'all of it', devices: 0 },
    });
    for (const id of ['roof1', 'cellar']) expect((await send('PUT', `/groups/house/devices/${id}`)).status).toBe(204);
    expect((await send('PUT', '/groups/house/devices/cellar')).status).toBe(204);
    expect((await send('GET', '/groups')).body).toMatchObject({ items: [{ name: 'house', devices: 2 }] });
    expect(await deviceOf(system.address, 'cellar')).toMatchObject({ groups: ['house'], tags: [] });
    expect([
      await found('presence:online fw:<1.10'),
      await found('tag:roof group:house last.temp:>30 model:esp32* broker:mosquitto-0 seen:<10m'),
      await found('-group:house'),
      await found('id:roof* -tag:site:*'),
      await found('state:registered,discovered CELL'),
      await found('fw:>=1.10'),
      await found('seen:never'),
    ]).toEqual(['cellar roof1', 'roof1', 'roof2', 'roof2', 'cellar', 'roof2', '']);
  });

  it('are counted by group and by broker', async () => {
    const { body } = await curl(system.address, '/api/v1/presence/summary');
    const { devices, byGroup, byBroker } = body as FleetSummary;
    const short = (list: FleetSummary['byGroup']): unknown =>
      list.map(({ name, devices: count, presence }) => [name, count, presence.online]);
    expect([devices, short(byGroup), short(byBroker)]).toEqual([
      3,
      [
        ['house', 2, 2],
        [null, 1, 1],
      ],
      [['mosquitto-0', 3, 3]],
    ]);
  });

  it('take what is wrong as wrong, and what is hostile as text', async () => {
    expect(await found('tag:roof colour:red')).toMatch(/position 10: there is no field "colour"; expected one of id,/);
    expect(await found('presence:gone')).toMatch(/position 10: not a value of presence; expected one of online,/);
    expect((await search('x'.repeat(1_001))).status).toBe(422);
    expect((await search('\u0001%_\\')).ids).toEqual([]);
    for (const hostile of [
      `'; DROP TABLE device; --`,
      `tag:"') OR 1=1; --"`,
      `id:"' UNION SELECT hash FROM api_token --"`,
      `fw:"1'"`,
      `last.temp:"1 OR 1=1"`,
      '$(reboot)',
      '${jndi:ldap}',
      '"\\\\" "\\""',
    ])
      expect([hostile, await search(hostile)]).toEqual([hostile, { status: 200, ids: [], detail: '' }]);
    expect(await psql(system.address, 'SELECT count(*) FROM device')).toBe('3');
    for (const route of ['/groups/a%2Fb', '/groups/..', '/groups/%2B', `/groups/${'x'.repeat(51)}`])
      expect([404, 422]).toContain((await send('GET', route)).status);
    for (const route of ['/groups/house/devices/%23', '/groups/house/devices/%2B', '/groups/house/devices/a%00'])
      expect((await send('PUT', route)).status).toBe(422);
    expect((await send('PUT', '/groups/house/devices/nobody')).status).toBe(404);
    expect((await send('PUT', '/groups/nothing/devices/roof1')).status).toBe(404);
    expect((await send('POST', '/groups', { name: 'house' })).status).toBe(409);
    for (const tags of [['a b'], ['-x'], [''], ['x'.repeat(51)], Array.from({ length: 33 }, (_, n) => `t${n}`), 'roof'])
      expect((await send('PATCH', '/devices/roof1', { tags })).status).toBe(422);
    expect((await deviceOf(system.address, 'roof1')).tags).toEqual(['roof', 'site:7']);
  });

  it('work from the command line', async () => {
    const list = await muster(system.address, 'device', 'list', '--search', 'tag:roof', '--json');
    expect((JSON.parse(list.stdout) as { id: string }[]).map(({ id }) => id)).toEqual(['roof1']);
    expect(await muster(system.address, 'device', 'ls', '--search', 'tag:')).toMatchObject({
      ...{ code: 1, stdout: '', stderr: expect.stringContaining('position 5: tag: has no value here') },
    });
    expect(
      await muster(system.address, 'device', 'tag', 'roof1', 'roof2', '--add', 'North,x', '--remove', 'site:7'),
    ).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^1 of 2 selected devices is untagged\n[^]*roof2 +it has none[^]*\n2 of 2 selected devices are tagged\n$/,
      ),
    });
    expect((await deviceOf(system.address, 'roof1')).tags).toEqual(['north', 'roof', 'x']);
    expect((await muster(system.address, 'device', 'show', 'roof1')).stdout).toMatch(
      /^tags {7}north, roof, x\ngroups {5}house$/m,
    );
    expect(await muster(system.address, 'device', 'tag', 'roof1', 'nobody', '--add', 'x')).toMatchObject({
      ...{ code: 1, stdout: expect.stringMatching(/nobody +no such device/) },
    });
    expect(await muster(system.address, 'device', 'tag', 'roof1')).toMatchObject({ code: 2 });
    expect(await muster(system.address, 'device', 'tag', 'roof1', '--add', 'a b')).toMatchObject({ code: 2 });
    expect(await muster(system.address, 'group', 'ls')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/house +2 +all of it/),
    });
    expect(await muster(system.address, 'group', 'create', 'attic')).toMatchObject({
      code: 0,
      stdout: 'attic is made\n',
    });
    expect(await muster(system.address, 'group', 'add', 'attic', 'roof1', 'roof2')).toMatchObject({ code: 0 });
    expect(await muster(system.address, 'group', 'remove', 'attic', 'roof2', '--json')).toMatchObject({ code: 0 });
    expect((await muster(system.address, 'group', 'show', 'attic')).stdout).toMatch(
      /^attic\n\nDEVICE +PRESENCE +NAME\nroof1 +online +-\n$/,
    );
    expect(JSON.parse((await muster(system.address, 'group', 'show', 'attic', '--json')).stdout)).toMatchObject({
      members: ['roof1'],
    });
    expect(await muster(system.address, 'group', 'delete', 'attic')).toMatchObject({ code: 0 });
    expect(await muster(system.address, 'group', 'show', 'attic')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('404'),
    });
    expect(await deviceOf(system.address, 'roof1')).toMatchObject({ groups: ['house'] });
  });
});

describe('a bulk action', { timeout: 120_000 }, () => {
  it('is shown, limited, and refused where the selection has changed', async () => {
    const action = { action: 'tag', tags: ['spring'], select: { q: 'id:roof*' } };
    expect((await bulk({ ...action, preview: true })).body).toMatchObject({
      selected: 2,
      changed: 2,
      devices: ['roof1', 'roof2'],
    });
    expect(await bulk({ ...action, limit: 1 })).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('nothing was changed') },
    });
    expect(await bulk({ ...action, expect: 3 })).toMatchObject({ status: 409 });
    expect(await found('tag:spring')).toBe('');
    expect(await bulk({ ...action, expect: 2 })).toMatchObject({ status: 200, body: { changed: 2, skips: [] } });
    expect((await bulk({ ...action, select: { ids: ['roof1', 'nobody'] } })).body.skips).toMatchObject([
      { device: 'nobody', code: 'unknown' },
      { device: 'roof1', code: 'unchanged' },
    ]);
    for (const [body, status] of [
      [{ ...action, select: { ids: ['+/#'] } }, 422],
      [{ ...action, select: { q: 'colour:red' } }, 422],
      [{ ...action, select: { q: '' } }, 422],
      [{ ...action, tags: ['#'] }, 422],
      [{ ...action, action: 'explode' }, 422],
      [{ ...action, limit: 10_001 }, 422],
      [{ action: 'group', group: 'nothing', select: { q: 'id:*' } }, 404],
      [{ ...action, select: { ids: Array.from({ length: 3_001 }, (_, n) => `d${n}`) } }, 422],
      [{ ...action, select: { ids: Array.from({ length: 9_000 }, (_, n) => `${'d'.repeat(40)}${n}`) } }, 413],
    ] as const) {
      const file = inFiles('body.json');
      writeFileSync(file, JSON.stringify(body));
      const how = ['-X', 'POST', '-H', 'content-type: application/json', '-d', `@${file}`];
      expect([status, (await curl(system.address, '/api/v1/devices/bulk', ...how)).status]).toEqual([status, status]);
    }
  });

  it(
    'asks at a terminal, and needs --yes where there is none',
    { skip: missingProgram('tmux') !== undefined },
    async () => {
      const words = ['device', 'bulk', 'tag', '--search', 'id:roof*', '--tags', 'asked'];
      expect(await muster(system.address, ...words)).toMatchObject({
        code: 2,
        stdout: '2 of 2 selected devices would be tagged\nroof1 roof2\n',
        stderr: expect.stringContaining('--yes does it'),
      });
      const environment = { MUSTER_URL: system.address.api.url, MUSTER_TOKEN: system.address.api.token };
      for (const [answer, tagged] of [
        ['n', ''],
        ['y', 'roof1 roof2'],
      ] as const) {
        const terminal = await Terminal.open({
          command: `node ${MAIN} device bulk tag --search 'id:roof*' --tags asked`,
          environment,
        });
        open.push(terminal);
        await terminal.untilShown(/tag 2 devices\? \[y\/N\]/);
        await terminal.press(answer, 'Enter');
        await terminal.untilShown(answer === 'y' ? /left with 0/ : /nothing was changed[^]*left with 1/);
        expect(await found('tag:asked')).toBe(tagged);
      }
      expect(
        await muster(
          system.address,
          'device',
          'bulk',
          'untag',
          '--search',
          'id:*',
          '--tags',
          'asked',
          '--yes',
          '--json',
        ),
      ).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^\{"action":"untag","preview":false,"selected":3,"changed":2,/),
      });
      expect(await muster(system.address, 'device', 'bulk', 'tag', '--search', 'id:*', '--yes')).toMatchObject({
        code: 2,
      });
      expect(await muster(system.address, 'device', 'bulk', 'group', '--search', 'id:*', '--yes')).toMatchObject({
        code: 2,
      });
    },
  );

  it('decommissions devices, each with its proof', { timeout: 120_000 }, async () => {
    const ids = Array.from({ length: 25 }, (_, n) => `old-${n}`);
    for (const id of ids) await publish(system.address, '-t', `devices/${id}/status`, '-m', 'online', '-r', '-q', '1');
    await vi.waitFor(async () => expect((await search('id:old-*')).ids).toHaveLength(25), { timeout: 10_000 });
    const preview = await muster(system.address, 'device', 'bulk', 'decommission', '--search', 'id:old-*', '--dry-run');
    expect([preview.code, preview.stdout]).toEqual([
      0,
      expect.stringContaining('25 of 25 selected devices would be decommissioned'),
    ]);
    expect(await retained(system.address, 'devices/old-3/#')).toHaveLength(1);
    const { status, body } = await bulk({ action: 'decommission', select: { q: 'id:old-*' }, expect: 25 });
    expect([status, body.changed, [...body.devices].sort(), body.follow]).toEqual([
      ...[202, 25, [...ids].sort(), '/api/v1/devices/{device}/decommission'],
    ]);
    await vi.waitFor(
      async () => {
        for (const id of ids) {
          const report = await curl(system.address, (body.follow ?? '').replace('{device}', id));
          expect((report.body as DecommissionReport).state).toBe('done');
        }
      },
      { timeout: 90_000, interval: 1_000 },
    );
    expect((await retained(system.address, 'devices/+/status')).filter((line) => line.includes('old-'))).toEqual([]);
    expect(await found('id:old-*')).toBe('');
    expect((await search('id:old-* state:decommissioned')).ids).toHaveLength(25);
    expect((await bulk({ action: 'decommission', select: { ids: ['old-1'] } })).body).toMatchObject({
      changed: 0,
      skipped: 1,
    });
  });
});
