import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  BrokerConnection,
  SubscriberConnection,
  type BrokerTarget,
  type ConnectionEvent,
  type SubscriberOptions,
} from '@muster/broker';
import { newAuthority, newServerCertificate, type KeyPair } from '@muster/security';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LoneBroker } from './lone-broker.ts';

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function target({ url, account }: LoneBroker, ca?: string): BrokerTarget {
  return { name: 'mosquitto-0', url, ...account, ...(ca === undefined ? {} : { ca }) };
}

interface Listener {
  readonly subscriber: SubscriberConnection;
  readonly payloads: string[];
  readonly events: ConnectionEvent[];
}

function listen(broker: BrokerTarget, options: Partial<SubscriberOptions> = {}): Listener {
  const payloads: string[] = [];
  const events: ConnectionEvent[] = [];
  const subscriber = new SubscriberConnection({
    ...{ broker, clientId: `test-${randomUUID()}`, sessionExpirySeconds: 3_600 },
    subscriptions: [{ filter: 'test/#', qos: 1 }],
    onMessages: (messages, delivery) => {
      payloads.push(...messages.map(({ payload }) => payload.toString()));
      delivery.settleAll('acknowledge');
    },
    onEvent: (event) => events.push(event),
    ...options,
  });
  closing.push(() => subscriber.close(0));
  return { subscriber, payloads, events };
}

async function publisher(broker: BrokerTarget): Promise<BrokerConnection> {
  const connection = new BrokerConnection({ broker, clientId: `test-${randomUUID()}`, sessionExpirySeconds: 3_600 });
  closing.push(() => connection.close(0));
  await connection.whenReady(5_000);
  return connection;
}

async function start(...plan: Parameters<typeof LoneBroker.start>): Promise<LoneBroker> {
  const broker = await LoneBroker.start(...plan);
  closing.push(() => broker.stop());
  return broker;
}

describe('a subscriber and a broker that dies', () => {
  it('B7 is back before anything is lost: all that was published at QoS 1 arrives, while the broker is killed', async () => {
    const broker = await start();
    const { subscriber, payloads, events } = listen(target(broker));
    await subscriber.whenReady(5_000);
    await broker.save();
    const sender = await publisher(target(broker));
    const publishing: Promise<number>[] = [];
    const publishSome = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index += 1) {
        publishing.push(sender.publish('test/a', `${publishing.length}`));
        if (index % 20 === 0) await delay(2);
      }
    };
    await publishSome(1_000);
    const more = publishSome(2_000);
    await broker.kill();
    await broker.startAgain();
    await more;
    await publishSome(1_000);
    await Promise.all(publishing);
    await vi.waitFor(() => expect(new Set(payloads).size).toBe(4_000), { timeout: 20_000 });
    expect(events.filter(({ kind }) => kind === 'connected')).toEqual([
      { kind: 'connected', broker: 'mosquitto-0', sessionPresent: false },
      { kind: 'connected', broker: 'mosquitto-0', sessionPresent: true },
    ]);
  }, 60_000);

  it('gets what was published while it was away, from a broker that was stopped and started meanwhile', async () => {
    const broker = await start();
    const clientId = 'test-kept';
    const first = listen(target(broker), { clientId });
    await first.subscriber.whenReady(5_000);
    await first.subscriber.close();
    const sender = await publisher(target(broker));
    for (let index = 0; index < 100; index += 1) await sender.publish('test/a', `${index}`);
    await broker.stop();
    await broker.startAgain();
    const { payloads } = listen(target(broker), { clientId });
    await vi.waitFor(() => expect(payloads).toHaveLength(100));
    expect(payloads).toEqual(Array.from({ length: 100 }, (_, index) => `${index}`));
  });
});

describe('a subscriber over TLS', () => {
  async function certificate(authority: KeyPair): Promise<KeyPair> {
    return newServerCertificate(authority, { broker: 'mosquitto-0', hosts: ['localhost', '127.0.0.1'] });
  }

  it('reads and acknowledges as over TCP, many messages and large ones', async () => {
    const authority = await newAuthority('Test');
    const broker = await start({ ca: authority.certificate, ...(await certificate(authority)) });
    for (const url of [broker.url, broker.url.replace('127.0.0.1', 'localhost')]) {
      const { subscriber, payloads } = listen({ ...target(broker, authority.certificate), url });
      await subscriber.whenReady(5_000);
      const sender = await publisher(target(broker, authority.certificate));
      const large = 'x'.repeat(1_000_000);
      await Promise.all(Array.from({ length: 5_000 }, (_, index) => sender.publish('test/a', `${index}`)));
      await sender.publish('test/a', large);
      await vi.waitFor(() => expect(payloads).toHaveLength(5_001), { timeout: 10_000 });
      expect(payloads).toEqual([...Array.from({ length: 5_000 }, (_, index) => `${index}`), large]);
      expect(subscriber.inHand).toBe(0);
    }
  });

  it('refuses a broker that its authority does not vouch for', async () => {
    const authority = await newAuthority('Test');
    const stranger = await newAuthority('Stranger');
    const broker = await start({ ca: authority.certificate, ...(await certificate(authority)) });
    const { subscriber, events } = listen(target(broker, stranger.certificate));
    await expect(subscriber.whenReady(500)).rejects.toThrow(/did not answer within 500 ms: .*certificate/);
    expect(events.every(({ kind }) => kind === 'failed' || kind === 'disconnected')).toBe(true);
  });
});
