import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, inject, it } from 'vitest';
import { Influx, InfluxQueryError, type InfluxRow } from './influx.ts';
import { influxName, influxText } from './influxql.ts';
import { storedSamples } from './stored-samples.ts';

const influx = new Influx(inject('engines').influxdb);
const t0 = Date.now() - 3_600_000;
const aDevice = (): string => `d-${randomUUID()}`;

/** Counts the queries, and the rows of the largest answer. */
class Watched {
  queries = 0;
  mostRows = 0;

  async query(text: string): Promise<readonly InfluxRow[]> {
    const rows = await influx.query(text);
    this.queries += 1;
    this.mostRows = Math.max(this.mostRows, rows.length);
    return rows;
  }
}

async function written(device: string, samples: number): Promise<void> {
  const lines = Array.from(
    { length: samples },
    (_, n) =>
      `telemetry,device=${device} temp=${n}${n % 2 === 0 ? `,env.hum=${n / 2}` : ''},door_bool=${n % 4 === 0} ${t0 + n}`,
  );
  expect(await influx.write(lines.join('\n'))).toEqual({ kind: 'stored' });
}

const all = { fromMs: t0, untilMs: t0 + 3_600_000, maxValues: 1_000_000 };

describe('samples of a device', () => {
  it('are read a page at a time and come in the order of their times, each field with its own', async () => {
    const device = aDevice();
    await written(device, 1_000);
    await written(aDevice(), 5);
    const watched = new Watched();
    const { series, isTruncated } = await storedSamples(watched, {
      ...{ ...all, device, fields: ['temp', 'env.hum', 'door_bool'], valuesAPage: 300 },
    });
    expect(isTruncated).toBe(false);
    expect([watched.queries, watched.mostRows]).toEqual([11, 100]);
    const times = Array.from({ length: 1_000 }, (_, n) => t0 + n);
    expect(series).toEqual([
      { field: 'temp', timesMs: times, values: times.map((time) => time - t0) },
      {
        field: 'env.hum',
        timesMs: times.filter((_, n) => n % 2 === 0),
        values: Array.from({ length: 500 }, (_, n) => n),
      },
      { field: 'door_bool', timesMs: times, values: times.map((_, n) => n % 4 === 0) },
    ]);
  });

  it('that are too many are the newest, and it is said', async () => {
    const device = aDevice();
    await written(device, 500);
    const watched = new Watched();
    const request = { ...all, device, fields: ['temp'], valuesAPage: 50 };
    const { series, isTruncated } = await storedSamples(watched, { ...request, maxValues: 120 });
    expect([isTruncated, watched.queries]).toEqual([true, 3]);
    expect(series[0]?.values).toEqual(Array.from({ length: 150 }, (_, n) => 350 + n));
    // What fits exactly is no less than all.
    expect(await storedSamples(watched, { ...request, fromMs: t0 + 400, maxValues: 101 })).toMatchObject({
      isTruncated: false,
    });
  });

  it('end at the limits of the time that is asked for', async () => {
    const device = aDevice();
    await written(device, 10);
    const { series } = await storedSamples(influx, {
      ...{ ...all, device, fields: ['temp'], fromMs: t0 + 3, untilMs: t0 + 6 },
    });
    expect(series[0]?.values).toEqual([3, 4, 5]);
  });

  it('are none of a device or a field that is not there, whatever its name', async () => {
    const device = aDevice();
    await written(device, 3);
    for (const name of [`${device}' OR '1'='1`, `x' OR "device" = '${device}`, `\\' OR '' = '`, 'line\nfeed'])
      expect(await storedSamples(influx, { ...all, device: name, fields: ['temp'] })).toEqual({
        ...{ series: [{ field: 'temp', timesMs: [], values: [] }], isTruncated: false },
      });
    for (const field of ['temp" FROM telemetry --', 'none', '*', 'a"b\\'])
      expect(await storedSamples(influx, { ...all, device, fields: [field] })).toMatchObject({
        ...{ series: [{ field, timesMs: [] }] },
      });
  });

  it('cannot be had of an InfluxDB that is away', async () => {
    const away = new Influx({ ...inject('engines').influxdb, url: 'http://127.0.0.1:9' });
    await expect(storedSamples(away, { ...all, device: 'a', fields: ['temp'] })).rejects.toThrow(InfluxQueryError);
  });
});

describe('a text in InfluxQL', () => {
  it('is what it says and nothing else, whatever is in it', { timeout: 60_000 }, async () => {
    const device = aDevice();
    await written(device, 1);
    const hostile = fc.string({ unit: fc.constantFrom(`'`, '"', '\\', '\n', ';', '-', '*', ' ', 'a', '=') });
    await fc.assert(
      fc.asyncProperty(hostile, async (text) => {
        const where = `"device" = ${influxText(device)} AND "device" <> ${influxText(text)} AND time > 0`;
        const rows = await influx.query(`SELECT "temp", ${influxName(`m${text}`)} FROM "telemetry" WHERE ${where}`);
        expect(rows.map((row) => row['temp'])).toEqual([0]);
        expect(Object.keys(rows[0] ?? {})).toEqual(['time', 'temp', `m${text}`]);
      }),
      { numRuns: 60 },
    );
  });
});
