import { BrokerConnection, tryConnection } from '@muster/broker';
import { deviceId } from '@muster/contract';
import { connectAsync } from 'mqtt';
import { describe, expect, inject, it } from 'vitest';
import { clearTopics, type Clearing } from '../retained/clear-topics.ts';
import { findTraces, type TraceScope } from './device-traces.ts';

const { broker } = inject('engines');

async function retain(...topics: readonly string[]): Promise<void> {
  const connection = new BrokerConnection({ broker, clientId: 'maker', sessionExpirySeconds: 0 });
  await connection.whenReady(5_000);
  for (const topic of topics) await connection.publish(topic, 'retained', { retain: true });
  await connection.close(0);
}

function scope(device: string, owners: TraceScope['owners'] = new Map(), ...more: readonly string[]): TraceScope {
  return { device: deviceId(device), filters: [`devices/${device}/#`, ...more], owners };
}

describe('traces of devices on a broker', () => {
  it('R1 R3 are found for many devices at once, and cleared topic by topic', async () => {
    const devices = Array.from({ length: 200 }, (_, index) => `d${index}`);
    await retain(...devices.flatMap((device) => [`devices/${device}/status`, `devices/${device}/nobody/hears`]));
    const scopes = devices.map((device) => scope(device));
    const { own } = await findTraces(broker, scopes);
    expect(own.size).toBe(200);
    for (const device of devices) expect(own.get(deviceId(device))).toHaveLength(2);
    const cleared = new Map<string, Clearing>();
    await clearTopics(broker, new Set([...own.values()].flat().map(({ topic }) => topic)), cleared);
    expect(cleared.size).toBe(400);
    for (const clearing of cleared.values())
      expect('reasonCode' in clearing ? [0, 16].includes(clearing.reasonCode) : clearing).toBe(true);
    expect((await findTraces(broker, scopes)).own.size).toBe(0);
  });

  it('are those of each owner where several are looked for, and kept for one that is not', async () => {
    await retain('devices/shared/topic');
    const owners = new Map([['devices/shared/topic', ['c']]]);
    const scopes = [scope('a', new Map(), 'devices/shared/topic'), scope('b', owners, 'devices/shared/topic')];
    const { own, kept } = await findTraces(broker, scopes);
    expect([...own.keys()]).toEqual(['a']);
    expect(kept.get(deviceId('b'))).toEqual([{ topic: 'devices/shared/topic', owner: 'c' }]);
  });

  it('R2 are not taken for cleared where the broker refuses that, as a client of MQTT 3.1.1 would take them', async () => {
    const old = await connectAsync(broker.url, {
      username: broker.username ?? '',
      password: broker.password ?? '',
      protocolVersion: 4,
      clientId: 'old',
    });
    await expect(old.publishAsync('$SYS/refused', '', { qos: 1, retain: true })).resolves.toBeDefined();
    await old.endAsync();
    const cleared = new Map<string, Clearing>();
    await clearTopics(broker, new Set(['$SYS/refused', 'devices/kept/free']), cleared);
    expect(cleared.get('$SYS/refused')).toEqual({ fault: expect.stringContaining('Not authorized') });
    expect(cleared.get('devices/kept/free')).toMatchObject({ reasonCode: expect.any(Number) });
  });
});

describe('a connection that is tried', () => {
  const trial = { clientId: 'tried', cleanStart: true };

  it('is let in with the account, and refused with another password', async () => {
    expect((await tryConnection({ broker, ...trial }, 5_000)).reasonCode).toBe(0);
    const wrong = { ...broker, password: 'another one' };
    expect((await tryConnection({ broker: wrong, ...trial }, 5_000)).reasonCode).toBe(135);
  });

  it('R9 says whether there was a session, and ends it', async () => {
    const device = await connectAsync(broker.url, {
      ...{
        username: broker.username ?? '',
        password: broker.password ?? '',
        protocolVersion: 5,
        clientId: 'tried',
        clean: false,
      },
      properties: { sessionExpiryInterval: 3_600 },
    });
    await device.subscribeAsync('devices/tried/command', { qos: 1 });
    await device.endAsync();
    await retain('devices/tried/command');
    const present = async (): Promise<boolean> =>
      (await tryConnection({ broker, clientId: 'tried', cleanStart: false }, 5_000)).sessionPresent;
    expect([await present(), await present()]).toEqual([true, false]);
  });

  it('fails with what is the matter where nobody answers', async () => {
    const nobody = { ...broker, url: 'mqtt://127.0.0.1:9' };
    await expect(tryConnection({ broker: nobody, ...trial }, 2_000)).rejects.toThrow(/did not answer.*ECONNREFUSED/);
  });
});
