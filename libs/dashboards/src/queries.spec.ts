import { describe, expect, it } from 'vitest';
import { increase, influxQl, newest, overTime, perSecond, sql, total } from './queries.ts';

describe('InfluxQL', () => {
  it('over time has the time range, the interval, and says what stands in an empty step', () => {
    expect(overTime({ from: 'broker', select: 'last("uptime")', tags: ['broker'] })).toBe(
      'SELECT last("uptime") FROM "broker" WHERE $timeFilter GROUP BY time($__interval), "broker" fill(null)',
    );
    expect(overTime({ from: 'm', select: 'mean("x")', where: [`"device" = 'a'`], fill: 'none' })).toBe(
      `SELECT mean("x") FROM "m" WHERE $timeFilter AND "device" = 'a' GROUP BY time($__interval) fill(none)`,
    );
  });

  it('adds up rates series by series, so that one that began anew disturbs no other', () => {
    expect(total({ from: 'ingestion', tags: ['broker'] }, perSecond('readings'))).toBe(
      'SELECT sum("part") FROM (SELECT non_negative_derivative(last("readings"), 1s) AS "part" FROM "ingestion" WHERE $timeFilter GROUP BY time($__interval), "broker" fill(none)) WHERE $timeFilter GROUP BY time($__interval) fill(null)',
    );
  });

  it('counts what a counter grew by in the range', () => {
    expect(increase({ from: 'broker', field: 'publish_dropped', tags: ['broker'] }, 'broker')).toBe(
      'SELECT sum("growth") FROM (SELECT non_negative_derivative(last("publish_dropped"), $__interval) AS "growth" FROM "broker" WHERE $timeFilter GROUP BY time($__interval), "broker" fill(none)) WHERE $timeFilter GROUP BY "broker"',
    );
  });

  it('keeps the names of the newest values, and quotes what is no plain name', () => {
    expect(newest('broker', ['heap', 'a"b'], 'broker')).toBe(
      'SELECT last("heap") AS "heap", last("a\\"b") AS "a\\"b" FROM "broker" WHERE $timeFilter GROUP BY "broker"',
    );
  });
});

describe('a query of a panel', () => {
  it('names its data source by variable and takes the id that the panel gives', () => {
    expect(JSON.parse(JSON.stringify(influxQl('SELECT 1', { alias: 'one' }).target('B')))).toEqual({
      refId: 'B',
      datasource: { type: 'influxdb', uid: '${influxdb}' },
      query: 'SELECT 1',
      rawQuery: true,
      resultFormat: 'time_series',
      alias: 'one',
    });
  });

  it('stands without the indentation of its source', () => {
    const target = sql(`
        SELECT 1
          FROM x`).target('A') as unknown as { rawSql: string };
    expect(target.rawSql).toBe('SELECT 1\n  FROM x');
  });
});
