import type { DeviceId, ExportedDevice } from '@muster/contract';
import { ProblemError } from '@muster/service';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  elementLines,
  fileHead,
  fileRows,
  fileTail,
  harmlessCell,
  originalCell,
  readDeviceFile,
} from './device-file.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
/** The rows of a file, each as its line and its device or the fields with faults. */
const read = (format: 'csv' | 'json', text: string): readonly unknown[] =>
  readDeviceFile(format, bytes(text)).map((row) =>
    'device' in row ? [row.line, row.device] : [row.line, row.faults.map(({ path }) => path)],
  );

describe('a file of devices', () => {
  it.each<[string, string, readonly unknown[]]>([
    ['plain', 'id,name\na,Lamp\n', [[2, { id: 'a', name: 'Lamp' }]]],
    ['from a spreadsheet', '\ufeffid;name\r\na;"Lamp; left"\r\n', [[2, { id: 'a', name: 'Lamp; left' }]]],
    ['with tabs', 'ID\tTags\na\troof Hall\n', [[2, { id: 'a', tags: ['hall', 'roof'] }]]],
    [
      'with one column',
      'id\na\n\nb\n',
      [
        [2, { id: 'a' }],
        [4, { id: 'b' }],
      ],
    ],
    [
      'with quotes and line breaks',
      'id,name,description\r\na,"say ""hi""","one\r\ntwo"\r\nb,x,\r\n',
      [
        [2, { id: 'a', name: 'say "hi"', description: 'one\r\ntwo' }],
        [4, { id: 'b', name: 'x', description: null }],
      ],
    ],
    [
      'with what only an export has',
      'id,state,presence,model,firmware,broker\na,online,x,y,z,\n',
      [[2, { id: 'a', state: 'online', presence: 'x', model: 'y', firmware: 'z', broker: null }]],
    ],
    [
      'with faults',
      'id,tags,name\na/#,x,y\nb,r/oof,\n,x,y\nc,x\nd,x,"n\ne"\nd,,\n',
      [
        [2, ['id']],
        [3, ['tags.0']],
        [4, ['id']],
        [5, ['']],
        [6, { id: 'd', tags: ['x'], name: 'n\ne' }],
        [8, ['id']],
      ],
    ],
  ])('is read as CSV %s', (_what, text, rows) => {
    expect(read('csv', text)).toEqual(rows);
  });

  it('is read as JSON, with the line in which each device begins', () => {
    const text =
      '[\n{"id":"a","tags":["Roof","roof"],"name":"]}\\"["},\n\n{"id":"b", "colour":"red"}, {"id":"c",\n"name":7},\n5]';
    expect(read('json', text)).toEqual([
      [2, { id: 'a', tags: ['roof'], name: ']}"[' }],
      [4, ['']],
      [4, ['name']],
      [6, ['']],
    ]);
  });

  it.each([
    ['csv', '', /line 1: expected a heading with the column id/],
    ['csv', 'name\nx\n', /expected a heading with the column id .*; found "name"/],
    ['csv', 'id,colour\na,b\n', /found "id,colour"/],
    ['csv', 'id,id\na,b\n', /each once/],
    ['csv', 'id,name\na,"x', /is not CSV: Quote Not Closed.* line 2/],
    ['csv', `id\n${'a\n'.repeat(20_001)}`, /has 20001 devices, and at most 20000 .*; divide it/],
    ['json', '', /is not JSON/],
    ['json', '[{"id":"a"},]', /is not JSON/],
    ['json', '{"id":"a"}', /expected a JSON array of devices/],
  ] as const)('is refused as a whole: %s %j', (format, text, why) => {
    expect(() => readDeviceFile(format, bytes(text))).toThrow(why);
    expect(() => readDeviceFile(format, bytes(text))).toThrow(ProblemError);
  });

  it('is refused where it is not UTF-8', () => {
    expect(() => readDeviceFile('csv', Uint8Array.of(0x69, 0x64, 0x0a, 0xff))).toThrow(/not UTF-8; save it as UTF-8/);
  });

  const text = fc
    .string({ unit: 'grapheme', maxLength: 20 })
    .map((value) => value.replaceAll('\0', '').toWellFormed().trim());
  const edge = fc.constantFrom('=1+1', '-5', "'", "'=x", "''@", '\ty', 'a\r\nb', '"', ',', ';', '+', '@', "'\rz");
  const word = fc.stringMatching(/^[a-z0-9][a-z0-9_.-]{0,8}$/);
  const words = fc.uniqueArray(word, { maxLength: 4 }).map((list) => [...list].sort());
  const named = fc
    .oneof(
      text,
      edge.map((value) => value.trim()),
    )
    .map((value) => (value === '' ? null : value));
  const exported: fc.Arbitrary<ExportedDevice> = fc.record({
    id: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/).map((id) => id as DeviceId),
    ...{ name: named, description: named, tags: words, groups: words },
    ...{ state: fc.constant('registered'), presence: fc.constant('online') },
    ...{ model: named, firmware: named, broker: named },
  });

  it.each(['csv', 'json'] as const)('that was exported as %s is read as it was', (format) => {
    fc.assert(
      fc.property(
        fc.uniqueArray(exported, { selector: ({ id }) => id, maxLength: 6 }),
        fc.nat({ max: 6 }),
        (devices, cut) => {
          const pages = [devices.slice(0, cut), devices.slice(cut)];
          const file = `${fileHead(format)}${fileRows(format, pages[0] ?? [], true)}${fileRows(format, pages[1] ?? [], cut === 0 || devices.length === 0)}${fileTail(format)}`;
          const back = readDeviceFile(format, bytes(file)).map((row) => ('device' in row ? row.device : row));
          expect(back).toEqual(devices);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('has no cell that a spreadsheet would calculate', () => {
    expect(['=1', '+1', '-1', '@x', '\tx', '\rx', "'=1", 'a=1', "'a", ''].map(harmlessCell)).toEqual([
      ...["'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "''=1"],
      ...['a=1', "'a", ''],
    ]);
    fc.assert(
      fc.property(fc.oneof(fc.string(), edge), (value) => {
        expect(harmlessCell(value)).not.toMatch(/^[=+\-@\t\r]/);
        expect(originalCell(harmlessCell(value))).toBe(value);
      }),
    );
  });

  it('has as many lines as JSON has elements, however these are written', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 5 }), fc.constantFrom(0, 2), (values, indent) => {
        expect(elementLines(JSON.stringify(values, undefined, indent))).toHaveLength(values.length);
      }),
    );
  });
});
