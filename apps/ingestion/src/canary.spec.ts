import type { InfluxRow } from '@muster/telemetry';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Canary, CanaryMetrics, canaryTopic, isCanaryTopic } from './canary.ts';

const BROKER = 'mosquitto-0';
const STARTED = Date.parse('2026-11-23T09:00:00.000Z');

interface Sent {
  readonly topic: string;
  readonly payload: string;
  readonly expirySeconds: number;
}

/** A pipeline in which each part can fail. */
class Pipeline {
  readonly registry = new Registry();
  readonly sent: Sent[] = [];
  readonly stored = new Map<number, string>();
  readonly log: string[] = [];
  readonly queries: string[] = [];
  broker: 'well' | 'refuses' | 'swallows' = 'well';
  influx: 'well' | 'away' | 'hangs' = 'well';
  readonly canary = new Canary({
    publish: async (broker, topic, payload, expirySeconds) => {
      this.sent.push({ topic, payload, expirySeconds });
      if (this.broker === 'refuses') throw new Error('not authorized');
      await Promise.resolve();
      if (this.broker === 'well') this.deliver(broker, payload);
    },
    influx: { query: (text) => this.query(text) },
    metrics: new CanaryMetrics(this.registry),
    logger: {
      info: (_: object, message?: string) => void this.log.push(`info ${message}`),
      warn: ({ reason }: { readonly reason: string }, message?: string) =>
        void this.log.push(`warn ${message}: ${reason}`),
    },
  });

  deliver(broker: string, payload: string): string | undefined {
    const line = this.canary.lineOf({ broker, payload: Buffer.from(payload) });
    const time = /^canary,broker=\S+ received_ms=\d+ (\d+)$/.exec(line ?? '')?.[1];
    if (line !== undefined && this.influx === 'well') this.stored.set(Number(time), line);
    return line;
  }

  async query(text: string): Promise<readonly InfluxRow[]> {
    this.queries.push(text);
    if (this.influx === 'away') throw new Error('ECONNREFUSED');
    if (this.influx === 'hangs') await new Promise((resolve) => setTimeout(resolve, 10_500));
    await Promise.resolve();
    const time = Number(/time >= (\d+)ms/.exec(text)?.[1]);
    return this.stored.has(time) ? [{ time, received_ms: 0 }] : [];
  }

  async figure(name: string, broker = BROKER): Promise<number | undefined> {
    const metric = await this.registry.getSingleMetric(`muster_ingestion_canary_${name.replace(/_count$/, '')}`)?.get();
    return metric?.values.find(
      (value) =>
        value.labels['broker'] === broker &&
        (!name.endsWith('_count') || ('metricName' in value && String(value.metricName).endsWith('_count'))),
    )?.value;
  }
}

let pipeline: Pipeline;
beforeEach(() => {
  vi.useFakeTimers({ now: STARTED });
  pipeline = new Pipeline();
});
afterEach(() => {
  pipeline.canary.close();
  vi.useRealTimers();
});

describe('the topic of a canary', () => {
  it('is none of telemetry, and the other way round', () => {
    expect([canaryTopic('a'), isCanaryTopic(canaryTopic('a'))]).toEqual(['muster/services/ingestion/canary/a', true]);
    for (const topic of ['muster/services/ingestion', 'devices/canary/telemetry', 'muster/digest/a'])
      expect(isCanaryTopic(topic)).toBe(false);
  });
});

