import { defaultTopicMap } from '@muster/contract';
import type { StatisticsPoint } from '@muster/telemetry';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { IngestionMetrics } from './metrics.ts';
import { beginnings, decodeBrokerFigure, ingestionPoints } from './statistics.ts';

function decode(topic: string, payload: string): ReturnType<typeof decodeBrokerFigure> {
  return decodeBrokerFigure(topic, Buffer.from(payload));
}

describe('what a broker says under $SYS', () => {
  it.each([
    ['clients/connected', '25', 'clients_connected', 25],
    ['clients/maximum', '31', 'clients_maximum', 31],
    ['messages/received', '184467440737', 'messages_received', 184_467_440_737],
    ['publish/messages/dropped', '0', 'publish_dropped', 0],
    ['retained messages/count', '56', 'retained', 56],
    ['store/messages/count', '1000001', 'stored', 1_000_001],
    ['load/messages/received/1min', '12.34', 'load_received_1min', 12.34],
    ['uptime', '86400 seconds', 'uptime', 86_400],
    ['version', 'mosquitto version 2.0.11', 'version', 'mosquitto version 2.0.11'],
    ['version', 'strange\0name', 'version', 'strange\uFFFDname'],
  ])('%s = %s is the field %s', (topic, payload, field, value) => {
    expect(decode(`$SYS/broker/${topic}`, payload)).toEqual({ field, value });
  });

  it.each([
    ['of a topic that is not kept', '$SYS/broker/load/sockets/15min', '1'],
    ['of another tree', '$SYS/brokers/emqx@1/uptime', '5'],
    ['of a device that plays broker', 'devices/a/clients/connected', '5'],
    ['of the prefix alone', '$SYS/broker/', '5'],
    ['that is empty', '$SYS/broker/uptime', ''],
    ['that is a word', '$SYS/broker/clients/connected', 'many'],
    ['that is negative', '$SYS/broker/clients/connected', '-1'],
    ['that is not finite', '$SYS/broker/heap/current', '1e999'],
    ['that is hexadecimal', '$SYS/broker/heap/current', '0x10'],
    ['that is too long', '$SYS/broker/version', 'v'.repeat(101)],
  ])('is nothing %s', (_, topic, payload) => {
    expect(decode(topic, payload)).toBeUndefined();
  });

  it('is a finite number or a short text, whatever comes', () => {
    const topics = ['uptime', 'version', 'heap/current', 'load/messages/received/1min', 'nothing'];
    fc.assert(
      fc.property(fc.constantFrom(...topics), fc.uint8Array({ maxLength: 200 }), (topic, payload) => {
        const value = decodeBrokerFigure(`$SYS/broker/${topic}`, payload)?.value;
        if (typeof value === 'number') expect(Number.isFinite(value)).toBe(true);
        if (typeof value === 'string') expect(value.length).toBeLessThanOrEqual(100);
      }),
    );
  });

  it('is no device of the topic map', () => {
    for (const topic of ['$SYS/broker/uptime', '$SYS/broker/clients/connected', '$SYS/broker/retained messages/count'])
      expect(defaultTopicMap.match(topic)).toBeUndefined();
  });
});

describe('ingestion’s own figures', () => {
  it('stand under the broker, under the reason too where there is one, else under the instance', async () => {
    const metrics = new IngestionMetrics(new Registry());
    metrics.observe(() => ({
      waiting: 3,
      devices: 2,
      runaways: 1,
      spool: { bytes: 0, oldestAtMs: undefined, isFull: false },
      inHand: new Map([['mosquitto-0', 7]]),
    }));
    metrics.addBroker('mosquitto-0');
    metrics.messages.inc({ broker: 'mosquitto-0' }, 5);
    metrics.deadLetters.inc({ broker: 'mosquitto-0', reason: 'not-a-number' }, 2);
    metrics.writeSeconds.observe(0.25);
    metrics.writeSeconds.observe(0.5);
    metrics.canary.seconds.observe({ broker: 'mosquitto-0' }, 0.125);
    metrics.canary.missing.set({ broker: 'mosquitto-0' }, 1);
    metrics.observeQueues(() => new Map([['mosquitto-0', { share: 0.5, minutesLeft: undefined }]]));
    const points = ingestionPoints(await metrics.figures(), 'pod-0');
    expect(points).toHaveLength(3);
    expect(points).toContainEqual({
      measurement: 'ingestion',
      tags: { broker: 'mosquitto-0' },
      fields: expect.objectContaining({
        ...{ messages: 5, readings: 0, duplicates: 0, in_hand: 7, refused_total: 2 },
        ...{ canary_seconds_sum: 0.125, canary_seconds_count: 1, canary_missing: 1, queue_share: 0.5 },
      }),
    });
    expect(points.flatMap(({ fields }) => Object.keys(fields))).not.toContain('queue_minutes_left');
    expect(points).toContainEqual({
      measurement: 'ingestion',
      tags: { broker: 'mosquitto-0', reason: 'not-a-number' },
      fields: { refused: 2 },
    });
    expect(points).toContainEqual({
      measurement: 'ingestion',
      tags: { instance: 'pod-0' },
      fields: expect.objectContaining({ waiting: 3, devices: 2, write_seconds_count: 2, write_seconds_sum: 0.75 }),
    });
  });

  it('begin at 0, once for each series, but for what goes up and down', () => {
    const refused = (reason: string): StatisticsPoint => ({
      ...{ measurement: 'ingestion', tags: { broker: 'b', reason } },
      fields: { refused: 3 },
    });
    const broker = { measurement: 'ingestion', tags: { broker: 'b' }, fields: { in_hand: 9, messages: 4 } };
    const seen = new Set<string>();
    expect(beginnings([refused('bad-name'), broker], seen)).toEqual([
      { ...refused('bad-name'), fields: { refused: 0 } },
      { ...broker, fields: { messages: 0 } },
    ]);
    expect(beginnings([refused('bad-name'), refused('bad-time'), broker], seen)).toEqual([
      { ...refused('bad-time'), fields: { refused: 0 } },
    ]);
  });

  it('of two brokers stay apart', async () => {
    const metrics = new IngestionMetrics(new Registry());
    for (const broker of ['mosquitto-0', 'mosquitto-1']) metrics.addBroker(broker);
    metrics.readings.inc({ broker: 'mosquitto-1' }, 4);
    const readings = ingestionPoints(await metrics.figures(), 'pod-0').flatMap(({ tags, fields }) =>
      'readings' in fields ? [[tags['broker'], fields['readings']]] : [],
    );
    expect(readings).toEqual([
      ['mosquitto-0', 0],
      ['mosquitto-1', 4],
    ]);
  });
});
