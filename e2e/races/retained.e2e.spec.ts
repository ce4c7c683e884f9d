import { setTimeout as delay } from 'node:timers/promises';
import type { DecommissionReport } from '@muster/contract';
import { connectAsync, type MqttClient } from 'mqtt';
import { describe, expect, it, vi } from 'vitest';
import { curl, deviceOf, retained } from '../system.ts';
import { SystemOfFile } from '../system-of-file.ts';

const system = new SystemOfFile();

async function connect(clientId: string, sessionExpiryInterval = 0): Promise<MqttClient> {
  const { urls, username, password } = system.address.broker;
  return connectAsync(urls[0] ?? '', {
    ...{ protocolVersion: 5, username, password, clientId, reconnectPeriod: 0 },
    clean: sessionExpiryInterval === 0,
    properties: { sessionExpiryInterval },
  });
}

/** A device that is known and has retained messages on these topics of its own. */
async function aDevice(id: string, topics: readonly string[]): Promise<void> {
  const client = await connect(`${id}-maker`);
  const own = ['status', ...topics];
  await Promise.all(
    own.map((topic) => client.publishAsync(`devices/${id}/${topic}`, 'online', { qos: 1, retain: true })),
  );
  await client.endAsync();
  await vi.waitFor(async () => expect((await deviceOf(system.address, id)).presence.state).toBe('online'), {
    timeout: 8_000,
  });
}

async function decommission(id: string): Promise<DecommissionReport> {
  const { body } = await curl(system.address, `/api/v1/devices/${id}/decommission?wait=30s`, '-X', 'POST');
  return body as DecommissionReport;
}

describe('retained messages in a race', () => {
  it('R1 R3 every topic is cleared by its own name, also where nobody subscribes to it', async () => {
    await aDevice('r3', ['config', 'nobody/hears/this']);
    const report = await decommission('r3');
    expect(report.state).toBe('verified');
    expect(report.cleared.map(({ topic }) => topic).sort()).toEqual([
      'devices/r3/config',
      'devices/r3/nobody/hears/this',
      'devices/r3/status',
    ]);
    // 16 is "no matching subscribers": whether the broker says so is its own affair.
    for (const { reasonCode } of report.cleared) expect([0, 16]).toContain(reasonCode);
    expect(await retained(system.address, 'devices/r3/#')).toEqual([]);
  });

  it(
    'R5 a device with 3,000 retained topics has none left: nothing of the sweep is cut off',
    { timeout: 120_000 },
    async () => {
      await aDevice(
        'r5',
        Array.from({ length: 3_000 }, (_, index) => `many/${index}`),
      );
      const report = await decommission('r5');
      expect([report.state, report.cleared.length]).toEqual(['verified', 3_001]);
      expect(await retained(system.address, 'devices/r5/#')).toEqual([]);
    },
  );

  it('R9 what was queued for a device does not reach the next one with its id', async () => {
    await aDevice('r9', []);
    const device = await connect('r9', 3_600);
    await device.subscribeAsync('devices/r9/command', { qos: 1 });
    await device.endAsync();
    const operator = await connect('r9-operator');
    await operator.publishAsync('devices/r9/command', '{"id":"1","name":"open"}', { qos: 1 });
    await operator.endAsync();
    const report = await decommission('r9');
    expect([report.state, report.sessions]).toEqual(['verified', ['mosquitto-0']]);
    // The account is shared here, so the broker still lets somebody in by that name.
    const heard: string[] = [];
    const next = await connect('r9', 3_600);
    next.on('message', (topic) => heard.push(topic));
    await next.subscribeAsync('devices/r9/command', { qos: 1 });
    await delay(500);
    expect(heard).toEqual([]);
    await next.endAsync();
  });
});
