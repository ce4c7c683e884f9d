import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { FleetSummary, Group, ImportResult, Problem } from '@muster/contract';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { authorization, curl, deviceOf, execute, muster, newToken, psql, publish, statusAs } from './system.ts';
import { deviceRequests } from './device-requests.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();
const { search, send, bulk } = deviceRequests(system);
const MANY = 10_000;
/** By which the REST API is to have done something with 10,000 devices; it takes some 1 to 3 s. */
const MANY_LIMIT_MS = 20_000;
const files = mkdtempSync(path.join(tmpdir(), 'muster-devices-'));
const inFiles = (name: string): string => path.join(files, name);

beforeAll(async () => {
  await publish(system.address, '-t', 'devices/old-1/status', '-m', 'online', '-r', '-q', '1');
  await vi.waitFor(async () => expect((await curl(system.address, '/api/v1/devices/old-1')).status).toBe(200), {
    timeout: 10_000,
  });
  await send('POST', '/devices/old-1/decommission');
});

async function importFile(file: string, type: string, query = ''): ReturnType<typeof curl> {
  const how = ['-X', 'POST', '-H', `content-type: ${type}`, '-H', 'expect:', '--data-binary', `@${file}`];
  return curl(system.address, `/api/v1/devices/import${query}`, ...how);
}

