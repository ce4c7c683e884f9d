import { setTimeout as delay } from 'node:timers/promises';
import { auditPageSchema, type AuditEntry, type AuditVerification } from '@muster/contract';
import { describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, muster, newToken, psql, publish, statusAs } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();

describe('the audit log', () => {
  const entries = async (query: string): Promise<readonly AuditEntry[]> =>
    auditPageSchema.parse((await curl(system.address, `/api/v1/audit?${query}`)).body).items;
  const verification = async (): Promise<AuditVerification> =>
    (await curl(system.address, '/api/v1/audit/verify')).body as AuditVerification;

  it('has every change twice: that it was begun, and how it ended; and no secret', async () => {
    await publish(system.address, '-q', '1', '-r', '-t', 'devices/audited/status', '-m', 'online');
    await vi.waitFor(async () => expect((await deviceOf(system.address, 'audited')).presence.state).toBe('online'), {
      timeout: 5_000,
    });
    const patch = (body: string): ReturnType<typeof curl> =>
      curl(system.address, '/api/v1/devices/audited', '-X', 'PATCH', '--json', body);
    expect((await patch('{"name":"Audited"}')).status).toBe(200);
    expect((await patch('{"name":"x","password":"hunter2"}')).status).toBe(422);
    expect((await curl(system.address, '/api/v1/devices/audited/decommission?dryRun=true', '-X', 'POST')).status).toBe(
      200,
    );
    const actor = expect.any(String) as string;
    expect(
      (await entries('subject=audited')).map(({ hash: _, previousHash: __, id: ___, at: ____, begun, ...rest }) => ({
        ...rest,
        isEnd: begun !== null,
      })),
    ).toMatchObject([
      { action: 'POST /api/v1/devices/{id}/decommission', outcome: 'done', status: 200, isEnd: true },
      { action: 'POST /api/v1/devices/{id}/decommission', outcome: 'begun', detail: { query: { dryRun: 'true' } } },
      { action: 'PATCH /api/v1/devices/{id}', outcome: 'refused', status: 422, isEnd: true },
      { action: 'PATCH /api/v1/devices/{id}', outcome: 'begun', detail: { body: { name: 'x', password: '[hidden]' } } },
      { action: 'PATCH /api/v1/devices/{id}', outcome: 'done', status: 200, actor, scope: 'admin', isEnd: true },
      { action: 'PATCH /api/v1/devices/{id}', outcome: 'begun', status: null, detail: { body: { name: 'Audited' } } },
    ]);
    expect(await psql(system.address, `SELECT count(*) FROM audit_entry WHERE detail::text LIKE '%hunter2%'`)).toBe(
      '0',
    );
  });

  it('has what is done by the services behind the registry', async () => {
    expect((await curl(system.address, '/api/v1/mode', '-X', 'PUT', '--json', '{"mode":"evening"}')).status).toBe(200);
    expect(
      (
        await curl(
          system.address,
          '/api/v1/alerts/0b5e1c7a-2f5c-4d0e-9b1a-3f1d2c4b5a69/acknowledge',
          '-X',
          'POST',
          '--json',
          '{}',
        )
      ).status,
    ).toBe(404);
    const [ended, begun] = await entries('limit=2&subject=0b5e1c7a-2f5c-4d0e-9b1a-3f1d2c4b5a69');
    expect(ended).toMatchObject({
      action: 'POST /api/v1/alerts/{id}/acknowledge',
      outcome: 'refused',
      status: 404,
      begun: begun?.id,
    });
    expect((await entries('limit=20')).filter(({ action }) => action === 'PUT /api/v1/mode')).toMatchObject([
      { outcome: 'done', status: 200 },
      { outcome: 'begun', detail: { body: { mode: 'evening' } } },
    ]);
  });

  it('has what was refused before it came to anything, with who tried, and nothing of who only looked', async () => {
    const { token } = await newToken(system.address, 'looker', 'viewer');
    const device = `${system.address.api.url}/api/v1/devices/audited`;
    const [newest] = await entries('limit=1');
    expect(await statusAs(token, '-X', 'PATCH', '--json', '{"name":"y"}', device)).toBe(403);
    expect(await statusAs('wrong', '-X', 'DELETE', `${device}/credentials`)).toBe(401);
    expect(await statusAs(token, '-X', 'PATCH', '--json', '{"name":', device)).toBe(400);
    expect(await statusAs(token, device)).toBe(200);
    await vi.waitFor(
      async () =>
        expect(
          (await entries('limit=3')).map(({ actor, action, outcome, status: code }) => [actor, action, outcome, code]),
        ).toEqual([
          [null, 'PATCH /api/v1/devices/{id}', 'refused', 400],
          [null, 'DELETE /api/v1/devices/{id}/credentials', 'refused', 401],
          ['looker', 'PATCH /api/v1/devices/{id}', 'refused', 403],
        ]),
      { timeout: 3_000 },
    );
    expect((await entries('limit=1'))[0]?.id).toBe((newest?.id ?? 0) + 3);
    expect(await statusAs(token, `${system.address.api.url}/api/v1/audit`)).toBe(403);
  });

  it('cannot be filled by anybody without a token', async () => {
    const [before] = await entries('limit=1');
    const url = `${system.address.api.url}/api/v1/devices/x`;
    await Promise.all(Array.from({ length: 300 }, () => fetch(url, { method: 'DELETE' })));
    await delay(500);
    const [after] = await entries('limit=1');
    expect((after?.id ?? 0) - (before?.id ?? 0)).toBeLessThanOrEqual(60);
  });

  it('is asked for nothing to be changed: where it cannot be written, 503, and nothing is', async () => {
    await psql(system.address, 'ALTER TABLE audit_entry RENAME TO audit_away');
    try {
      const refused = await curl(
        system.address,
        '/api/v1/devices/audited',
        '-X',
        'PATCH',
        '--json',
        '{"name":"Unseen"}',
      );
      expect(refused).toMatchObject({
        status: 503,
        body: { detail: expect.stringContaining('nothing was changed') as string },
      });
    } finally {
      await psql(system.address, 'ALTER TABLE audit_away RENAME TO audit_entry');
    }
    expect((await deviceOf(system.address, 'audited')).name).toBe('Audited');
    expect(
      (await curl(system.address, '/api/v1/devices/audited', '-X', 'PATCH', '--json', '{"name":"Seen"}')).status,
    ).toBe(200);
  });

  it('is listed and verified by muster audit; what a superuser changed is found', async () => {
    const whole = await verification();
    expect(whole).toMatchObject({ broken: null });
    const listed = await muster(system.address, 'audit', '--subject', 'audited', '--limit', '2');
    expect(listed.stdout).toMatch(
      /ENTRY +AT +WHO +ACTION[\s\S]*PATCH \/api\/v1\/devices\/\{id\} +audited +done 200 of \d+/,
    );
    const verified = await muster(system.address, 'audit', '--verify');
    expect([verified.code, verified.stdout]).toEqual([
      0,
      expect.stringMatching(/^\d+ entries, each as it was written/),
    ]);
    await expect(psql(system.address, 'DELETE FROM audit_entry')).rejects.toThrow(/append-only/);
    await psql(
      system.address,
      `ALTER TABLE audit_entry DISABLE TRIGGER ALL; UPDATE audit_entry SET actor = 'nobody' WHERE id = 5; ALTER TABLE audit_entry ENABLE TRIGGER ALL`,
    );
    expect(await verification()).toMatchObject({
      entries: 4,
      broken: { id: 5, why: expect.stringContaining('changed') as string },
    });
    expect(await muster(system.address, 'audit', '--verify')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('broken at entry 5') as string,
    });
  });
});
