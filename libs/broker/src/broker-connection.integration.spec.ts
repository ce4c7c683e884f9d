import { randomUUID } from 'node:crypto';
import { Socket } from 'node:net';
import { connectAsync } from 'mqtt';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { BrokerConnection } from './broker-connection.ts';
import type { ConnectionEvent } from './broker-target.ts';
import type { BrokerConnectionOptions, ReceivedMessage } from './connection-options.ts';
import { readRetained } from './retained-sweep.ts';
import { ScriptedBroker } from './subscriber/scripted-broker.ts';

const { broker } = inject('engines');
const open: BrokerConnection[] = [];

function connectionTo(options: Partial<BrokerConnectionOptions> = {}): BrokerConnection {
  const connection = new BrokerConnection({
    broker,
    clientId: `test-${randomUUID()}`,
    sessionExpirySeconds: 0,
    ...options,
  });
  open.push(connection);
  return connection;
}

async function ready(options: Partial<BrokerConnectionOptions> = {}): Promise<BrokerConnection> {
  const connection = connectionTo(options);
  await connection.whenReady(5_000);
  return connection;
}

/** Takes a client's id over for a moment: the broker ends its connection. */
async function kick(clientId: string): Promise<void> {
  await (await ready({ clientId })).close(0);
}

function payloads(messages: readonly ReceivedMessage[]): readonly string[] {
  return messages.map(({ payload }) => Buffer.from(payload).toString());
}

