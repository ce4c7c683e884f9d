import { randomUUID } from 'node:crypto';
import { BrokerConnection, type BrokerConnectionOptions, type ReceivedMessage } from '@muster/broker';
import { FaultLine } from '@muster/simulator';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';

const { broker } = inject('engines');
const open: BrokerConnection[] = [];

async function ready(options: Partial<BrokerConnectionOptions> = {}): Promise<BrokerConnection> {
  const connection = new BrokerConnection({
    broker,
    clientId: `test-${randomUUID()}`,
    sessionExpirySeconds: 0,
    ...options,
  });
  open.push(connection);
  await connection.whenReady(5_000);
  return connection;
}

function payloads(messages: readonly ReceivedMessage[]): readonly string[] {
  return messages.map(({ payload }) => Buffer.from(payload).toString());
}

describe('a connection over a line that fails', () => {
  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close(0)));
  });

  it('gives up a message that has a limit, and does not bring it when the broker is back', async () => {
    const { hostname, port } = new URL(broker.url);
    const topic = `test/${randomUUID()}`;
    const heard: ReceivedMessage[] = [];
    await ready({
      subscriptions: [{ filter: topic, qos: 1 }],
      onMessage: (message, settle) => {
        heard.push(message);
        settle('acknowledge');
      },
    });
    const line = await FaultLine.open({ host: hostname, port: Number(port) });
    const publisher = await ready({ broker: { ...broker, url: line.url } });
    await publisher.publish(topic, 'before', { withinMs: 1_000 });
    line.freeze();
    await expect(publisher.publish(topic, 'frozen', { withinMs: 200 })).rejects.toMatchObject({ code: 'no-answer' });
    line.cut();
    await vi.waitFor(() => expect(publisher.ready).toBe(false));
    await expect(publisher.publish(topic, 'away', { withinMs: 10 })).rejects.toMatchObject({ code: 'unreachable' });
    const waiting = publisher.publish(topic, 'soon', { withinMs: 5_000 });
    line.mend();
    await waiting;
    await vi.waitFor(() => expect(payloads(heard)).toEqual(['before', 'soon']));
    await publisher.close(0);
    await line.close();
  });
});
