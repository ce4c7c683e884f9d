import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger } from '@muster/service';
import { Client } from 'pg';
import { afterAll, afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { Audit, AuditError, type NewAuditEntry } from './audit.ts';

const databases: PrismaClient[] = [];
let url = '';
let database: PrismaClient;
let audit: Audit;

beforeEach(async () => {
  url = await freshDatabase(inject('engines').postgresUrl);
  database = open();
  audit = new Audit(database, createLogger('test', 'fatal'));
});
afterEach(() => audit.close());
afterAll(async () => {
  for (const one of databases) await one.$disconnect();
});

function open(): PrismaClient {
  const opened = openDatabase(url, 'test');
  databases.push(opened);
  return opened;
}

async function sql(text: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

function entry(more: Partial<NewAuditEntry> = {}): NewAuditEntry {
  return {
    ...{ actor: 'ada', scope: 'operator', action: 'PATCH /api/v1/devices/{id}', subject: 'lab1', outcome: 'begun' },
    ...{ status: null, begun: null, detail: { from: '127.0.0.1', body: { name: 'Lab', big: 1e21, small: 1e-7 } } },
    ...more,
  };
}

describe('the audit log in PostgreSQL', () => {
  it('chains entries that several registries add at the same time, without a gap', async () => {
    const [second, third] = [open(), open()].map((one) => new Audit(one, createLogger('test', 'fatal')));
    if (second === undefined || third === undefined) expect.fail('no registries');
    const added = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        [audit, second, third].map((one) => one.append(entry({ subject: `d${index}` }))),
      ).flat(),
    );
    expect(added.map(({ id }) => id).sort((one, other) => one - other)).toEqual(
      Array.from({ length: 150 }, (_, index) => index + 1),
    );
    expect(await audit.verify()).toMatchObject({ entries: 150, broken: null });
    await second.close();
    await third.close();
  });

  it('reads again what was added, by subject and actor, the newest first, page by page', async () => {
    for (let index = 0; index < 7; index += 1) await audit.append(entry({ subject: index % 2 === 0 ? 'even' : 'odd' }));
    const done = await audit.append(entry({ actor: 'bob', outcome: 'done', status: 200, begun: 7 }));
    const first = await audit.page({ limit: 3 });
    expect(first.items.map(({ id }) => id)).toEqual([8, 7, 6]);
    expect(first.items[0]).toEqual(done);
    const second = await audit.page({ limit: 10, cursor: first.next ?? '' });
    expect([second.items.map(({ id }) => id), second.next]).toEqual([[5, 4, 3, 2, 1], null]);
    expect((await audit.page({ limit: 10, subject: 'odd' })).items.map(({ id }) => id)).toEqual([6, 4, 2]);
    expect((await audit.page({ limit: 10, actor: 'bob' })).items).toEqual([done]);
  });

  it('records how something ended with what was begun', async () => {
    const begun = await audit.append(entry());
    for (const status of [200, 404, 500]) await audit.conclude(begun, status);
    const { items } = await audit.page({ limit: 3 });
    expect(items.map(({ outcome, status, begun: of, subject }) => [outcome, status, of, subject])).toEqual([
      ['failed', 500, 1, 'lab1'],
      ['refused', 404, 1, 'lab1'],
      ['done', 200, 1, 'lab1'],
    ]);
  });

  it.each(['UPDATE audit_entry SET actor = NULL', 'DELETE FROM audit_entry', 'TRUNCATE audit_entry'])(
    'refuses %s to everybody, also where there is nothing to change',
    async (statement) => {
      await expect(sql(statement)).rejects.toThrow(/the audit log is append-only/);
      await audit.append(entry());
      await expect(sql(statement)).rejects.toThrow(/the audit log is append-only/);
      expect(await audit.verify()).toMatchObject({ entries: 1, broken: null });
    },
  );

  it('finds what somebody changed who may disable the trigger', async () => {
    for (let index = 0; index < 5; index += 1) await audit.append(entry());
    const tamper = (statement: string): Promise<void> =>
      sql(`ALTER TABLE audit_entry DISABLE TRIGGER ALL; ${statement}; ALTER TABLE audit_entry ENABLE TRIGGER ALL`);
    const { head } = await audit.verify();
    await tamper(`UPDATE audit_entry SET detail = jsonb_set(detail, '{body,name}', '"Other"') WHERE id = 3`);
    expect(await audit.verify()).toMatchObject({
      entries: 2,
      broken: { id: 3, why: expect.stringContaining('changed') },
    });
    await tamper(`DELETE FROM audit_entry WHERE id = 3`);
    expect(await audit.verify()).toMatchObject({
      entries: 2,
      broken: { id: 4, why: expect.stringContaining('missing') },
    });
    await tamper(`DELETE FROM audit_entry WHERE id > 2`);
    const cut = await audit.verify();
    expect(cut).toMatchObject({ entries: 2, broken: null });
    expect(cut.head).not.toBe(head);
  });

  it('goes on behind the newest entry that there is, should the table be another one than it was', async () => {
    for (let index = 0; index < 4; index += 1) await audit.append(entry());
    await sql(
      'ALTER TABLE audit_entry DISABLE TRIGGER ALL; DELETE FROM audit_entry WHERE id > 2; ALTER TABLE audit_entry ENABLE TRIGGER ALL',
    );
    expect((await audit.append(entry())).id).toBe(3);
    expect(await audit.verify()).toMatchObject({ entries: 3, broken: null });
  });

  it('loses none of several entries for one that PostgreSQL will never take', async () => {
    const results = await Promise.allSettled([
      audit.append(entry({ subject: 'good' })),
      audit.append(entry({ subject: 'bad', detail: { text: 'a\0b' } })),
      audit.append(entry({ subject: 'good too' })),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await audit.verify()).toMatchObject({ entries: 2, broken: null });
  });

  it('says that it cannot be written, and takes the next entry when it can', async () => {
    await sql('ALTER TABLE audit_entry RENAME TO elsewhere');
    await expect(audit.append(entry())).rejects.toThrow(AuditError);
    await sql('ALTER TABLE elsewhere RENAME TO audit_entry');
    expect((await audit.append(entry())).id).toBe(1);
  });

  it('tries again to record how something ended, until it is on record', async () => {
    const begun = await audit.append(entry());
    await sql('ALTER TABLE audit_entry RENAME TO elsewhere');
    await audit.conclude(begun, 200);
    await sql('ALTER TABLE elsewhere RENAME TO audit_entry');
    await audit.close();
    expect((await audit.page({ limit: 1 })).items).toMatchObject([{ outcome: 'done', begun: 1 }]);
  });
});
