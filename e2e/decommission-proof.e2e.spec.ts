import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Credentials, DecommissionReport, DevicePage, Problem, SigningKey } from '@muster/contract';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  authorization,
  curl,
  execute,
  influxql,
  psql,
  runMuster,
  StartedSystem,
  stateFolder,
  type ReadyLine,
} from './system.ts';

const folder = stateFolder();
let system: StartedSystem;
let address: ReadyLine;
let registryPassword: string;

beforeAll(async () => {
  system = await StartedSystem.start(['--devices', '0', '--brokers', '2', '--dir', folder], []);
  ({ address } = system);
  ({ registry: registryPassword } = JSON.parse(readFileSync(path.join(folder, 'secrets.json'), 'utf8')) as {
    registry: string;
  });
});
afterAll(async () => {
  await system.stop();
});

async function connect(url: string, username: string, password: string, expirySeconds = 0): Promise<MqttClient> {
  return connectAsync(url, {
    ...{ protocolVersion: 5, username, password, clientId: username, reconnectPeriod: 0 },
    clean: expirySeconds === 0,
    properties: { sessionExpiryInterval: expirySeconds },
  });
}

/** A device with an account and two retained messages on each broker. */
async function aDevice(id: string): Promise<Credentials> {
  const { status, body } = await curl(address, `/api/v1/devices/${id}/credentials`, '-X', 'POST');
  expect(status).toBe(201);
  const credentials = body as Credentials;
  for (const url of address.broker.urls) {
    const client = await connect(url, id, credentials.password);
    for (const topic of ['status', 'config'])
      await client.publishAsync(`devices/${id}/${topic}`, 'online', { qos: 1, retain: true });
    await client.endAsync();
  }
  return credentials;
}

/** The retained topics of a device, on every broker. */
async function retainedOf(id: string): Promise<readonly string[]> {
  const found = await Promise.all(
    address.broker.serviceUrls.map(async (url, index) => {
      const client = await connectAsync(url, { username: 'muster.registry', password: registryPassword });
      const topics: string[] = [];
      client.on('message', (topic) => topics.push(`${topic} on ${index}`));
      await client.subscribeAsync(`devices/${id}/#`);
      await delay(300);
      await client.endAsync();
      return topics;
    }),
  );
  return found.flat();
}

async function decommission(id: string, query = '?wait=20s'): ReturnType<typeof curl> {
  return curl(address, `/api/v1/devices/${id}/decommission${query}`, '-X', 'POST');
}

async function reportOf(id: string): Promise<DecommissionReport> {
  return (await curl(address, `/api/v1/devices/${id}/decommission`)).body as DecommissionReport;
}

async function whenDone(id: string, timeoutMs: number): Promise<DecommissionReport> {
  return vi.waitFor(
    async () => {
      const report = await reportOf(id);
      expect(report).toMatchObject({ device: id, state: 'done', after: [] });
      return report;
    },
    { timeout: timeoutMs, interval: 250 },
  );
}

