import { describe, expect, it } from 'vitest';
import { dashboardQueries, intervalMs, resolved, type Circumstances } from './grafana.ts';

const circumstances: Circumstances = {
  variables: { device: "o'neil/1", metric: 'temp' },
  fromMs: 1_000,
  toMs: 61_000,
  intervalMs: 10_000,
};

describe('a query as Grafana sends it', () => {
  it.each([
    [
      'influxdb',
      'WHERE $timeFilter GROUP BY time($__interval)',
      'WHERE time >= 1000ms and time <= 61000ms GROUP BY time(10s)',
    ],
    ['influxdb', '"device" =~ /^${device:regex}$/', '"device" =~ /^o\'neil\\/1$/'],
    ['influxdb', 'mean("${metric:raw}")', 'mean("temp")'],
    ['postgres', 'id = ${device:sqlstring}', "id = 'o''neil/1'"],
    ['postgres', '$__timeFilter(at)', "at BETWEEN '1970-01-01T00:00:01.000Z' AND '1970-01-01T00:01:01.000Z'"],
    ['postgres', '$__timeFrom()::timestamptz', "'1970-01-01T00:00:01.000Z'::timestamptz"],
    ['postgres', '$__timeGroupAlias(at, $__interval)', 'floor(extract(epoch from at)/10)*10 AS "time"'],
    ['postgres', "$__interval_ms * interval '1 millisecond'", "10000 * interval '1 millisecond'"],
  ] as const)('of %s: %s', (engine, text, expected) => {
    expect(resolved({ engine, text }, circumstances)).toBe(expected);
  });

  it.each([
    ['a variable', '${nobody}'],
    ['a format', '${device:csv}'],
    ['a macro', '$__unixEpochFilter(at)'],
  ])('is refused where %s is not known', (_, text) => {
    expect(() => resolved({ engine: 'postgres', text }, circumstances)).toThrow(/undefined|unknown/);
  });

  it('has steps that make a thousand points at most, and none shorter than 10 s', () => {
    expect(intervalMs(3_600_000)).toBe(10_000);
    expect(intervalMs(6 * 3_600_000)).toBe(30_000);
    expect(intervalMs(30 * 86_400_000)).toBe(3_600_000);
  });

  it('is found in panels, annotations and variables', () => {
    const places = dashboardQueries().map(({ place }) => place);
    expect(places).toContain('Fleet overview / Lost or stale now / A');
    expect(places).toContain('Device / annotation Presence / Anno');
    expect(places).toContain('Device / variable metric / query');
    expect(new Set(places).size).toBe(places.length);
  });
});