describe('files of devices', { timeout: 120_000 }, () => {
  it('come in as a spreadsheet saves them, and are refused row by row', async () => {
    const file = inFiles('sheet.csv');
    writeFileSync(
      file,
      '\ufeffid;name;tags;groups\r\nimp1;"Lamp ""left""; upper";roof site:7;house attic\r\nimp2;"two\r\nlines";;\r\nimp3;\'=1+1;;\r\n',
    );
    expect((await importFile(file, 'text/csv', '?preview=true')).body).toMatchObject({
      ...{ preview: true, created: 3, groupsCreated: ['attic', 'house'] },
    });
    expect((await send('GET', '/devices/imp1')).status).toBe(404);
    expect(await muster(system.address, 'device', 'import', file)).toMatchObject({
      ...{ code: 0, stdout: '3 rows: 3 created, 0 changed, 0 unchanged, 0 refused\ngroups made: attic, house\n' },
    });
    expect(await deviceOf(system.address, 'imp1')).toMatchObject({
      ...{ name: 'Lamp "left"; upper', tags: ['roof', 'site:7'], groups: ['attic', 'house'], state: 'registered' },
    });
    expect((await deviceOf(system.address, 'imp2')).name).toBe('two\r\nlines');
    expect((await deviceOf(system.address, 'imp3')).name).toBe('=1+1');

    writeFileSync(file, 'id,name\nold-1,x\na/+,x\nimp9,"one\ntwo"\nimp9,x\nimp8\n');
    const refused = await importFile(file, 'text/csv');
    expect(refused).toMatchObject({
      status: 422,
      body: { detail: expect.stringContaining('4 of 5 rows cannot be taken, and nothing was imported') },
    });
    expect((refused.body as Problem).errors?.map(({ line, path: field }) => [line, field])).toEqual([
      ...[
        [2, 'id'],
        [3, 'id'],
        [6, 'id'],
        [7, ''],
      ],
    ]);
    const said = await muster(system.address, 'device', 'import', file);
    expect([said.code, said.stdout]).toEqual([1, '']);
    expect(said.stderr).toContain(`${file}:2:1 id: old-1 was decommissioned and must stay silent; take another id`);
    expect((await send('GET', '/devices/imp9')).status).toBe(404);
    expect(await muster(system.address, 'device', 'import', file, '--partial')).toMatchObject({
      ...{
        code: 1,
        stdout: expect.stringMatching(
          /^5 rows: 1 created, 0 changed, 0 unchanged, 4 refused\n\nLINE +FIELD +FAULT\n2 +id +old-1/,
        ),
      },
    });
    expect((await deviceOf(system.address, 'imp9')).name).toBe('one\ntwo');
  });

  it('are refused as a whole where they are none', async () => {
    const file = inFiles('bad');
    for (const [content, type, status, why] of [
      ['name\nx\n', 'text/csv', 422, 'expected a heading with the column id'],
      ['id,name\na,"x', 'text/csv', 422, 'Quote Not Closed'],
      ['{"id":"a"}', 'application/json', 422, 'expected a JSON array'],
      ['[{"id":', 'application/json', 422, 'not JSON'],
      ['', 'text/csv', 422, 'expected a heading'],
      ['id\na\n', 'application/x-www-form-urlencoded', 415, 'expected Content-Type text/csv or application/json'],
      [`id\n${'a\n'.repeat(20_001)}`, 'text/csv', 422, 'at most 20000'],
      [`id,name\na,${'x'.repeat(17 * 1_048_576)}\n`, 'text/csv', 413, 'more than 16 MiB; divide it'],
    ] as const) {
      writeFileSync(file, content);
      expect(await importFile(file, type)).toMatchObject({ status, body: { detail: expect.stringContaining(why) } });
    }
    writeFileSync(file, Buffer.from([0x69, 0x64, 0x0a, 0xe4, 0x0a]));
    expect(await importFile(file, 'text/csv')).toMatchObject({
      status: 422,
      body: { detail: expect.stringContaining('not UTF-8') },
    });
    expect((await importFile(file, 'text/csv', '?colour=red')).status).toBe(422);
    expect((await send('GET', '/devices/export?format=xml')).status).toBe(422);
    expect((await send('GET', '/devices/export?format=csv&q=colour:red')).status).toBe(422);
    expect((await send('GET', '/devices/export')).body).toMatchObject({
      detail: 'no device export has been heard or registered',
    });
    expect(await muster(system.address, 'device', 'export', inFiles('x.txt'))).toMatchObject({ code: 2 });
    expect(await muster(system.address, 'device', 'import', inFiles('nothing.csv'))).toMatchObject({ code: 2 });
    expect(await muster(system.address, 'device', 'export', '/nowhere/x.csv')).toMatchObject({ code: 1 });
  });

  it('are whole, or not there: an export that fails on its way leaves nothing', async () => {
    const file = inFiles('broken.csv');
    const hidden = psql(
      system.address,
      'BEGIN; LOCK TABLE device_group_member; SELECT pg_sleep(5); ALTER TABLE device_group_member RENAME TO hidden; COMMIT',
    );
    try {
      await delay(500);
      const [byCurl, byCommand] = await Promise.all([
        execute('curl', [
          '-s',
          '-H',
          authorization(system.address),
          `${system.address.api.url}/api/v1/devices/export?format=csv`,
        ]),
        muster(system.address, 'device', 'export', file),
      ]);
      expect(byCurl).toMatchObject({ code: expect.any(Number), stdout: expect.stringMatching(/^id,name,[a-z,]+\n$/) });
      expect(byCurl.code).not.toBe(0);
      expect(byCommand).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringContaining('there is no half of it'),
      });
      expect(readdirSync(files).filter((name) => name.startsWith('broken'))).toEqual([]);
    } finally {
      await hidden;
      await psql(system.address, 'ALTER TABLE hidden RENAME TO device_group_member');
    }
    expect(await muster(system.address, 'device', 'export', file)).toMatchObject({ code: 0 });
  });

  it('and bulk actions are for operators; export is for everybody who may look', async () => {
    const { token } = await newToken(system.address, 'looker', 'viewer');
    const url = `${system.address.api.url}/api/v1`;
    writeFileSync(inFiles('one.csv'), 'id\nimp1\n');
    const upload = ['-H', 'content-type: text/csv', '--data-binary', `@${inFiles('one.csv')}`, `${url}/devices/import`];
    const change = ['-H', 'content-type: application/json', '-d', '{"action":"decommission","select":{"q":"id:*"}}'];
    expect([
      await statusAs(token, ...upload),
      await statusAs(token, ...change, `${url}/devices/bulk`),
      await statusAs(token, '-X', 'DELETE', `${url}/groups/house`),
      await statusAs(token, `${url}/devices/export?format=csv`),
      await statusAs('muster_wrong', ...upload),
      await statusAs('muster_wrong', `${url}/devices/export?format=csv`),
    ]).toEqual([403, 403, 403, 200, 401, 401]);
  });

  it(
    `with ${MANY} rows come in, are found, changed and go out, and come back as they were`,
    { timeout: 180_000 },
    async () => {
      const file = inFiles('many.csv');
      const rows = Array.from(
        { length: MANY },
        (_, n) =>
          `many-${n},"Sensor ""${n}"", hall",=${n},"site:${n % 50} ${n % 3 === 0 ? 'roof' : 'wall'}",zone-${n % 20}`,
      );
      writeFileSync(file, `\ufeffid,name,description,tags,groups\r\n${rows.join('\r\n')}\r\n`);
      const figures: string[] = [];
      const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
        const startedAt = performance.now();
        const result = await work();
        const tookMs = performance.now() - startedAt;
        figures.push(`${what} ${tookMs.toFixed(0)} ms`);
        expect(tookMs).toBeLessThan(MANY_LIMIT_MS);
        return result;
      };
      const made = await timed('import', () => muster(system.address, 'device', 'import', file, '--json'));
      expect(JSON.parse(made.stdout) as ImportResult).toMatchObject({ created: MANY, groupsCreated: { length: 20 } });
      const page = await timed('search', () => search('tag:roof,site:7 group:zone-1* name:"Sensor "* -tag:site:3'));
      expect(page.ids).toHaveLength(100);
      const action = { action: 'tag', tags: ['year:2026'], select: { q: 'id:many-*' }, limit: MANY };
      expect((await timed('bulk preview', () => bulk({ ...action, preview: true }))).body).toMatchObject({
        changed: MANY,
      });
      expect((await timed('bulk', () => bulk({ ...action, expect: MANY }))).body).toMatchObject({ changed: MANY });
      const { body } = await timed('summary', () => curl(system.address, '/api/v1/presence/summary'));
      expect((body as FleetSummary).byGroup.find(({ name }) => name === 'zone-7')).toMatchObject({
        devices: MANY / 20,
        presence: { unknown: MANY / 20 },
      });
      for (const name of ['out.csv', 'out.json']) {
        const out = await timed(`export ${name}`, () => muster(system.address, 'device', 'export', inFiles(name)));
        expect([out.code, out.stderr]).toEqual([0, '']);
        const back = await timed(`import ${name}`, () =>
          muster(system.address, 'device', 'import', inFiles(name), '--json'),
        );
        expect(JSON.parse(back.stdout)).toMatchObject({ created: 0, updated: 0, unchanged: MANY + 4, refused: 0 });
      }
      expect(
        readFileSync(inFiles('out.csv'), 'utf8')
          .split('\n')
          .filter((line) => /(?:^|,)"?[=+@]/.test(line)),
      ).toEqual([]);
      const some = await muster(system.address, 'device', 'export', '-', '--format', 'csv', '--search', 'id:many-77');
      expect(some.stdout).toContain(
        `many-77,"Sensor ""77"", hall",'=77,site:27 wall year:2026,zone-17,registered,unknown,,,`,
      );
      // What is streamed is not in memory: an export that nobody reads to its end ends with who asked.
      const cut = await execute('bash', [
        '-c',
        `curl -s -H '${authorization(system.address)}' '${system.address.api.url}/api/v1/devices/export?format=json' | head -c 100 | wc -c`,
      ]);
      expect(cut.stdout.trim()).toBe('100');
      const groups = (await send('GET', '/groups')).body as { items: Group[] };
      expect(groups.items.find(({ name }) => name === 'zone-3')?.devices).toBe(MANY / 20);
      process.stderr.write(`${MANY} devices: ${figures.join(', ')}\n`);
    },
  );
});