describe('a connection to a real broker', () => {
  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close(0)));
    vi.restoreAllMocks();
  });

  it('leaves what its handler did not settle with the broker, which delivers it again', async () => {
    const topic = `test/${randomUUID()}`;
    const clientId = `test-${randomUUID()}`;
    const session = { clientId, sessionExpirySeconds: 60, subscriptions: [{ filter: topic, qos: 1 as const }] };
    const first: ReceivedMessage[] = [];
    const consumer = await ready({
      ...session,
      onMessage: (message, settle) => {
        first.push(message);
        if (Buffer.from(message.payload).toString() === 'good') settle('acknowledge');
      },
    });
    const publisher = await ready();
    await publisher.publish(topic, 'good');
    await publisher.publish(topic, 'never settled');
    await vi.waitFor(() => expect(payloads(first)).toEqual(['good', 'never settled']));
    await consumer.close(0);

    const second: ReceivedMessage[] = [];
    await ready({ ...session, onMessage: (message, settle) => (second.push(message), settle('acknowledge')) });
    await vi.waitFor(() => expect(payloads(second)).toEqual(['never settled']));
    expect(second[0]?.duplicate).toBe(true);
  });

  it('waits at its end for the messages in hand', async () => {
    const topic = `test/${randomUUID()}`;
    const clientId = `test-${randomUUID()}`;
    const session = { clientId, sessionExpirySeconds: 60, subscriptions: [{ filter: topic, qos: 1 as const }] };
    let taken = 0;
    const consumer = await ready({
      ...session,
      onMessage: (_, settle) => {
        taken += 1;
        setTimeout(() => settle('acknowledge'), 300);
      },
    });
    await (await ready()).publish(topic, 'slow');
    await vi.waitFor(() => expect(taken).toBe(1));
    await consumer.close(5_000);
    const again: ReceivedMessage[] = [];
    const next = await ready({
      ...session,
      onMessage: (message, settle) => (again.push(message), settle('acknowledge')),
    });
    await next.roundTrip(5_000);
    expect(again).toEqual([]);
  });

  it('keeps its own retained status: online, shutdown when it leaves in order', async () => {
    const statusTopic = `muster/services/${randomUUID()}`;
    const connection = await ready({ statusTopic });
    const birth = JSON.parse(payloads(await readRetained(broker, [statusTopic]))[0] ?? '') as unknown;
    expect(birth).toEqual({ status: 'online', timestamp: expect.any(Number) });
    await connection.close();
    expect(payloads(await readRetained(broker, [statusTopic]))).toEqual(['{"status":"offline","reason":"shutdown"}']);
  });

  it('B5 switches off Nagle’s algorithm', async () => {
    const setNoDelay = vi.spyOn(Socket.prototype, 'setNoDelay');
    await ready();
    expect(setNoDelay).toHaveBeenCalledWith(true);
  });

  it('B13 gives way for 5 s or more when it is told that its session was taken over, and says so', async () => {
    const scripted = await ScriptedBroker.start();
    const events: ConnectionEvent[] = [];
    await ready({ broker: scripted.target, onEvent: (event) => events.push(event) });
    scripted.clients[0]?.send({ cmd: 'disconnect', reasonCode: 0x8e });
    scripted.clients[0]?.end();
    await vi.waitFor(() => expect(events).toHaveLength(3));
    expect(events.slice(1)).toMatchObject([
      { kind: 'failed', error: { code: 'taken-over', message: expect.stringMatching(/0x8e/) as string } },
      { kind: 'disconnected', retryInMs: expect.any(Number) as number },
    ]);
    const [, , lost] = events;
    expect(lost?.kind === 'disconnected' && lost.retryInMs).toBeGreaterThanOrEqual(5_000);
    await scripted.stop();
  });

  it('shows retain flag, properties and duplicates to its handler', async () => {
    const topic = `test/${randomUUID()}`;
    const publisher = await ready();
    await publisher.publish(topic, 'kept', { retain: true, properties: { userProperties: { origin: 'test' } } });
    const seen: ReceivedMessage[] = [];
    const onMessage: BrokerConnectionOptions['onMessage'] = (message, settle) => (
      seen.push(message),
      settle('acknowledge')
    );
    await ready({ subscriptions: [{ filter: topic, qos: 1 }], onMessage });
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    expect(seen[0]).toMatchObject({
      retain: true,
      duplicate: false,
      broker: 'mosquitto-0',
      properties: { userProperties: { origin: 'test' } },
    });
    await publisher.publish(topic, '', { retain: true });
  });

  it('hands a message at QoS 2 over as such and once, and leaves nothing of its handshake with the broker', async () => {
    const topic = `test/${randomUUID()}`;
    const clientId = `test-${randomUUID()}`;
    const session = { clientId, sessionExpirySeconds: 60, subscriptions: [{ filter: topic, qos: 2 as const }] };
    const seen: ReceivedMessage[] = [];
    const onMessage: BrokerConnectionOptions['onMessage'] = (message, settle) => (
      seen.push(message),
      settle('acknowledge')
    );
    const consumer = await ready({ ...session, onMessage });
    const publisher = await connectAsync(broker.url, { username: broker.username, password: broker.password });
    // One after the other: of more than 20 at once (max_inflight) Mosquitto 2.0.11 acknowledges all and passes on 20.
    for (let index = 0; index < 50; index += 1) await publisher.publishAsync(topic, `${index}`, { qos: 2 });
    await publisher.endAsync();
    await vi.waitFor(() => expect(seen).toHaveLength(50));
    expect(seen.every(({ qos }) => qos === 2)).toBe(true);
    await consumer.roundTrip(5_000);
    await consumer.close(0);
    const next = await ready({ ...session, onMessage });
    await next.roundTrip(5_000);
    expect(seen).toHaveLength(50);
  });

  it('R4 with retain-as-published a live clear carries retain = 1', async () => {
    const topic = `test/${randomUUID()}`;
    const seen: ReceivedMessage[] = [];
    await ready({
      subscriptions: [{ filter: topic, qos: 1, retainAsPublished: true, retainHandling: 2 }],
      onMessage: (message, settle) => (seen.push(message), settle('acknowledge')),
    });
    const publisher = await ready();
    await publisher.publish(topic, 'set', { retain: true });
    await publisher.publish(topic, '', { retain: true });
    await vi.waitFor(() =>
      expect(seen.map(({ retain, payload }) => [retain, payload.length])).toEqual([
        [true, 3],
        [true, 0],
      ]),
    );
  });

  it('R3 takes "no matching subscribers" for a clear that worked', async () => {
    const topic = `test/${randomUUID()}`;
    const publisher = await ready();
    await publisher.publish(topic, 'set', { retain: true });
    expect([0, 16]).toContain(await publisher.publish(topic, '', { retain: true }));
    expect(await readRetained(broker, [topic])).toEqual([]);
  });

  it('tells of a message at QoS 1 whether anybody subscribes to it: 0, or 16 for nobody', async () => {
    const topic = `test/${randomUUID()}`;
    const publisher = await ready();
    expect(await publisher.publish(topic, 'x')).toBe(16);
    const clientId = `test-${randomUUID()}`;
    const subscriptions = [{ filter: topic, qos: 1 as const }];
    const consumer = await ready({ clientId, sessionExpirySeconds: 60, subscriptions });
    expect(await publisher.publish(topic, 'x')).toBe(0);
    await consumer.close(0);
    // A session that is kept is somebody.
    expect(await publisher.publish(topic, 'x')).toBe(0);
    await kick(clientId);
    expect(await publisher.publish(topic, 'x')).toBe(16);
    expect(await publisher.publish(topic, 'x', { qos: 0 })).toBe(0);
  });

  it('R5 finds all of 5,000 retained messages, where a sweep at QoS 1 is cut short', async () => {
    const prefix = `test/${randomUUID()}`;
    const publisher = await ready();
    const topics = Array.from({ length: 5_000 }, (_, index) => `${prefix}/${index}`);
    await Promise.all(topics.map((topic) => publisher.publish(topic, 'x', { retain: true })));
    expect(await readRetained(broker, [`${prefix}/#`])).toHaveLength(5_000);
    await Promise.all(topics.map((topic) => publisher.publish(topic, '', { retain: true })));
    expect(await readRetained(broker, [`${prefix}/#`])).toHaveLength(0);
  });

  it('comes back by itself after another client took its id over', async () => {
    const clientId = `test-${randomUUID()}`;
    const events: string[] = [];
    const connection = await ready({ clientId, onEvent: ({ kind }) => events.push(kind) });
    const other = await ready({ clientId });
    await other.close(0);
    await vi.waitFor(() => expect(events.filter((kind) => kind === 'connected')).toHaveLength(2), { timeout: 5_000 });
    expect(connection.ready).toBe(true);
  });

  it('says who did not answer, where, and for how long, when the password is wrong', async () => {
    const failures: string[] = [];
    const connection = connectionTo({
      broker: { ...broker, password: 'wrong' },
      onEvent: (event) => event.kind === 'failed' && failures.push(event.error.message),
    });
    await expect(connection.whenReady(500)).rejects.toThrow(
      /mosquitto-0 at mqtt:\/\/127\.0\.0\.1:\d+ did not answer within 500 ms/,
    );
    expect(failures.join()).toMatch(/Not authorized|Bad User Name or Password/i);
  });

  it('tells what had been waiting from what is published now', async () => {
    const topic = `test/${randomUUID()}`;
    const session = {
      ...{ clientId: `test-${randomUUID()}`, sessionExpirySeconds: 60 },
      subscriptions: [{ filter: topic, qos: 1 as const }],
    };
    const publisher = await ready();
    await (await ready(session)).close(0);
    await publisher.publish(topic, 'waited');
    const received: ReceivedMessage[] = [];
    await ready({ ...session, onMessage: (message, settle) => (received.push(message), settle('acknowledge')) });
    await vi.waitFor(() => expect(payloads(received)).toEqual(['waited']));
    await vi.waitFor(async () => {
      await publisher.publish(topic, 'live');
      expect(received.at(-1)?.isBacklog).toBe(false);
    });
    expect(received[0]).toMatchObject({ isBacklog: true, duplicate: false });
  });

  it('subscribes to more and to less while it stands, and remembers that when it comes back', async () => {
    const [first, second] = [`test/${randomUUID()}`, `test/${randomUUID()}`];
    const received: ReceivedMessage[] = [];
    const clientId = `test-${randomUUID()}`;
    const consumer = await ready({
      clientId,
      subscriptions: [{ filter: first, qos: 1 }],
      onMessage: (message, settle) => (received.push(message), settle('acknowledge')),
    });
    const publisher = await ready();
    await consumer.subscribe([{ filter: second, qos: 1 }]);
    await consumer.unsubscribe([first]);
    const say = async (text: string): Promise<void> => {
      await publisher.publish(first, `${text} on the first`);
      await publisher.publish(second, `${text} on the second`);
    };
    await say('now');
    await vi.waitFor(() => expect(payloads(received)).toEqual(['now on the second']));
    const reconnected = vi.waitFor(() => expect(consumer.ready).toBe(false)).then(() => consumer.whenReady(5_000));
    await kick(clientId);
    await reconnected;
    await say('later');
    await vi.waitFor(() => expect(payloads(received)).toEqual(['now on the second', 'later on the second']));
  });

  it('gives up a filter that was dropped while it was away: the session does not keep it', async () => {
    const topic = `test/${randomUUID()}`;
    const clientId = `test-${randomUUID()}`;
    const heard: ReceivedMessage[] = [];
    const consumer = await ready({
      ...{ clientId, sessionExpirySeconds: 60 },
      subscriptions: [topic, `${topic}/kept`].map((filter) => ({ filter, qos: 1 as const })),
      onMessage: (message, settle) => {
        heard.push(message);
        settle('acknowledge');
      },
    });
    await kick(clientId);
    await consumer.unsubscribe([topic]);
    await consumer.whenReady(5_000);
    const publisher = await ready();
    await publisher.publish(topic, 'not wanted');
    await publisher.publish(`${topic}/kept`, 'wanted');
    await vi.waitFor(() => expect(payloads(heard)).toContain('wanted'));
    expect(payloads(heard)).toEqual(['wanted']);
  });

  it('says for which of several overlapping subscriptions a message has come', async () => {
    const root = `test/${randomUUID()}`;
    const received: ReceivedMessage[] = [];
    await ready({
      subscriptions: [
        { filter: `${root}/+/state`, qos: 1, identifier: 1 },
        { filter: `${root}/hall/+`, qos: 1, identifier: 2 },
      ],
      onMessage: (message, settle) => (received.push(message), settle('acknowledge')),
    });
    await (await ready()).publish(`${root}/hall/state`, 'once');
    await vi.waitFor(() => expect(received).toHaveLength(2));
    expect(received.flatMap(({ properties }) => properties.subscriptionIdentifier).sort()).toEqual([1, 2]);
  });

  it('has the broker publish its will when it is lost', async () => {
    const topic = `test/${randomUUID()}`;
    await (await ready()).publish(topic, 'here', { retain: true });
    const clientId = `test-${randomUUID()}`;
    await ready({ clientId, will: { topic, payload: '' } });
    await kick(clientId);
    await vi.waitFor(async () => expect(await readRetained(broker, [topic])).toEqual([]));
  });
});