describe('a canary', () => {
  it('is published every 10 s at every broker, and the time until it is found is a metric', async () => {
    pipeline.canary.start([BROKER, 'mosquitto-1']);
    await vi.advanceTimersByTimeAsync(10_100);
    expect(pipeline.sent.map(({ topic, expirySeconds }) => [topic, expirySeconds])).toEqual(
      [BROKER, 'mosquitto-1', BROKER, 'mosquitto-1'].map((broker) => [canaryTopic(broker), 10]),
    );
    expect(new Set(pipeline.sent.map(({ payload }) => payload)).size).toBe(4);
    expect([...pipeline.stored.keys()]).toEqual([STARTED, STARTED + 10_000]);
    for (const broker of [BROKER, 'mosquitto-1'])
      expect([
        await pipeline.figure('seconds_count', broker),
        await pipeline.figure('missing', broker),
        await pipeline.figure('last_success_timestamp_seconds', broker),
      ]).toEqual([2, 0, STARTED / 1000 + 10]);
    // Found at the first look, each of them.
    expect([pipeline.queries.length, pipeline.log]).toEqual([4, []]);
  });

  it.each<[string, Partial<Pick<Pipeline, 'broker' | 'influx'>>, string]>([
    ['the broker does not take it', { broker: 'refuses' }, 'not authorized'],
    ['it does not come back from the broker', { broker: 'swallows' }, 'ingestion did not receive it'],
    ['InfluxDB is away', { influx: 'away' }, 'ECONNREFUSED'],
    ['InfluxDB does not answer in time', { influx: 'hangs' }, 'InfluxDB does not have it'],
  ])('is missing where %s, which is told once, and once that it is back', async (_, fault, reason) => {
    Object.assign(pipeline, fault);
    pipeline.canary.start([BROKER]);
    await vi.advanceTimersByTimeAsync(9_900);
    expect([await pipeline.figure('missing'), pipeline.log]).toEqual([0, []]);
    await vi.advanceTimersByTimeAsync(25_000);
    expect(await pipeline.figure('missing')).toBe(1);
    expect(pipeline.log).toEqual([
      `warn the canary is missing: what was published at the broker was not found in InfluxDB within 10 s: ${reason}`,
    ]);
    expect(await pipeline.figure('last_success_timestamp_seconds')).toBeUndefined();
    Object.assign(pipeline, { broker: 'well', influx: 'well' });
    await vi.advanceTimersByTimeAsync(20_000);
    expect([await pipeline.figure('missing'), pipeline.log.slice(1)]).toEqual([
      0,
      ['info the canary is found again: telemetry is stored'],
    ]);
  });

  it('that is stored late, when the next one is on its way, was missing', async () => {
    pipeline.influx = 'away';
    pipeline.canary.start([BROKER]);
    await vi.advanceTimersByTimeAsync(10_000);
    pipeline.influx = 'well';
    pipeline.stored.set(STARTED, 'written at last');
    pipeline.broker = 'swallows';
    await vi.advanceTimersByTimeAsync(9_000);
    expect([await pipeline.figure('missing'), await pipeline.figure('seconds_count')]).toEqual([1, undefined]);
  });

  it('is written again where it is delivered again, and nothing else on its topic ever is', async () => {
    pipeline.broker = 'swallows';
    pipeline.canary.start([BROKER]);
    await vi.advanceTimersByTimeAsync(5);
    const id = pipeline.sent[0]?.payload ?? '';
    const line = pipeline.deliver(BROKER, id);
    expect(line).toBe(`canary,broker=mosquitto-0 received_ms=5 ${STARTED}`);
    expect(pipeline.deliver(BROKER, id)).toBe(line);
    for (const payload of ['', `${id} `, 'canary,broker=x n=1', '\u0000'])
      expect(pipeline.deliver(BROKER, payload)).toBeUndefined();
    expect(pipeline.deliver('another', id)).toBeUndefined();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(pipeline.deliver(BROKER, id)).toBeUndefined();
  });

  it('is not looked for any more after the end', async () => {
    pipeline.influx = 'away';
    pipeline.canary.start([BROKER]);
    await vi.advanceTimersByTimeAsync(1_000);
    pipeline.canary.close();
    const { length } = pipeline.queries;
    await vi.advanceTimersByTimeAsync(60_000);
    expect([pipeline.queries.length, pipeline.sent.length, pipeline.log]).toEqual([length, 1, []]);
  });
});