describe('the proof of a decommissioning', () => {
  it('is done when every broker has written it to disk and was looked at again', async () => {
    await aDevice('proved');
    const { status, body } = await decommission('proved');
    expect([status, (body as DecommissionReport).state]).toEqual([200, 'verified']);
    const report = await whenDone('proved', 15_000);
    expect(report.steps.map(({ name, state }) => `${name} ${state}`)).toEqual([
      ...['tombstone', 'services', 'account', 'session', 'clear', 'verify', 'save', 'verify-again'].map(
        (name) => `${name} done`,
      ),
    ]);
    expect(report.verification.map(({ broker }) => broker)).toEqual(['mosquitto-0', 'mosquitto-1']);
    for (const { at, savedAt, againAt } of report.verification) {
      expect(savedAt ?? '').not.toBe('');
      expect([at, savedAt, againAt]).toEqual([at, savedAt, againAt].toSorted());
    }
    expect(report.before).toHaveLength(4);
    expect(report.cleared.map(({ broker, topic }) => `${topic} on ${broker}`).sort()).toEqual([
      'devices/proved/config on mosquitto-0',
      'devices/proved/config on mosquitto-1',
      'devices/proved/status on mosquitto-0',
      'devices/proved/status on mosquitto-1',
    ]);
    expect(await retainedOf('proved')).toEqual([]);
  });

  it('R13 has seen every broker let the account in and then refuse it', async () => {
    const { password, broker } = await aDevice('refused');
    const own = await connect(broker.url, 'refused', password);
    const ended = new Promise((resolve) => own.once('close', () => resolve('disconnected')));
    const { account } = (await decommission('refused')).body as DecommissionReport;
    expect(account.revocation).toEqual({
      state: 'refused',
      reason: null,
      brokers: ['mosquitto-0', 'mosquitto-1'].map((name) => ({
        broker: name,
        acceptedAt: expect.any(String),
        at: expect.any(String),
        reasonCode: 135,
      })),
    });
    expect(await ended).toBe('disconnected');
    await expect(connect(broker.url, 'refused', password)).rejects.toThrow(/Not authorized/);
    expect(await psql(address, `SELECT count(*) FROM broker_account WHERE username = 'refused'`)).toBe('0');
    await own.endAsync(true);
  });

  it('is the same report, with the same signature, when it is asked for again', async () => {
    await aDevice('repeated');
    await decommission('repeated');
    const report = await whenDone('repeated', 15_000);
    expect(await decommission('repeated')).toMatchObject({ status: 200, body: report });
    expect(JSON.stringify(await reportOf('repeated'))).toBe(JSON.stringify(report));
    expect(report.signature?.value).toMatch(/^[A-Za-z0-9+/]{86}==$/);
  });

  it('R10 a crash after it is done brings nothing back', { timeout: 60_000 }, async () => {
    await aDevice('crashed');
    process.kill(system.pidOf('mosquitto-0'), 'SIGUSR1');
    await delay(500);
    await decommission('crashed');
    await whenDone('crashed', 15_000);
    await killed('mosquitto-0');
    await delay(500);
    expect(await retainedOf('crashed')).toEqual([]);
  });

  it('waits for the saves, and says so', async () => {
    await aDevice('unsaved');
    await hold('unsaved', 'save');
    const { body } = await decommission('unsaved');
    expect((body as DecommissionReport).notDone).toEqual([
      expect.stringMatching(/^mosquitto-0: its agent has not made it write to disk yet/),
      expect.stringMatching(/^mosquitto-1: /),
    ]);
    await release('unsaved');
    await whenDone('unsaved', 20_000);
  }, 60_000);
});

