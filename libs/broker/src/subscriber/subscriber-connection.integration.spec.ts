import { randomUUID } from 'node:crypto';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { BrokerConnection } from '../broker-connection.ts';
import type { ConnectionEvent } from '../broker-target.ts';
import type { Delivery } from './delivery.ts';
import type { InboundMessage } from './inbound-message.ts';
import { readRetained } from '../retained-sweep.ts';
import { SubscriberConnection } from './subscriber-connection.ts';
import type { SubscriberOptions } from './subscriber-options.ts';

const { broker } = inject('engines');
const open: { close(drainMs?: number): Promise<void> }[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.close(0)));
  vi.restoreAllMocks();
});

interface Scene {
  readonly subscriber: SubscriberConnection;
  readonly events: ConnectionEvent[];
  readonly messages: InboundMessage[];
  readonly deliveries: Delivery[];
}

function subscribe(options: Partial<SubscriberOptions> & { readonly settles?: boolean }): Scene {
  const messages: InboundMessage[] = [];
  const deliveries: Delivery[] = [];
  const events: ConnectionEvent[] = [];
  const { settles = true, ...rest } = options;
  const subscriber = new SubscriberConnection({
    ...{ broker, clientId: `test-${randomUUID()}`, sessionExpirySeconds: 0, subscriptions: [] },
    onMessages: (some, delivery) => {
      messages.push(...some);
      deliveries.push(delivery);
      if (settles) delivery.settleAll('acknowledge');
    },
    onEvent: (event) => events.push(event),
    ...rest,
  });
  open.push(subscriber);
  return { subscriber, events, messages, deliveries };
}

async function ready(options: Parameters<typeof subscribe>[0]): Promise<Scene> {
  const scene = subscribe(options);
  await scene.subscriber.whenReady(5_000);
  return scene;
}

async function publisher(clientId = `test-${randomUUID()}`): Promise<BrokerConnection> {
  const connection = new BrokerConnection({ broker, clientId, sessionExpirySeconds: 0 });
  open.push(connection);
  await connection.whenReady(5_000);
  return connection;
}

function texts(messages: readonly InboundMessage[]): readonly string[] {
  return messages.map(({ payload }) => payload.toString());
}

function session(topic: string): Pick<SubscriberOptions, 'clientId' | 'sessionExpirySeconds' | 'subscriptions'> {
  return {
    clientId: `test-${randomUUID()}`,
    sessionExpirySeconds: 60,
    subscriptions: [{ filter: topic, qos: 1 }],
  };
}

