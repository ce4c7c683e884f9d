import { deviceId, publishAdviceQuerySchema, type Device, type PublishAdviceQuery } from '@muster/contract';
import { ProblemError } from '@muster/service';
import { InfluxQueryError, type InfluxRow } from '@muster/telemetry';
import { describe, expect, it } from 'vitest';
import { adviceOf, PublishAdvisor, termsOf, wantedMetrics } from './publish-advisor.ts';

const at = '2026-11-23T09:00:00.000Z';
const readings = {
  temp: { value: 20, unit: '°C', at },
  vbat: { value: 3.9, unit: 'V', at },
  door: { value: true, unit: null, at },
  mode: { value: 'heat', unit: null, at },
};
const lab1 = deviceId('lab1');
const t0 = Date.parse(at);
const HOUR_MS = 3_600_000;

function query(given: object = {}): PublishAdviceQuery {
  return publishAdviceQuerySchema.parse(given);
}

describe('the metrics of an advice', () => {
  it('are all of the device, numbers with their dead-bands, and of others every change', () => {
    const wanted = wantedMetrics(readings, query({ deadband: ['0.5', 'vbat:0.05'] }));
    expect(wanted.map(({ field, deadBand }) => [field, deadBand])).toEqual([
      ['temp', 0.5],
      ['vbat', 0.05],
      ['door_bool', 0],
      ['mode_text', 0],
    ]);
  });

  it('are only those that are asked for', () => {
    expect(wantedMetrics(readings, query({ metric: ['vbat', 'temp'] })).map(({ metric }) => metric)).toEqual([
      'temp',
      'vbat',
    ]);
  });

  it.each([{ metric: 'humidity' }, { deadband: 'humidity:1' }])('are not what the device has not: %j', (given) => {
    expect(() => wantedMetrics(readings, query(given))).toThrow(
      expect.objectContaining({ status: 422, detail: expect.stringContaining('it has door, mode, temp, vbat') }),
    );
  });
});

describe('the terms of an advice', () => {
  const traffic: Device['traffic'] = {
    ...{ broker: 'mosquitto-0', messages: 4, bytes: 250, lost: 0, duplicates: 0, dropped: 0 },
    ...{ runawaySince: null, clockOffsetMs: null },
  };

  it('say where they come from', () => {
    expect(termsOf(traffic, query())).toEqual({
      heartbeatSeconds: 300,
      messageBytes: 62.5,
      messageBytesFrom: 'the mean of 4 payloads of the device',
      dollarsPerMillionMessages: 1,
      priceFrom: 'AWS IoT Core, up to a billion messages a month; price= changes it',
    });
  });

  it('are assumed where nothing is known, and taken where they are given', () => {
    for (const unknown of [null, { ...traffic, messages: 0, bytes: 0 }])
      expect(termsOf(unknown, query({ price: '0', heartbeat: '1h' }))).toMatchObject({
        ...{ heartbeatSeconds: 3_600, messageBytes: 50, messageBytesFrom: expect.stringMatching(/^assumed/) },
        ...{ dollarsPerMillionMessages: 0, priceFrom: 'price=' },
      });
  });
});

