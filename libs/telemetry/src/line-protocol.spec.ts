import { deviceId, type Telemetry } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { statisticsLine, telemetryLine } from './line-protocol.ts';

const telemetry: Telemetry = { readings: [], time: { kind: 'none' }, session: undefined, seq: undefined, rejected: [] };
const lab1 = deviceId('lab1');

describe('a line of line protocol', () => {
  it('has a field of its own for each type, so that no type ever conflicts', () => {
    const readings = [
      { metric: 'temp', value: 22.5, unit: '°C' },
      { metric: 'door', value: true, unit: undefined },
      { metric: 'mode', value: 'a "b"\\c', unit: undefined },
    ];
    expect(telemetryLine(lab1, { ...telemetry, readings, session: 7, seq: 3 }, 1_000)).toBe(
      'telemetry,device=lab1 temp=22.5,door_bool=true,mode_text="a \\"b\\"\\\\c",session=7,seq=3 1000',
    );
  });

  it('writes whole numbers and very small ones as floats', () => {
    const readings = [
      { metric: 'a', value: 22, unit: undefined },
      { metric: 'b', value: 1e-7, unit: undefined },
    ];
    expect(telemetryLine(lab1, { ...telemetry, readings }, 5)).toBe('telemetry,device=lab1 a=22,b=1e-7 5');
  });

  it('is nothing without readings', () => {
    expect(telemetryLine(lab1, { ...telemetry, session: 1, seq: 2 }, 5)).toBeUndefined();
  });
});

describe('a line of statistics', () => {
  it('escapes what a broker or a host may be called, and stores every number as a float', () => {
    const point = {
      measurement: 'broker',
      tags: { broker: 'a b,c=d' },
      fields: { uptime: 12, version: 'mosquitto "2.0"' },
    };
    expect(statisticsLine(point, 5)).toBe('broker,broker=a\\ b\\,c\\=d uptime=12,version="mosquitto \\"2.0\\"" 5');
  });

  it('leaves out what InfluxDB cannot store, and is nothing without fields', () => {
    const tags = {};
    expect(statisticsLine({ measurement: 'm', tags, fields: { a: Number.NaN, b: 1 } }, 5)).toBe('m b=1 5');
    expect(statisticsLine({ measurement: 'm', tags, fields: { a: Number.POSITIVE_INFINITY } }, 5)).toBeUndefined();
  });
});
