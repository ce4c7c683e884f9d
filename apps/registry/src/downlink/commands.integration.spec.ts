import { randomUUID } from 'node:crypto';
import { commandRequestSchema, deviceId, type Command, type CommandRequest, type DeviceId } from '@muster/contract';
import type { BrokerTarget } from '@muster/broker';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import { createLogger, createMetrics } from '@muster/service';
import { connect, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { Commands } from './commands.ts';
import { Downlink } from './downlink.ts';

const { broker, postgresUrl } = inject('engines');
const logger = createLogger('commands-test', 'silent');
const SENT = { timeout: 10_000, interval: 20 };

describe('commands for devices', () => {
  let url = '';
  let database: PrismaClient;
  let current: { readonly commands: Commands; readonly downlink: Downlink } | undefined;
  const clients: MqttClient[] = [];

  beforeAll(async () => {
    url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'commands-test');
  });
  afterEach(async () => {
    await stop();
    for (const client of clients.splice(0)) client.end(true);
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  async function start(brokers: readonly BrokerTarget[] = [broker]): Promise<Commands> {
    const downlink = new Downlink(brokers, logger);
    const metrics = createMetrics('commands-test');
    const commands = new Commands({ ...{ database, postgresUrl: url, downlink, logger, metrics } });
    current = { commands, downlink };
    await downlink.start(2_000);
    await commands.start();
    return commands;
  }
  async function stop(): Promise<void> {
    await current?.commands.close();
    await current?.downlink.close();
    current = undefined;
  }

  async function aDevice(state = 'registered'): Promise<DeviceId> {
    const id = deviceId(`d-${randomUUID()}`);
    await database.device.create({ data: { id, state } });
    return id;
  }
  /** What presence has heard. */
  async function presence(device: DeviceId, state: string, session: number, at: string = broker.name): Promise<void> {
    const values = { state, reason: 'birth', since: new Date(), session: BigInt(session), superseded: [] };
    const evidence = { broker: at, topic: 'x', payload: 'x', retained: false, rule: 'x' };
    await database.presence.upsert({
      where: { device },
      create: { device, ...values, evidence },
      update: { ...values, evidence },
    });
  }
  /** A client that takes the commands of a device, and keeps what came. */
  async function subscriber(
    device: DeviceId,
    sessionExpiryInterval = 0,
  ): Promise<{ readonly client: MqttClient; readonly heard: { readonly id: string; readonly expires: number }[] }> {
    const heard: { readonly id: string; readonly expires: number }[] = [];
    const client = connect(broker.url, {
      ...{ protocolVersion: 5, clientId: device },
      ...(broker.username === undefined ? {} : { username: broker.username }),
      ...(broker.password === undefined ? {} : { password: broker.password }),
      ...{ clean: sessionExpiryInterval === 0, reconnectPeriod: 0, properties: { sessionExpiryInterval } },
    });
    clients.push(client);
    // Before it is connected: what waited for it comes at once.
    client.on('message', (_, payload) => heard.push(JSON.parse(payload.toString()) as (typeof heard)[number]));
    await client.subscribeAsync(`devices/${device}/command`, { qos: 1 });
    return { client, heard };
  }
  const request = (more: Partial<CommandRequest> = {}): CommandRequest =>
    commandRequestSchema.parse({ name: 'report', ...more });
  const give = async (commands: Commands, device: DeviceId, more: Partial<CommandRequest> = {}, key?: string) =>
    commands.give(device, request(more), { by: 'tester', key });
  const becomes = async (commands: Commands, id: string, expected: Partial<Command>): Promise<void> => {
    await vi.waitFor(async () => expect(await commands.find(id)).toMatchObject(expected), SENT);
  };

  it('go to whoever subscribes, are settled by one acknowledgement, and whoever waits is told', async () => {
    const commands = await start();
    const device = await aDevice();
    const { heard } = await subscriber(device);
    const { command, isNew } = await give(commands, device, { args: { a: [1, 'ü'] } });
    expect([isNew, command]).toMatchObject([true, { state: 'sent', brokers: [broker.name], by: 'tester', late: null }]);
    await vi.waitFor(() => expect(heard).toHaveLength(1), SENT);
    expect(heard[0]).toEqual({
      ...{ id: command.id, name: 'report', args: { a: [1, 'ü'] } },
      expires: new Date(command.expiresAt).getTime(),
    });
    const waiting = commands.whenEnded(command.id, 10_000);
    await commands.acknowledge(device, { id: command.id, error: null });
    expect(await waiting).toMatchObject({ state: 'acknowledged' });
    // Twice, and then the other way round: the first counts.
    await commands.acknowledge(device, { id: command.id, error: null });
    await commands.acknowledge(device, { id: command.id, error: 'no' });
    expect(await commands.find(command.id)).toMatchObject({ state: 'acknowledged', late: null });
  });

  it('wait where nobody subscribes, say so, and go out as soon as the device is there', async () => {
    const commands = await start();
    const device = await aDevice();
    await presence(device, 'lost', 1);
    const { command } = await give(commands, device);
    expect(command).toMatchObject({
      state: 'queued',
      waitsFor: expect.stringContaining('nobody subscribes') as string,
    });
    const { heard } = await subscriber(device);
    await presence(device, 'online', 2);
    await becomes(commands, command.id, { state: 'sent' });
    expect(heard).toHaveLength(1);
  });

  it('reach a device that is away with a session, once it is back; unanswered they come again with the next session', async () => {
    const commands = await start();
    const device = await aDevice();
    const { client } = await subscriber(device, 3_600);
    await client.endAsync();
    await presence(device, 'lost', 1);
    const { command } = await give(commands, device);
    expect(command.state).toBe('sent');
    const { heard } = await subscriber(device, 3_600);
    await vi.waitFor(() => expect(heard).toHaveLength(1), SENT);
    await presence(device, 'online', 2);
    await vi.waitFor(() => expect(heard).toHaveLength(2), SENT);
    // Nothing more to the same session.
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(heard.map(({ id }) => id)).toEqual([command.id, command.id]);
    await commands.acknowledge(device, { id: command.id, error: 'no lamp' });
    await presence(device, 'online', 3);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(heard).toHaveLength(2);
    expect(await commands.find(command.id)).toMatchObject({ state: 'failed', error: 'no lamp' });
  });

  it('expire at their time; an answer after that is late, and counts once', async () => {
    const commands = await start();
    const device = await aDevice();
    const { command } = await give(commands, device, { expiresInSeconds: 1 });
    await becomes(commands, command.id, { state: 'expired' });
    await commands.acknowledge(device, { id: command.id, error: 'expired' });
    await commands.acknowledge(device, { id: command.id, error: null });
    expect(await commands.find(command.id)).toMatchObject({ state: 'expired', late: { error: 'expired' } });
  });

  it('are not settled by another device, nor by ids that are none', async () => {
    const commands = await start();
    const [device, other] = [await aDevice(), await aDevice()];
    const { command } = await give(commands, device);
    for (const id of [command.id, randomUUID(), 'c1', "'; DROP TABLE device_command; --"])
      await commands.acknowledge(other, { id, error: null });
    expect((await commands.find(command.id)).state).toBe('queued');
    expect(await database.deviceCommand.count({ where: { device } })).toBe(1);
  });

  it('are the same with the same key, for 24 hours', async () => {
    const commands = await start();
    const device = await aDevice();
    const args = { a: 1, b: { c: 2, d: 3 } };
    const all = await Promise.all(Array.from({ length: 5 }, async () => give(commands, device, { args }, 'k1')));
    expect(new Set(all.map(({ command }) => command.id)).size).toBe(1);
    expect(all.filter(({ isNew }) => isNew)).toHaveLength(1);
    const turned = await give(commands, device, { args: { b: { d: 3, c: 2 }, a: 1 } }, 'k1');
    expect(turned).toMatchObject({ isNew: false, command: { id: all[0]?.command.id } });
    await expect(give(commands, device, { args: { a: 2 } }, 'k1')).rejects.toMatchObject({ status: 409 });
    await expect(give(commands, device, { args, expiresInSeconds: 61 }, 'k1')).rejects.toMatchObject({ status: 409 });
    await database.$executeRaw`UPDATE device_command SET created_at = now() - interval '25 hours' WHERE device = ${device}`;
    expect(await give(commands, device, { args: { a: 2 } }, 'k1')).toMatchObject({ isNew: true });
  });

  it('are for devices that are there: 404 for unknown ones, 409 for those out of service', async () => {
    const commands = await start();
    await expect(give(commands, deviceId('nobody-knows'))).rejects.toMatchObject({ status: 404 });
    await expect(give(commands, await aDevice('decommissioned'))).rejects.toMatchObject({ status: 409 });
    await expect(commands.page(deviceId('nobody-knows'), { limit: 1 })).rejects.toMatchObject({ status: 404 });
    await expect(commands.find(randomUUID())).rejects.toMatchObject({ status: 404 });
    const device = await aDevice();
    const { command } = await give(commands, device);
    await database.device.update({ where: { id: device }, data: { state: 'decommissioning' } });
    await becomes(commands, command.id, { state: 'cancelled', reason: 'the device is decommissioning' });
  });

  it('are cancelled as long as they are not answered', async () => {
    const commands = await start();
    const device = await aDevice();
    const [first, second] = [await give(commands, device), await give(commands, device)];
    expect(await commands.cancel(first.command.id, 'me')).toMatchObject({
      state: 'cancelled',
      reason: 'cancelled by me',
    });
    expect(await commands.cancel(first.command.id, 'you')).toMatchObject({ reason: 'cancelled by me' });
    await commands.acknowledge(device, { id: first.command.id, error: null });
    expect(await commands.find(first.command.id)).toMatchObject({ state: 'cancelled', late: { error: null } });
    await commands.acknowledge(device, { id: second.command.id, error: null });
    await expect(commands.cancel(second.command.id, 'me')).rejects.toMatchObject({ status: 409 });
    await expect(commands.cancel(randomUUID(), 'me')).rejects.toMatchObject({ status: 404 });
  });

  it('go on in the next process, whatever the last one was doing', async () => {
    const device = await aDevice();
    // A broker that is away takes nothing: what is given meanwhile is only on record.
    const first = await start([{ ...broker, url: 'mqtt://127.0.0.1:1' }]);
    const { command } = await give(first, device, { expiresInSeconds: 600 });
    expect(command).toMatchObject({ state: 'queued', waitsFor: `${broker.name} does not answer` });
    await stop();
    // And one that was killed between its insert and its first publish.
    const id = randomUUID();
    await database.deviceCommand.create({
      data: { id, device, name: 'x', args: {}, by: 'x', requestHash: 'x', expiresAt: new Date(Date.now() + 600_000) },
    });
    const { heard } = await subscriber(device);
    const second = await start();
    await becomes(second, command.id, { state: 'sent' });
    await becomes(second, id, { state: 'sent' });
    expect(new Set(heard.map((one) => one.id))).toEqual(new Set([command.id, id]));
  });

  it('are sent to the broker of the session, else where the device reports, else everywhere', async () => {
    const away = { ...broker, name: 'away', url: 'mqtt://127.0.0.1:1' };
    const commands = await start([broker, away]);
    const device = await aDevice();
    await subscriber(device);
    expect((await give(commands, device)).command).toMatchObject({ state: 'sent', brokers: [broker.name] });
    await database.deviceActivity.create({ data: { device, lastSeenAt: new Date(), broker: 'away' } });
    expect((await give(commands, device)).command).toMatchObject({ state: 'queued', waitsFor: 'away does not answer' });
    await presence(device, 'online', 1);
    expect((await give(commands, device)).command).toMatchObject({ state: 'sent', brokers: [broker.name] });
  });

  it('keep nobody waiting when the service stops', async () => {
    const commands = await start();
    const { command } = await give(commands, await aDevice());
    const waiting = commands.whenEnded(command.id, 60_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    commands.onModuleDestroy();
    expect(await waiting).toMatchObject({ state: 'queued' });
    expect(await commands.whenEnded(command.id, 60_000)).toMatchObject({ state: 'queued' });
  });

  it('are at most 1,000 for one device at a time', async () => {
    const commands = await start();
    const device = await aDevice();
    await database.$executeRaw`
      INSERT INTO device_command (id, device, name, args, by, expires_at, next_at, request_hash)
      SELECT gen_random_uuid(), ${device}, 'x', '{}', 'x', now() + interval '1 hour', now() + interval '1 hour', 'x'
      FROM generate_series(1, 1000)`;
    await expect(give(commands, device)).rejects.toMatchObject({
      ...{ status: 409, detail: expect.stringContaining('1000 commands wait') as string },
    });
  });

  it('are listed a page at a time, the newest first', async () => {
    const commands = await start();
    const device = await aDevice();
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1) ids.unshift((await give(commands, device)).command.id);
    const first = await commands.page(device, { limit: 3 });
    const second = await commands.page(device, { limit: 3, cursor: first.next ?? '' });
    expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(ids);
    expect(second.next).toBeNull();
  });
});
