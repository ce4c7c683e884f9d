import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, readRetained, type BrokerTarget } from '@muster/broker';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess } from '@muster/engines';
import { defaultTopicMap } from '@muster/contract';
import { ManagedBroker, passwordHash, renderAclFile, renderPasswordFile, type RenderFiles } from '@muster/security';
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

function files(version: bigint, ...names: string[]): RenderFiles {
  return (probe) =>
    Promise.resolve({
      version,
      passwords: renderPasswordFile([
        ...names.map((username) => ({ username, passwordHash: passwordHash(`password of ${username}`) })),
        probe,
      ]),
      acl: renderAclFile({ topicMap: defaultTopicMap, devices: [], shared: false }),
    });
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
