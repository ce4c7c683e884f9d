import { connectAsync } from 'mqtt';
import { describe, expect, it, vi } from 'vitest';
import { SystemOfFile } from './system-of-file.ts';
import { deviceOf, influxql, muster } from './system.ts';

const system = new SystemOfFile();

/** Publishes telemetry over one connection, and resolves when the broker has all of it. */
async function send(device: string, messages: readonly object[]): Promise<void> {
  const { urls, username, password } = system.address.broker;
  const client = await connectAsync(urls[0] ?? '', { username, password });
  await Promise.all(
    messages.map(async (message) =>
      client.publishAsync(`devices/${device}/telemetry`, JSON.stringify(message), { qos: 1 }),
    ),
  );
  await client.endAsync();
}

/** How many points of a device InfluxDB has. */
async function stored(device: string): Promise<number> {
  const query = `SELECT count(temp) FROM telemetry WHERE device = '${device}' AND time > now() - 1h`;
  const { results } = JSON.parse(await influxql(system.address, query)) as {
    results: { series?: { values: number[][] }[] }[];
  };
  return results[0]?.series?.[0]?.values[0]?.[1] ?? 0;
}

describe('what ingestion learns of a device on the way', () => {
  it('is messages, bytes, losses and duplicates by their numbers, and its clock', async () => {
    const beginMs = Date.now() - 1_800_000;
    const message = (seq: number): object => ({ temp: seq, ts: beginMs + seq, session: 1, seq });
    const numbers = Array.from({ length: 200 }, (_, index) => index + 1);
    // 20 and 21 never come, 30 comes twice.
    await send('gappy', [...numbers.filter((seq) => seq !== 20 && seq !== 21).map(message), message(30)]);
    await vi.waitFor(
      async () =>
        expect((await deviceOf(system.address, 'gappy')).traffic).toMatchObject({
          ...{ broker: 'mosquitto-0', messages: 199, lost: 2, duplicates: 1, dropped: 0, runawaySince: null },
        }),
      { timeout: 10_000 },
    );
    expect(await stored('gappy')).toBe(198);
    const { traffic } = await deviceOf(system.address, 'gappy');
    expect(traffic?.bytes).toBe(
      [...numbers.filter((seq) => seq !== 20 && seq !== 21), 30].reduce(
        (sum, seq) => sum + JSON.stringify(message(seq)).length,
        0,
      ),
    );
    expect((await muster(system.address, 'device', 'show', 'gappy')).stdout).toMatch(
      /traffic +199 messages with \d+ bytes on mosquitto-0; 2 lost, 1 came again/,
    );
  });

  it('is in the answer of GET /devices/{id} within a second of its publish, twenty times in a row', async () => {
    const { urls, username, password } = system.address.broker;
    const client = await connectAsync(urls[0] ?? '', { username, password });
    const tookMs: number[] = [];
    // The first message also makes the device known.
    for (let value = 1; value <= 20; value += 1) {
      const publishedAt = performance.now();
      await client.publishAsync('devices/prompt/telemetry', JSON.stringify({ temp: value, ts: Date.now() }), {
        qos: 1,
      });
      await vi.waitFor(
        async () => expect((await deviceOf(system.address, 'prompt')).readings['temp']).toMatchObject({ value }),
        { timeout: 5_000, interval: 20 },
      );
      tookMs.push(Math.round(performance.now() - publishedAt));
    }
    await client.endAsync();
    expect(
      tookMs.filter((ms) => ms > 1_000),
      `took ${tookMs.join(', ')} ms`,
    ).toEqual([]);
  });

  it('takes a loss back when what was missing comes late', async () => {
    const message = (seq: number): object => ({ temp: seq, ts: Date.now() - 1_000_000 + seq, session: 1, seq });
    const numbers = Array.from({ length: 100 }, (_, index) => index + 1);
    await send('late', numbers.filter((seq) => seq !== 10).map(message));
    await vi.waitFor(async () => expect((await deviceOf(system.address, 'late')).traffic).toMatchObject({ lost: 1 }), {
      timeout: 10_000,
    });
    await send('late', [message(10)]);
    await vi.waitFor(
      async () => expect((await deviceOf(system.address, 'late')).traffic).toMatchObject({ lost: 0, messages: 100 }),
      { timeout: 10_000 },
    );
  });

  it('a runaway node is flagged, and its excess dropped and counted, at QoS 1 too', { timeout: 120_000 }, async () => {
    const beginMs = Date.now() - 1_800_000;
    const total = 9_000;
    await send(
      'runaway',
      Array.from({ length: total }, (_, index) => ({ temp: index, ts: beginMs + index, session: 1, seq: index + 1 })),
    );
    await send('decent', [{ temp: 1, ts: Date.now() }]);
    // A minute of 100 a second at once is what a device may send that was away.
    const sum = async (): Promise<{ readonly messages: number; readonly dropped: number }> => {
      const { messages = 0, dropped = 0 } = (await deviceOf(system.address, 'runaway')).traffic ?? {};
      return { messages, dropped };
    };
    await vi.waitFor(
      async () => {
        const { messages, dropped } = await sum();
        expect(messages + dropped).toBe(total);
      },
      { timeout: 30_000, interval: 250 },
    );
    const { messages, dropped } = await sum();
    expect(messages).toBeGreaterThanOrEqual(6_000);
    expect(dropped).toBeGreaterThan(1_000);
    expect(await stored('runaway')).toBe(messages);
    const { traffic } = await deviceOf(system.address, 'runaway');
    expect(traffic?.runawaySince).toMatch(/Z$/);
    expect((await deviceOf(system.address, 'decent')).traffic).toMatchObject({ messages: 1, dropped: 0 });
    // Its bucket is full again after a minute.
    await vi.waitFor(
      async () => expect((await deviceOf(system.address, 'runaway')).traffic).toMatchObject({ runawaySince: null }),
      { timeout: 75_000, interval: 500 },
    );
  });
});