describe('a report', () => {
  let report: DecommissionReport;

  beforeAll(async () => {
    const { password } = await aDevice('shown');
    const hostile = await connect(address.broker.urls[0] ?? '', 'shown', password);
    await hostile.publishAsync('devices/shown/<script>alert(1)</script>', 'x', { qos: 1, retain: true });
    await hostile.endAsync();
    await decommission('shown');
    report = await whenDone('shown', 15_000);
  });

  it('can be checked offline against the public key, and a changed one is told from it', async () => {
    const { body } = await curl(address, '/api/v1/signing-key');
    const { publicKey, keyId } = body as SigningKey;
    expect(report.signature?.keyId).toBe(keyId);
    const file = (name: string, text: string): string => {
      const at = path.join(folder, name);
      writeFileSync(at, text);
      return at;
    };
    const key = file('muster.pem', publicKey);
    const good = file('report.json', JSON.stringify(report));
    expect(await runMuster('decommission', 'verify', good, '--key', key)).toMatchObject({
      ...{ code: 0, stdout: expect.stringContaining('shown: done at') },
      stderr: '',
    });
    const changed = file('changed.json', JSON.stringify({ ...report, cleared: [] }));
    expect(await runMuster('decommission', 'verify', changed, '--key', key)).toMatchObject({
      ...{ code: 1, stdout: expect.stringContaining('the report is not what was signed') },
    });
    const none = file('none.json', '{}');
    expect(await runMuster('decommission', 'verify', none, '--key', key)).toMatchObject({
      ...{ code: 2, stderr: expect.stringContaining('is no report of a decommissioning') },
    });
  });

  it('is a page for people where that is wanted, and a file', async () => {
    const page = await curl(address, '/api/v1/devices/shown/decommission', '-H', 'accept: text/html');
    expect([page.status, page.type]).toEqual([200, 'text/html; charset=utf-8']);
    expect(page.body).toContain('devices/shown/&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(page.body).not.toContain('<script');
    const { stdout } = await execute('curl', [
      ...['-s', '-D', '-', '-o', '/dev/null', '-H', authorization(address), '-H', 'accept: text/html'],
      `${address.api.url}/api/v1/devices/shown/decommission?download`,
    ]);
    expect(stdout).toMatch(/content-security-policy: default-src 'none'; style-src 'sha256-/i);
    expect(stdout).toMatch(/content-disposition: attachment; filename="decommission-shown\.html"/i);
  });
});

describe('the way back', () => {
  const ask = async (method: string, route: string): ReturnType<typeof curl> =>
    curl(address, `/api/v1/devices/${route}`, '-X', method);

  it('archives a device, which is in no list then, and brings it back as it was', async () => {
    await aDevice('stored');
    expect(await ask('POST', 'stored/archive')).toMatchObject({ status: 200, body: { state: 'archived' } });
    const list = (await curl(address, '/api/v1/devices?limit=1000')).body as DevicePage;
    expect(list.items.map(({ id }) => id)).not.toContain('stored');
    expect(await ask('POST', 'stored/restore')).toMatchObject({ status: 200, body: { state: 'registered' } });
    expect((await ask('POST', 'stored/restore')).status).toBe(409);
    expect((await ask('POST', 'nobody/archive')).status).toBe(404);
  });

  it('undoes a decommissioning: no account until one is given, and the next one makes a new report', async () => {
    const { password, broker } = await aDevice('undone');
    await decommission('undone');
    const first = await whenDone('undone', 15_000);
    expect(await ask('POST', 'undone/restore')).toMatchObject({ status: 200, body: { state: 'registered' } });
    expect((await ask('GET', 'undone/decommission')).status).toBe(404);
    expect(await psql(address, `SELECT count(*) FROM tombstone WHERE device = 'undone'`)).toBe('0');
    expect(await psql(address, `SELECT report ->> 'requestedAt' FROM decommission_undone`)).toBe(first.requestedAt);
    await expect(connect(broker.url, 'undone', password)).rejects.toThrow(/Not authorized/);
    expect(await retainedOf('undone')).toEqual([]);
    await aDevice('undone');
    await decommission('undone');
    expect((await whenDone('undone', 15_000)).requestedAt > first.requestedAt).toBe(true);
  });

  it('is closed while the decommissioning is between two steps, and says what to do', async () => {
    await aDevice('between');
    await hold('between', 'clear');
    await decommission('between', '?wait=0s');
    await whenHeld();
    const { status, body } = await ask('POST', 'between/restore');
    expect([status, (body as Problem).detail]).toEqual([409, expect.stringContaining('ask again when it is done')]);
    expect((await ask('DELETE', 'between?purgeHistory=true')).status).toBe(409);
    await release('between');
    await whenDone('between', 30_000);
  });

  it('is gone when the history is deleted; without the consent nothing is', async () => {
    const { password, broker } = await aDevice('purged');
    const device = await connect(broker.url, 'purged', password);
    await device.publishAsync('devices/purged/telemetry', '{"temp":21}', { qos: 1 });
    await device.endAsync();
    const history = `SELECT temp FROM telemetry WHERE device = 'purged' AND time > now() - 1h`;
    await vi.waitFor(async () => expect(await influxql(address, history)).toContain(',21]'), { timeout: 8_000 });
    expect((await ask('DELETE', 'purged?purgeHistory=true')).status).toBe(409);
    await decommission('purged');
    const report = await whenDone('purged', 15_000);
    const refused = await ask('DELETE', 'purged');
    expect([refused.status, (refused.body as Problem).detail]).toEqual([
      422,
      expect.stringMatching(/^nothing was deleted/),
    ]);
    expect(await influxql(address, history)).toContain(',21]');
    const { status, body } = await ask('DELETE', 'purged?purgeHistory=true');
    expect([status, body]).toMatchObject([200, { rows: { device: 1, last_reading: 1 } }]);
    expect(await influxql(address, history)).not.toContain(',21]');
    expect((await ask('GET', 'purged')).status).toBe(404);
    expect(await reportOf('purged')).toEqual(report);
    expect(await psql(address, `SELECT count(*) FROM tombstone WHERE device = 'purged'`)).toBe('1');
    expect(await ask('POST', 'purged/restore')).toMatchObject({ status: 409 });
    expect((await ask('DELETE', 'purged?purgeHistory=true')).status).toBe(200);
  });
});

/** The system's process of that name is killed, and another one has taken its place. */
async function killed(name: string): Promise<void> {
  const before = system.pidOf(name);
  process.kill(before, 'SIGKILL');
  await vi.waitFor(() => expect(system.pidOf(name)).not.toBe(before), { timeout: 30_000 });
}

/**
 * From now on the database does not take that a step of a device is over: what the step does has been done then, and is
 * not on record.
 */
async function hold(device: string, step: string): Promise<void> {
  await psql(
    address,
    `CREATE TABLE IF NOT EXISTS held (device text, step text);
     CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
       WHILE EXISTS (
         SELECT 1 FROM held, jsonb_array_elements(NEW.report -> 'steps') AS steps(one)
         WHERE held.device = NEW.device AND one ->> 'name' = held.step AND one ->> 'state' <> 'waiting'
       ) LOOP PERFORM pg_sleep(0.05); END LOOP;
       RETURN NEW;
     END $$;
     CREATE OR REPLACE TRIGGER hold BEFORE INSERT OR UPDATE ON decommission FOR EACH ROW EXECUTE FUNCTION hold();
     INSERT INTO held VALUES ('${device}', '${step}')`,
  );
}

async function release(device: string): Promise<void> {
  await vi.waitFor(() => psql(address, `DELETE FROM held WHERE device = '${device}'`), { timeout: 30_000 });
}

/** Somebody waits for what {@link hold} does not let through. */
async function whenHeld(): Promise<void> {
  await vi.waitFor(
    async () =>
      expect(await psql(address, `SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)).toBe('t'),
    { timeout: 20_000, interval: 50 },
  );
}

const STEPS = ['tombstone', 'services', 'account', 'session', 'clear', 'verify', 'save', 'verify-again'] as const;
const BROKERS = ['mosquitto-0', 'mosquitto-1'];
const VICTIMS = ['registry', 'mosquitto-1', 'postgres'] as const;

describe('what is killed when the work of a step is done and not on record', () => {
  for (const step of STEPS)
    for (const victim of VICTIMS)
      it(`R13 ${victim} at the step ${step} only delays it`, { timeout: 120_000 }, async () => {
        const id = `killed-${step}-${victim}`;
        await aDevice(id);
        // Else a broker that is killed has nothing left to clear.
        for (const broker of BROKERS) process.kill(system.pidOf(broker), 'SIGUSR1');
        await hold(id, step);
        const asked = decommission(id, '?wait=0s').catch(() => undefined);
        await whenHeld();
        await killed(victim);
        await release(id);
        await asked;
        await vi.waitFor(async () => expect((await curl(address, '/readyz')).status).toBe(200), { timeout: 30_000 });
        // What was killed before it was on record has not been promised to anybody.
        const isBegun = (await curl(address, `/api/v1/devices/${id}/decommission`)).status === 200;
        if (!isBegun) expect([step, (await decommission(id, '?wait=0s')).status]).toEqual(['tombstone', 202]);
        const report = await whenDone(id, 60_000);
        expect(new Set(report.before.map(({ broker, topic }) => `${topic} on ${broker}`)).size).toBe(4);
        expect(report.account.revocation).toMatchObject({ state: 'refused', brokers: [{}, {}] });
        expect(report.sessions).toEqual(['mosquitto-0', 'mosquitto-1']);
        expect(await retainedOf(id)).toEqual([]);
        expect(await psql(address, `SELECT count(*) FROM broker_account WHERE username = '${id}'`)).toBe('0');
      });
});