describe('an advice', () => {
  const terms = termsOf(null, query({ heartbeat: '1d', price: '10' }));
  const times = [0, 1, 2, 3].map((n) => t0 + n * HOUR_MS);

  it('has the savings of the device, and of each metric what it alone would ask for and its error', () => {
    const wanted = wantedMetrics(readings, query({ deadband: '1', metric: ['temp', 'mode'] }));
    const series = [
      { field: 'temp', timesMs: times, values: [20, 20.5, 20.5, 20.5] },
      { field: 'mode_text', timesMs: times, values: ['heat', 'heat', 'off', 'off'] },
    ];
    expect(adviceOf(lab1, wanted, { series, isTruncated: false }, terms)).toEqual({
      device: lab1,
      from: at,
      to: '2026-11-23T12:00:00.000Z',
      truncated: null,
      terms,
      everySample: { messages: 4, bytes: 200, dollars: 0.00004 },
      onChange: { messages: 2, bytes: 100, dollars: 0.00002 },
      saved: { messages: 2, bytes: 100, dollars: 0.00002 },
      savedPercent: 50,
      savedPerMonth: { messages: 480, bytes: 24_000, dollars: expect.closeTo(0.0048, 10) },
      metrics: [
        { metric: 'temp', unit: '°C', deadBand: 1, samples: 4, messages: 1, maximumError: 0.5, meanError: 0.5 / 3 },
        { metric: 'mode', unit: null, deadBand: 0, samples: 4, messages: 2, maximumError: 0, meanError: 0 },
      ],
      explanation: '2 messages would have done in place of 4: 50 % less.',
    });
  });

  it('of too little promises no month, and says that older samples were left out', () => {
    const wanted = wantedMetrics(readings, query({ metric: 'vbat' }));
    const series = [{ field: 'vbat', timesMs: [t0, t0 + 1_000], values: [3.9, 3.8] }];
    expect(adviceOf(lab1, wanted, { series, isTruncated: true }, terms)).toMatchObject({
      savedPerMonth: null,
      truncated: expect.stringMatching(/newest 2 samples .* shorter range/),
      explanation: expect.stringMatching(/^Nothing would be saved/),
    });
  });

  it('leaves out what has nothing stored, and is none where nothing is', () => {
    const wanted = wantedMetrics(readings, query({ metric: ['temp', 'vbat'] }));
    const none = { timesMs: [], values: [] };
    const some = { field: 'temp', timesMs: [t0], values: [1] };
    const samples = { series: [some, { field: 'vbat', ...none }], isTruncated: false };
    expect(adviceOf(lab1, wanted, samples, terms)?.metrics.map(({ metric }) => metric)).toEqual(['temp']);
    const empty = { series: [{ field: 'temp', ...none }], isTruncated: false };
    expect(adviceOf(lab1, wanted, empty, terms)).toBeUndefined();
  });
});

describe('whoever asks for advice', () => {
  const device = { readings, traffic: null } as unknown as Device;
  const devices = { find: (): Promise<Device> => Promise.resolve(device) };

  it.each<[string, Device, (() => Promise<readonly InfluxRow[]>) | undefined, number, RegExp]>([
    ['that nothing is stored in this time', device, () => Promise.resolve([]), 409, /longer range, such as range=7d/],
    [
      'that it never sent anything',
      { ...device, readings: {} },
      () => Promise.resolve([]),
      409,
      /never sent telemetry/,
    ],
    ['that nobody knows where InfluxDB is', device, undefined, 503, /set MUSTER_INFLUXDB_URL/],
    [
      'that InfluxDB is away',
      device,
      () => Promise.reject(new InfluxQueryError('InfluxDB did not answer: refused')),
      503,
      /did not answer: refused; ask again/,
    ],
  ])('is told %s', async (_, found, answer, status, detail) => {
    const influx = answer === undefined ? undefined : { query: answer };
    const advisor = new PublishAdvisor({ find: () => Promise.resolve(found) }, influx);
    await expect(advisor.advice(lab1, query())).rejects.toThrow(
      expect.objectContaining({ status, detail: expect.stringMatching(detail) }),
    );
  });

  it('waits for those before, one history at a time, and a fault is of no concern to who comes next', async () => {
    let underWay = 0;
    let most = 0;
    let asked = 0;
    const advisor = new PublishAdvisor(devices, {
      query: async () => {
        underWay += 1;
        most = Math.max(most, underWay);
        asked += 1;
        const isFirst = asked === 1;
        await new Promise((resolve) => setTimeout(resolve, 2));
        underWay -= 1;
        if (isFirst) throw new InfluxQueryError('busy');
        return [{ time: t0, temp: 20 }];
      },
    });
    const answers = await Promise.allSettled(Array.from({ length: 18 }, () => advisor.advice(lab1, query())));
    const problems = answers.flatMap((answer) =>
      answer.status === 'rejected' && answer.reason instanceof ProblemError ? [answer.reason.detail] : [],
    );
    expect([most, answers.filter(({ status }) => status === 'fulfilled').length]).toEqual([1, 15]);
    const tooMany: unknown = expect.stringMatching(/16 histories are waited for/);
    expect(problems).toEqual([expect.stringMatching(/busy/), tooMany, tooMany]);
    expect(await advisor.advice(lab1, query())).toMatchObject({ everySample: { messages: 1 } });
  });
});
