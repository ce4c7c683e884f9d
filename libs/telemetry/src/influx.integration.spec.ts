import { randomUUID } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
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
    expect(await influx.write(`${name},device=a temp=22.5,door_bool=true,label_text="${escaped}" ${t0 + 123}`)).toEqual(
      { kind: 'stored' },
    );
    expect(
      await influx.query(`SELECT temp, door_bool, label_text FROM ${name} WHERE time > 0 GROUP BY device`),
    ).toEqual([{ device: 'a', time: t0 + 123, temp: 22.5, door_bool: true, label_text: text }]);
  });

  it('takes the same point twice without storing it twice', async () => {
    const name = measurement();
    await influx.write(`${name},device=a temp=1 ${t0}`);
    await influx.write(`${name},device=a temp=1 ${t0}`);
    expect(await influx.query(`SELECT count(temp) FROM ${name} WHERE time > 0`)).toMatchObject([{ count: 1 }]);
  });

  it('that is away, or refuses the account, is unavailable: the lines may be taken later', async () => {
    const away = new Influx({ ...inject('engines').influxdb, url: 'http://127.0.0.1:9' });
    expect(await away.write('a b=1')).toMatchObject({ kind: 'unavailable' });
    const stranger = new Influx({ ...inject('engines').influxdb, password: 'wrong' });
    expect(await stranger.write('a b=1')).toMatchObject({ kind: 'unavailable' });
    await expect(stranger.query('SHOW DATABASES')).rejects.toThrow(InfluxQueryError);
  });

  it('refuses a query with its reason', async () => {
    await expect(influx.query('SELEKT 1')).rejects.toThrow(/found SELEKT/);
  });
});