describe('a subscriber at a real broker', () => {
  it('is handed what is published, as it was published', async () => {
    const topic = `test/${randomUUID()}/ä`;
    const sender = await publisher();
    await sender.publish(topic, 'kept', { retain: true, properties: { userProperties: { origin: 'test' } } });
    const { messages, deliveries } = await ready({ subscriptions: [{ filter: topic, qos: 1 }] });
    await sender.publish(topic, 'live', { qos: 0 });
    await vi.waitFor(() => expect(messages).toHaveLength(2));
    expect(messages[0]).toMatchObject({ topic, qos: 1, retain: true, duplicate: false, payloadBytes: 4 });
    expect(messages[0]?.properties()).toMatchObject({ userProperties: { origin: 'test' } });
    expect(messages[1]).toMatchObject({ topic, qos: 0, retain: false });
    expect(texts(messages)).toEqual(['kept', 'live']);
    expect(deliveries[0]?.broker).toBe('mosquitto-0');
    await sender.publish(topic, '', { retain: true });
  });

  it('leaves what was not settled with the broker, which delivers it again to the same session', async () => {
    const topic = `test/${randomUUID()}`;
    const options = session(topic);
    const first = await ready({
      ...options,
      settles: false,
      onMessages: (some, delivery) => {
        for (const [index, { payload }] of some.entries())
          if (payload.toString() !== 'never settled') delivery.settle(index, 'acknowledge');
      },
    });
    const sender = await publisher();
    for (const text of ['good', 'never settled', 'good too']) await sender.publish(topic, text);
    await vi.waitFor(() => expect(first.subscriber.inHand).toBe(1));
    await first.subscriber.close(0);
    const second = await ready(options);
    // The third was settled behind the second, so its PUBACK could not go either.
    await vi.waitFor(() => expect(texts(second.messages)).toEqual(['never settled', 'good too']));
    expect(second.messages.every(({ duplicate }) => duplicate)).toBe(true);
    expect(second.deliveries[0]?.isBacklog).toBe(true);
    expect(second.events[0]).toMatchObject({ kind: 'connected', sessionPresent: true });
  });

  it('gets again, in one life, what it had in hand when the connection was lost', async () => {
    const topic = `test/${randomUUID()}`;
    const options = session(topic);
    const { messages, deliveries, subscriber, events } = await ready({ ...options, settles: false });
    const sender = await publisher();
    await sender.publish(topic, 'once');
    await vi.waitFor(() => expect(messages).toHaveLength(1));
    // Somebody with its id and a persistent session, for a moment.
    await (await ready({ ...options, onMessages: () => undefined })).subscriber.close(0);
    await vi.waitFor(() => expect(messages).toHaveLength(2), { timeout: 10_000 });
    expect(deliveries.map(({ isLost }) => isLost)).toEqual([true, false]);
    expect(messages[1]?.duplicate).toBe(true);
    deliveries[0]?.settleAll('acknowledge');
    expect(subscriber.inHand).toBe(1);
    deliveries[1]?.settleAll('acknowledge');
    await vi.waitFor(() => expect(subscriber.inHand).toBe(0));
    // What waited comes before the answer to its SUBSCRIBE.
    await vi.waitFor(() => expect(events.filter(({ kind }) => kind === 'connected')).toHaveLength(2));
  });

  it('waits at its end for what is in hand, and acknowledges it', async () => {
    const topic = `test/${randomUUID()}`;
    const options = session(topic);
    const first = await ready({
      ...options,
      onMessages: (_, delivery) => void setTimeout(() => delivery.settleAll('acknowledge'), 300),
    });
    await (await publisher()).publish(topic, 'slow');
    await vi.waitFor(() => expect(first.subscriber.inHand).toBe(1));
    await first.subscriber.close(5_000);
    const second = await ready(options);
    await (await publisher()).publish(topic, 'next');
    await vi.waitFor(() => expect(texts(second.messages)).toEqual(['next']));
  });

  it('keeps its own retained status: online, shutdown when it leaves in order, unexpected when it is lost', async () => {
    const statusTopic = `muster/services/${randomUUID()}`;
    const clientId = `test-${randomUUID()}`;
    const status = async (): Promise<string> =>
      Buffer.from((await readRetained(broker, [statusTopic]))[0]?.payload ?? []).toString();
    const { subscriber } = await ready({ statusTopic });
    expect(JSON.parse(await status())).toEqual({ status: 'online', timestamp: expect.any(Number) });
    await subscriber.close();
    expect(await status()).toBe('{"status":"offline","reason":"shutdown"}');
    await ready({ statusTopic, clientId });
    await publisher(clientId);
    await vi.waitFor(async () => expect(await status()).toBe('{"status":"offline","reason":"unexpected"}'));
  });

  it('says who did not let it in and why, and goes on trying, when the password is wrong', async () => {
    const { subscriber, events } = subscribe({ broker: { ...broker, password: 'wrong' } });
    await expect(subscriber.whenReady(1_000)).rejects.toThrow(
      /mosquitto-0 at mqtt:\/\/127\.0\.0\.1:\d+ did not answer within 1000 ms: .*Not authorized \(0x87\)/,
    );
    const failures = events.flatMap((event) => (event.kind === 'failed' ? [event.error] : []));
    expect(failures[0]).toMatchObject({ code: 'connection-refused' });
    expect(failures.length).toBeGreaterThan(1);
  });

  it('B5 switches off Nagle’s algorithm', async () => {
    const setNoDelay = vi.spyOn(Socket.prototype, 'setNoDelay');
    await ready({});
    expect(setNoDelay).toHaveBeenCalledWith(true);
  });

  it('tells what had been waiting from what is published now', async () => {
    const topic = `test/${randomUUID()}`;
    const options = session(topic);
    const sender = await publisher();
    await (await ready(options)).subscriber.close(0);
    await sender.publish(topic, 'waited');
    const { messages, deliveries } = await ready(options);
    await vi.waitFor(() => expect(texts(messages)).toEqual(['waited']));
    expect(deliveries[0]?.isBacklog).toBe(true);
    await vi.waitFor(async () => {
      await sender.publish(topic, 'live');
      expect(deliveries.at(-1)?.isBacklog).toBe(false);
    });
  });

  it('R4 subscribes with the options that it is given: no replay, and the retain flag as it was published', async () => {
    const topic = `test/${randomUUID()}`;
    const sender = await publisher();
    await sender.publish(topic, 'old', { retain: true });
    const { messages } = await ready({
      subscriptions: [{ filter: topic, qos: 1, retainAsPublished: true, retainHandling: 2, identifier: 9 }],
    });
    await sender.publish(topic, 'set', { retain: true });
    await sender.publish(topic, '', { retain: true });
    await vi.waitFor(() => expect(texts(messages)).toEqual(['set', '']));
    expect(messages.every(({ retain }) => retain)).toBe(true);
    expect(messages[0]?.properties()).toMatchObject({ subscriptionIdentifier: 9 });
  });

  it('B6 a store that takes longer than the keep-alive ends no connection, and nothing comes twice', async () => {
    const topic = `test/${randomUUID()}`;
    const keepAliveSeconds = 1;
    const { messages, deliveries, events } = await ready({ ...session(topic), keepAliveSeconds, settles: false });
    const sender = await publisher();
    const count = 40;
    // Nothing is settled for four times as long as a client may be silent.
    for (let index = 0; index < count; index += 1) {
      await sender.publish(topic, `${index}`);
      await delay((4_000 * keepAliveSeconds) / count);
    }
    expect(texts(messages)).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
    for (const delivery of deliveries) delivery.settleAll('acknowledge');
    await sender.publish(topic, 'behind');
    await vi.waitFor(() => expect(messages).toHaveLength(count + 1));
    expect(messages.some(({ duplicate }) => duplicate)).toBe(false);
    expect(events.map(({ kind }) => kind)).toEqual(['connected']);
  });

  it('B1 holds 65,535 messages unacknowledged, gets no more, and all the rest when they are settled', async () => {
    const topic = `test/${randomUUID()}`;
    const { messages, deliveries, subscriber, events } = await ready({ ...session(topic), settles: false });
    const sender = await publisher();
    const count = 70_000;
    for (let from = 0; from < count; from += 5_000)
      await Promise.all(Array.from({ length: 5_000 }, (_, index) => sender.publish(topic, `${from + index}`)));
    await vi.waitFor(() => expect(messages).toHaveLength(65_535), { timeout: 20_000 });
    expect(subscriber.inHand).toBe(65_535);
    for (const delivery of deliveries.splice(0)) delivery.settleAll('acknowledge');
    await vi.waitFor(() => expect(messages).toHaveLength(count), { timeout: 20_000 });
    for (const delivery of deliveries) delivery.settleAll('acknowledge');
    expect(texts(messages).every((text, index) => text === `${index}`)).toBe(true);
    expect(events).toHaveLength(1);
  }, 60_000);
});
