import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, endSession, readRetained, type BrokerTarget } from '@muster/broker';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess } from '@muster/engines';
import { defaultTopicMap } from '@muster/contract';
import {
  ManagedBroker,
  passwordHash,
  renderAclFile,
  renderPasswordFile,
  type PasswordEntry,
  type RenderFiles,
} from '@muster/security';
import { connect, type IConnackPacket, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const folder = path.join(mkdtempSync(path.join(tmpdir(), 'muster-agent-')), 'mosquitto-0');
let mosquitto: ManagedProcess | undefined;
let target: BrokerTarget;
let devices: string;
const missing: string[] = [];

function broker(at = folder, returnLimitMs = 60_000): ManagedBroker {
  return new ManagedBroker({
    target,
    folder: at,
    certificateFiles: [],
    returnLimitMs,
    signal: new AbortController().signal,
    onMissing: (services) => missing.push(...services),
  });
}

/** One hash of each password, as the database has it: another one would be another password. */
const hashes = new Map<string, string>();

function account(username: string, password = `password of ${username}`): PasswordEntry {
  const hash = hashes.get(password) ?? passwordHash(password);
  hashes.set(password, hash);
  return { username, passwordHash: hash };
}

function files(version: bigint, ...names: string[]): RenderFiles {
  return filesOf(
    version,
    names.map((username) => account(username)),
  );
}

function filesOf(version: bigint, accounts: readonly PasswordEntry[]): RenderFiles {
  return (probe) =>
    Promise.resolve({
      version,
      passwords: renderPasswordFile([...accounts, probe]),
      acl: renderAclFile({ topicMap: defaultTopicMap, devices: [], shared: false }),
    });
}

/** Connects as a device whose session its broker keeps for an hour; answers whether there was one, and the connection. */
async function withSession(username: string, password = `password of ${username}`): Promise<[boolean, MqttClient]> {
  const client = connect(devices, {
    ...{ protocolVersion: 5, clientId: username, username, password, clean: false, reconnectPeriod: 0 },
    properties: { sessionExpiryInterval: 3_600 },
  });
  client.on('error', () => undefined);
  const { sessionPresent } = await new Promise<IConnackPacket>((resolve) => client.once('connect', resolve));
  await client.subscribeAsync(`devices/${username}/command`, { qos: 1 });
  return [sessionPresent, client];
}

async function entering(username: string): Promise<boolean> {
  const connection = new BrokerConnection({
    broker: { ...target, url: devices, username, password: `password of ${username}` },
    clientId: username,
    sessionExpirySeconds: 0,
  });
  try {
    await connection.whenReady(700);
    return true;
  } catch {
    // Refused, which is what the caller wants to know.
    return false;
  } finally {
    await connection.close(0);
  }
}

/** The account by which an agent sees that its broker has taken a change. */
function probe(): Pick<BrokerTarget, 'username' | 'password'> {
  return { username: 'muster.agent', password: readFileSync(path.join(folder, 'probe'), 'utf8') };
}

let start: () => Promise<ManagedProcess>;

beforeAll(async () => {
  const [port, servicePort] = [await freePort(), await freePort()];
  const source = await mosquittoSource('auto', () => undefined);
  start = () => startMosquitto({ name: 'mosquitto-0', folder, logFile: `${folder}.log`, port, servicePort }, source);
  mosquitto = await start();
  devices = `mqtt://127.0.0.1:${port}`;
  target = { name: 'mosquitto-0', url: `mqtt://127.0.0.1:${servicePort}`, username: undefined, password: undefined };
});
afterAll(async () => {
  await mosquitto?.stop(5_000);
});

describe('a broker with an agent', () => {
  it('lets nobody in before its agent came', async () => {
    expect(await entering('alice')).toBe(false);
  });

  it('uses a version when apply() says so: who is in it enters, who is not does not', async () => {
    const agent = broker();
    expect(agent.applied).toBeUndefined();
    await agent.apply(files(1n, 'alice'));
    expect(agent.applied).toBe(1n);
    expect([await entering('alice'), await entering('bob')]).toEqual([true, false]);
    await agent.apply(files(2n, 'bob'));
    expect([await entering('alice'), await entering('bob')]).toEqual([false, true]);
  });

  it('disconnects who is not in the new version, and nobody else', async () => {
    const agent = broker();
    await agent.apply(files(3n, 'alice', 'bob'));
    const connect = (username: string): BrokerConnection =>
      new BrokerConnection({
        broker: { ...target, url: devices, username, password: `password of ${username}` },
        clientId: username,
        sessionExpirySeconds: 0,
        onEvent: ({ kind }) => kind === 'disconnected' && lost.push(username),
      });
    const lost: string[] = [];
    const connections = [connect('alice'), connect('bob')];
    await Promise.all(connections.map((connection) => connection.whenReady(5_000)));
    await agent.apply(files(4n, 'bob'));
    await connections[1]?.publish('devices/bob/status', 'online');
    expect(lost).toContain('alice');
    expect(lost).not.toContain('bob');
    await Promise.all(connections.map((connection) => connection.close(0)));
  });

  it('is the same process after changes to accounts whose sessions wait, and keeps those of all others', async () => {
    // Memory that is given back is overwritten (glibc): what Mosquitto still reads of a session that is gone ends it.
    vi.stubEnv('MALLOC_PERTURB_', '200');
    await mosquitto?.stop(5_000);
    const running = await start();
    mosquitto = running;
    vi.unstubAllEnvs();
    const [kept, waiting, leaving, online] = [
      account('kept'),
      account('waiting'),
      account('leaving'),
      account('online'),
    ];
    const agent = broker(folder, 0);
    await agent.apply(filesOf(5n, [kept, waiting, leaving, online]));
    for (const username of ['kept', 'waiting', 'leaving']) await (await withSession(username))[1].endAsync();
    const [, connected] = await withSession('online');

    const fresh = [kept, account('waiting', 'new'), account('online', 'new')];
    await agent.apply(filesOf(6n, fresh));
    await vi.waitFor(() => expect(connected.connected).toBe(false), { timeout: 5_000 });
    // What decommissioning does, and the devices with their new passwords, and other changes; it looks once a second.
    for (const username of ['leaving', 'waiting']) await endSession({ ...target, ...probe() }, username, 5_000);
    await agent.apply(filesOf(7n, [...fresh, account('another')]));
    const back: [boolean, MqttClient][] = [];
    for (const [username, password] of [['waiting', 'new'], ['online', 'new'], ['kept']] as const)
      back.push(await withSession(username, password));
    await delay(2_500);
    await agent.apply(filesOf(8n, fresh));
    expect(back.map(([hadSession, { connected: isConnected }]) => [hadSession, isConnected])).toEqual([
      [false, true],
      [false, true],
      [true, true],
    ]);
    expect(await Promise.race([running.ended, delay(0, 'it runs')])).toBe('it runs');
    for (const [, client] of back) await client.endAsync();
  });

  it('is not told of a change after a restart before its services are back, so that nothing for them is lost', async () => {
    const received: string[] = [];
    const service = (): BrokerConnection =>
      new BrokerConnection({
        broker: { ...target, username: 'muster.ingestion', password: 'password of muster.ingestion' },
        clientId: 'muster-ingestion-mosquitto-0',
        sessionExpirySeconds: 600,
        statusTopic: 'muster/services/ingestion',
        subscriptions: [{ filter: 'devices/+/telemetry', qos: 1 }],
        onMessage: ({ payload }, settle) => {
          received.push(Buffer.from(payload).toString());
          settle('acknowledge');
        },
      });
    await broker().apply(files(10n, 'alice', 'muster.ingestion'));
    const first = service();
    await first.whenReady(5_000);
    await first.close();
    await mosquitto?.stop(5_000);
    mosquitto = await start();

    const device = new BrokerConnection({
      broker: { ...target, url: devices, username: 'alice', password: 'password of alice' },
      clientId: 'alice',
      sessionExpirySeconds: 0,
    });
    await device.whenReady(5_000);
    const publish = async (...values: readonly string[]): Promise<void> => {
      for (const value of values) await device.publish('devices/alice/telemetry', value);
    };
    const agent = broker();
    const applied = agent.apply(files(11n, 'alice', 'bob', 'muster.ingestion'));
    await publish('1', '2', '3');
    await delay(1_000);
    await publish('4', '5', '6');
    expect(agent.applied).toBeUndefined();
    const second = service();
    expect(await applied).toBe(11n);
    await publish('7', '8', '9');
    await vi.waitFor(() => expect(received).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9']), { timeout: 5_000 });
    expect(missing).toEqual([]);
    await Promise.all([device.close(0), second.close()]);
  });

  it('is told of a change in the end, also when a service stays away, and it is said which', async () => {
    await mosquitto?.stop(5_000);
    mosquitto = await start();
    await broker(folder, 1_500).apply(files(12n, 'alice'));
    expect(missing).toEqual(['ingestion']);
  });

  it('is left alone by an agent that finds it with the newest files', async () => {
    const before = statSync(path.join(folder, 'passwords')).mtimeMs;
    // The same accounts with the hashes that are there, as the database gives them.
    const [alice] = readFileSync(path.join(folder, 'passwords'), 'utf8').split('\n');
    const again = broker();
    await again.apply((probe) =>
      Promise.resolve({
        version: 13n,
        passwords: `${alice ?? ''}\n${renderPasswordFile([probe])}`,
        acl: renderAclFile({ topicMap: defaultTopicMap, devices: [], shared: false }),
      }),
    );
    expect([again.applied, statSync(path.join(folder, 'passwords')).mtimeMs]).toEqual([13n, before]);
  });

  it('R10 has written to disk what it holds when save() says so: a crash brings nothing else back', async () => {
    const agent = broker();
    const device = (): BrokerConnection =>
      new BrokerConnection({
        broker: { ...target, url: devices, username: 'alice', password: 'password of alice' },
        clientId: 'alice',
        sessionExpirySeconds: 0,
      });
    await agent.apply(files(20n, 'alice'));
    const first = device();
    await first.whenReady(5_000);
    await first.publish('devices/alice/status', 'cleared before the save', { retain: true });
    await agent.save();
    await first.publish('devices/alice/status', '', { retain: true });
    await first.publish('devices/alice/note', 'held at the save', { retain: true });
    await agent.save();
    await first.publish('devices/alice/late', 'published after the save', { retain: true });
    await first.close(0);
    process.kill(mosquitto?.identity.pid ?? 0, 'SIGKILL');
    await mosquitto?.ended;
    mosquitto = await start();
    const reader = { ...target, url: devices, username: 'alice', password: 'password of alice' };
    const found = await readRetained(reader, ['devices/alice/#']);
    expect(found.map(({ topic }) => topic)).toEqual(['devices/alice/note']);
  });

  it('saves and changes its accounts at the same time, one after the other', async () => {
    const agent = broker();
    await Promise.all([agent.apply(files(21n, 'alice')), agent.save(), agent.apply(files(22n, 'bob')), agent.save()]);
    expect([agent.applied, await entering('bob')]).toEqual([22n, true]);
  });

  it('is a fault that says why when it was told to save and no file is a new one', async () => {
    const elsewhere = new ManagedBroker({
      ...{ target, folder, certificateFiles: [], persistenceFile: path.join(folder, 'elsewhere.db') },
      ...{ signal: AbortSignal.timeout(300), onMissing: () => undefined },
    });
    await expect(elsewhere.save()).rejects.toThrow(/was told to save, and .*elsewhere\.db is not a new one/);
  });

  it('keeps its files from others', async () => {
    await broker().apply(files(5n, 'alice'));
    for (const name of ['passwords', 'acl']) expect(statSync(path.join(folder, name)).mode & 0o777).toBe(0o600);
    expect(readFileSync(path.join(folder, 'passwords'), 'utf8')).not.toContain('password of alice');
  });

  it('is a fault that says why when it does not run, and signals no other process', async () => {
    const elsewhere = mkdtempSync(path.join(tmpdir(), 'muster-agent-'));
    await expect(broker(elsewhere).apply(files(6n))).rejects.toThrow(/could not be told.*no such file/);
    writeFileSync(path.join(elsewhere, 'pid'), String(process.pid));
    await expect(broker(elsewhere).apply(files(6n))).rejects.toThrow(/which is node.* and no Mosquitto/);
  });
});
