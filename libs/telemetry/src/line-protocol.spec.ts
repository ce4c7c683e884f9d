import { deviceId, type Telemetry } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitLines, statisticsLine, telemetryLine } from './line-protocol.ts';

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

  it('never writes a number as an integer or a boolean, whichever it is', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const line =
          telemetryLine(lab1, { ...telemetry, readings: [{ metric: 'a', value, unit: undefined }] }, 5) ?? '';
        const written = line.slice(line.indexOf('=', line.indexOf(' ')) + 1, line.lastIndexOf(' '));
        expect(written).toMatch(/^-?\d+(\.\d+)?(e[+-]\d+)?$/);
        expect(Number(written)).toBe(value === 0 ? 0 : value);
      }),
    );
  });

  it('has the time as it is, also where its last digits begin with zeros', () => {
    const readings = [{ metric: 'a', value: 1, unit: undefined }];
    const times = fc.oneof(
      fc.integer({ min: 0, max: 4e12 }),
      fc.nat(4e6).map((head) => head * 1e6),
      fc.nat(4e6).map((head) => head * 1e6 + 99_999),
    );
    fc.assert(
      fc.property(times, (epochMs) => {
        expect(telemetryLine(lab1, { ...telemetry, readings }, epochMs)).toBe(`telemetry,device=lab1 a=1 ${epochMs}`);
      }),
    );
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

describe('lines in a text of line protocol', () => {
  it('are those that were joined, whatever their texts hold', () => {
    const text = fc.string({ unit: fc.constantFrom('a', '"', '\\', '\n', '=', ',', ' ', 'é'), maxLength: 12 });
    const reading = fc.oneof(
      fc.record({ metric: fc.constant('m'), value: text, unit: fc.constant(undefined) }),
      fc.record({ metric: fc.constant('n'), value: fc.integer(), unit: fc.constant(undefined) }),
    );
    fc.assert(
      fc.property(fc.array(fc.array(reading, { minLength: 1, maxLength: 3 }), { maxLength: 6 }), (messages) => {
        const lines = messages.flatMap((readings) => telemetryLine(lab1, { ...telemetry, readings }, 5) ?? []);
        expect(splitLines(lines.join('\n'))).toEqual(lines);
      }),
      { numRuns: 500 },
    );
  });

  it('are found where a tag has a quote, which opens no text there, and empty ones are none', () => {
    const lines = [statisticsLine({ measurement: 'm', tags: { a: 'x"y' }, fields: { v: '"\n' } }, 5) ?? '', 'm b=1 5'];
    expect(splitLines(`\n${lines.join('\n\n')}\n`)).toEqual(lines);
    expect(splitLines('\na b=1 1\n\n')).toEqual(['a b=1 1']);
  });
});
