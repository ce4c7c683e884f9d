import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BrokerConnection, type BrokerTarget } from '@muster/broker';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess } from '@muster/engines';
import { passwordHash, renderPasswordFile } from '@muster/security';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ManagedBroker, type RenderFiles } from './managed-broker.ts';

const folder = path.join(mkdtempSync(path.join(tmpdir(), 'muster-agent-')), 'mosquitto-0');
let mosquitto: ManagedProcess | undefined;
let target: BrokerTarget;
let devices: string;

function broker(at = folder): ManagedBroker {
  return new ManagedBroker({ target, folder: at, certificateFiles: [] });
}

function files(version: bigint, ...names: string[]): RenderFiles {
  return (probe) =>
    Promise.resolve({
      version,
      passwords: renderPasswordFile([
        ...names.map((username) => ({ username, passwordHash: passwordHash(`password of ${username}`) })),
        probe,
      ]),
      acl: 'pattern readwrite devices/%u/#\n',
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

beforeAll(async () => {
  const [port, servicePort] = [await freePort(), await freePort()];
  mosquitto = await startMosquitto(
    { name: 'mosquitto-0', folder, logFile: `${folder}.log`, port, servicePort },
    await mosquittoSource('auto', () => undefined),
  );
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
