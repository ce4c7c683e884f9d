import { randomUUID } from 'node:crypto';
import {
  decodeInterest,
  deviceId,
  digestTopic,
  encodeDigest,
  interestTopic,
  type DigestReading,
} from '@muster/contract';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { BrokerConnection } from './broker-connection.ts';
import { DigestFollower } from './digest-follower.ts';
import { readRetained } from './retained-sweep.ts';

const { broker } = inject('engines');
const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

const reading: DigestReading = {
  ...{ device: deviceId('lab1'), metric: 'temp', value: 22.5, unit: '°C', atMs: 1_700_000_000_000 },
  ...{ qos: 1, late: false },
};

async function follow(): Promise<{ consumer: string; follower: DigestFollower; readings: unknown[]; gaps: string[] }> {
  const consumer = `test-${randomUUID()}`;
  const readings: unknown[] = [];
  const gaps: string[] = [];
  const follower = new DigestFollower({
    consumer,
    brokers: [broker],
    onReadings: (some) => readings.push(...some),
    onGap: (name) => gaps.push(name),
    onEvent: () => undefined,
    onRefused: (_, error) => readings.push(error.code),
  });
  closing.push(() => follower.close());
  await follower.start(5_000);
  return { consumer, follower, readings, gaps };
}

async function publisher(): Promise<BrokerConnection> {
  const connection = new BrokerConnection({ broker, clientId: `test-${randomUUID()}`, sessionExpirySeconds: 0 });
  closing.push(() => connection.close(0));
  await connection.whenReady(5_000);
  return connection;
}

async function interestOf(consumer: string): Promise<unknown> {
  const [message] = await readRetained(broker, [interestTopic(consumer)]);
  return message === undefined ? undefined : decodeInterest(message.payload);
}

describe('the digest', () => {
  it('is numbered: what was missed is noticed, and a new run of ingestion counts as missed', async () => {
    const { readings, gaps } = await follow();
    expect(gaps).toEqual(['mosquitto-0']);
    const ingestion = await publisher();
    const batch = async (run: string, number: number): Promise<void> => {
      await ingestion.publish(digestTopic(broker.name), encodeDigest({ run, number, readings: [reading] }), { qos: 0 });
    };
    for (const [run, number] of [
      ['a', 7],
      ['a', 8],
      ['a', 10],
      ['b', 1],
      ['b', 2],
    ] as const)
      await batch(run, number);
    await vi.waitFor(() => expect(readings).toEqual(Array.from({ length: 5 }, () => reading)));
    expect(gaps).toHaveLength(3);
  });

  it('is asked for by interest, which is retained, follows what is wanted, and ends with the consumer', async () => {
    const { consumer, follower } = await follow();
    expect(await interestOf(consumer)).toBeUndefined();
    follower.want(new Set(['temp', 'hum']));
    await vi.waitFor(async () => expect(await interestOf(consumer)).toEqual(new Set(['hum', 'temp'])));
    follower.want('*');
    await vi.waitFor(async () => expect(await interestOf(consumer)).toBe('*'));
    await follower.close();
    expect(await interestOf(consumer)).toBeUndefined();
  });

  it('loses its interest with a consumer that dies', async () => {
    const { consumer, follower } = await follow();
    follower.want(new Set(['temp']));
    await vi.waitFor(async () => expect(await interestOf(consumer)).toBeDefined());
    // Somebody else with its client id: for the broker the consumer is lost.
    const clientId = `muster-${consumer}-digest-${broker.name}`;
    const other = new BrokerConnection({ broker, clientId, sessionExpirySeconds: 0 });
    await other.whenReady(5_000);
    const lost = await interestOf(consumer);
    await other.close(0);
    expect(lost).toBeUndefined();
    // And tells it again when it is back.
    await vi.waitFor(async () => expect(await interestOf(consumer)).toEqual(new Set(['temp'])), { timeout: 5_000 });
  });

  it.each([
    '',
    '[]',
    '{"run":"a","n":0,"readings":[]}',
    '{"run":"a","n":1,"readings":[["no id","t",1,null,1,0,false]]}',
    '\u0000',
  ])('that cannot be read is refused: %j', async (payload) => {
    const { readings } = await follow();
    await (await publisher()).publish(digestTopic(broker.name), payload || 'nothing', { qos: 0 });
    await vi.waitFor(() => expect(readings).toEqual(['invalid-digest']));
  });
});
