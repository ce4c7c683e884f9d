import { randomUUID } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { BatchWriter } from './batch-writer.ts';
import { Influx, InfluxQueryError } from './influx.ts';

const influx = new Influx(inject('engines').influxdb);
/** Within the retention of the test database. */
const t0 = Date.now() - 3_600_000;
const measurement = (): string => `m_${randomUUID().replaceAll('-', '')}`;

describe('a real InfluxDB', () => {
  it('gives back what was written, in milliseconds and with its tags', async () => {
    const name = measurement();
    const text = 'line one\nline two, with "quotes" = and \\';
    const escaped = text.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
    expect(
      await influx.write([`${name},device=a temp=22.5,door_bool=true,label_text="${escaped}" ${t0 + 123}`]),
    ).toEqual({ kind: 'stored' });
    expect(
      await influx.query(`SELECT temp, door_bool, label_text FROM ${name} WHERE time > 0 GROUP BY device`),
    ).toEqual([{ device: 'a', time: t0 + 123, temp: 22.5, door_bool: true, label_text: text }]);
  });

  it('takes the same point twice without storing it twice', async () => {
    const name = measurement();
    await influx.write([`${name},device=a temp=1 ${t0}`]);
    await influx.write([`${name},device=a temp=1 ${t0}`]);
    expect(await influx.query(`SELECT count(temp) FROM ${name} WHERE time > 0`)).toMatchObject([{ count: 1 }]);
  });

  it('B9 stores the good lines of a batch with a type conflict and gives up the bad one, with the reason', async () => {
    const name = measurement();
    await influx.write([`${name},device=a temp=1 ${t0}`]);
    const writer = new BatchWriter({
      write: (lines) => influx.write(lines),
      maxLines: 100,
      maxDelayMs: 5,
      concurrency: 2,
      onUnavailable: () => undefined,
      onWritten: () => undefined,
    });
    const refusals = new Map<number, string | undefined>();
    const lines = Array.from(
      { length: 50 },
      (_, index) => `${name},device=b temp=${index === 20 ? '"hot"' : index} ${t0 + index}`,
    );
    await Promise.all(
      lines.map(
        (line, index) =>
          new Promise<void>((resolve) =>
            writer.add({ line, done: (refusal) => (refusals.set(index, refusal), resolve()) }),
          ),
      ),
    );
    expect([...refusals].filter(([, refusal]) => refusal !== undefined)).toEqual([
      [20, expect.stringContaining('field type conflict')],
    ]);
    expect(await influx.query(`SELECT count(temp) FROM ${name} WHERE time > 0 AND device = 'b'`)).toMatchObject([
      { count: 49 },
    ]);
  });

  it('gives up lines that are older than the retention in one write, and stores the others', async () => {
    const name = measurement();
    let writes = 0;
    const writer = new BatchWriter({
      write: (lines) => {
        writes += 1;
        return influx.write(lines);
      },
      maxLines: 100,
      maxDelayMs: 5,
      concurrency: 1,
      onUnavailable: () => undefined,
      onWritten: () => undefined,
    });
    const refused: number[] = [];
    const longAgo = Date.now() - 200 * 86_400_000;
    await Promise.all(
      Array.from({ length: 100 }, (_, index) => {
        const line = `${name},device=c temp=${index} ${(index % 3 === 0 ? longAgo : t0) + index}`;
        return new Promise<void>((resolve) =>
          writer.add({ line, done: (refusal) => (refusal !== undefined && refused.push(index), resolve()) }),
        );
      }),
    );
    expect(writes).toBe(1);
    expect(refused).toEqual(Array.from({ length: 34 }, (_, index) => index * 3));
    expect(await influx.query(`SELECT count(temp) FROM ${name} WHERE time > 0`)).toMatchObject([{ count: 66 }]);
  });

  it('that is away, or refuses the account, is unavailable: the lines may be taken later', async () => {
    const away = new Influx({ ...inject('engines').influxdb, url: 'http://127.0.0.1:9' });
    expect(await away.write(['a b=1'])).toMatchObject({ kind: 'unavailable' });
    const stranger = new Influx({ ...inject('engines').influxdb, password: 'wrong' });
    expect(await stranger.write(['a b=1'])).toMatchObject({ kind: 'unavailable' });
    await expect(stranger.query('SHOW DATABASES')).rejects.toThrow(InfluxQueryError);
  });

  it('refuses a query with its reason', async () => {
    await expect(influx.query('SELEKT 1')).rejects.toThrow(/found SELEKT/);
  });
});
