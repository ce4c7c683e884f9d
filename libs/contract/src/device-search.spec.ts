import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import {
  FIRMWARE_VERSION,
  MAX_SEARCH_LENGTH,
  parseDeviceSearch,
  printDeviceSearch,
  type SearchedFirmware,
  type SearchedReading,
  type SearchTerm,
  type SearchedSilence,
  type TextPattern,
} from './device-search.ts';
import { lifeStateSchema, presenceStateSchema } from './rest/device.ts';
import { isMetricName } from './topic-map.ts';

/** What a search that is refused is told. */
function refusal(text: string): string {
  try {
    return `read as ${JSON.stringify(parseDeviceSearch(text))}`;
  } catch (error) {
    if (!(error instanceof ContractError)) throw error;
    expect(error.code).toBe('invalid-search');
    return error.message;
  }
}

describe('a search for devices', () => {
  it.each<[string, readonly SearchTerm[]]>([
    ['', []],
    ['  \t ', []],
    ['presence:lost', [{ field: 'presence', values: ['lost'], negated: false }]],
    ['presence:LOST,stale', [{ field: 'presence', values: ['lost', 'stale'], negated: false }]],
    ['-state:registered', [{ field: 'state', values: ['registered'], negated: true }]],
    ['fw:<1.4', [{ field: 'fw', values: [{ kind: 'version', comparison: '<', version: '1.4' }], negated: false }]],
    [
      'firmware:>=v2.0.0-rc1,=3',
      [
        {
          field: 'fw',
          values: [
            { kind: 'version', comparison: '>=', version: 'v2.0.0-rc1' },
            { kind: 'version', comparison: '=', version: '3' },
          ],
          negated: false,
        },
      ],
    ],
    ['fw:1.4.*', [{ field: 'fw', values: [{ kind: 'pattern', pattern: ['1.4.', ''] }], negated: false }]],
    ['fw:nightly-x', [{ field: 'fw', values: [{ kind: 'pattern', pattern: ['nightly-x'] }], negated: false }]],
    ['tag:Roof', [{ field: 'tag', values: [['roof']], negated: false }]],
    ['model:esp32*', [{ field: 'model', values: [['esp32', '']], negated: false }]],
    ['model:"esp32*"', [{ field: 'model', values: [['esp32*']], negated: false }]],
    ['name:"hall, left"*', [{ field: 'name', values: [['hall, left', '']], negated: false }]],
    ['-group:*', [{ field: 'group', values: [['', '']], negated: true }]],
    ['id:a**b***', [{ field: 'id', values: [['a', 'b', '']], negated: false }]],
    ['broker:mosquitto-0', [{ field: 'broker', values: [['mosquitto-0']], negated: false }]],
    [
      'last.temp:>30',
      [{ field: 'last', metric: 'temp', values: [{ kind: 'number', comparison: '>', number: 30 }], negated: false }],
    ],
    [
      'last.Door:true,-1',
      [
        {
          field: 'last',
          metric: 'Door',
          values: [
            { kind: 'pattern', pattern: ['true'] },
            { kind: 'pattern', pattern: ['-1'] },
          ],
          negated: false,
        },
      ],
    ],
    [
      'seen:>10m',
      [{ field: 'seen', values: [{ kind: 'duration', comparison: '>', durationMs: 600_000 }], negated: false }],
    ],
    ['seen:never', [{ field: 'seen', values: [{ kind: 'never' }], negated: false }]],
    [
      '"garden shed" -hall*lamp',
      [
        { field: 'text', pattern: ['garden shed'], negated: false },
        { field: 'text', pattern: ['hall', 'lamp'], negated: true },
      ],
    ],
    ['"a \\"b\\" \\\\ \\c"', [{ field: 'text', pattern: ['a "b" \\ \\c'], negated: false }]],
    ['"presence:lost"', [{ field: 'text', pattern: ['presence:lost'], negated: false }]],
    [
      `'; DROP`,
      [
        { field: 'text', pattern: [`';`], negated: false },
        { field: 'text', pattern: ['DROP'], negated: false },
      ],
    ],
    ['größe:1', [{ field: 'text', pattern: ['größe:1'], negated: false }]],
  ])('reads %j', (text, terms) => {
    expect(parseDeviceSearch(text)).toEqual(terms);
  });

  it.each([
    [
      'colour:red',
      /^search, position 1: there is no field "colour"; expected one of id, name, .*; a text with a colon stands in quotes$/,
    ],
    ['http://hall', /position 1: there is no field "http"/],
    ['tag:a  presence:gone', /position 17: not a value of presence; expected one of online, asleep/],
    ['presence:lost*', /position 10: not a value of presence/],
    ['presence:', /position 10: presence: has no value here; write one behind it/],
    ['tag:a,,b', /position 7: tag: has no value here/],
    ['tag:""', /position 7: tag: has no value here/],
    ['name:<x', /position 6: name: has no order; .* < is for fw, seen and last\.METRIC/],
    ['fw:<nightly', /position 4: not a version; expected one such as fw:<1\.4/],
    ['fw:<1.*', /position 4: not a version/],
    ['last.temp:>warm', /position 11: not a number; expected one such as last\.temp:>30/],
    ['last.temp:>1e999', /position 11: not a number/],
    ['last.:1', /position 1: "" is no metric/],
    ['last.ts:1', /position 1: "ts" is no metric/],
    ['seen:10m', /position 6: not a time of silence; expected one such as seen:>10m/],
    ['seen:>10', /position 6: not a time of silence/],
    ['seen:>99999w', /position 6: longer than 100 years/],
    ['name:"hall', /position 6: this quote has no end; write " at the end/],
    ['""', /position 1: this text is empty/],
    ['-', /position 2: this text is empty/],
    ['a - b', /position 4: this text is empty/],
    ['\0', /position 1: it has U\+0000/],
    ['\ud800', /position 1: it has U\+0000 or a lone surrogate/],
  ])('refuses %j and says where and why', (text, why) => {
    expect(refusal(text)).toMatch(why);
  });

  it('is refused where it is longer than anybody writes one', () => {
    expect(refusal('x'.repeat(MAX_SEARCH_LENGTH + 1))).toMatch(/position 1001: it is too long; at most 1000/);
    expect(refusal('a '.repeat(17))).toMatch(/position 33: it has too many terms; at most 16/);
    expect(refusal(`tag:${'a,'.repeat(50)}a`)).toMatch(/position 105: tag: has more than 50 values/);
  });

  it('is read again from what it is printed as', () => {
    const piece = fc
      .oneof(
        fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }),
        fc.constantFrom('-x', ',', '"', '\\', ':', '*', '<1', 'a b', '='),
      )
      .filter((text) => !text.includes('\0') && text.isWellFormed());
    const edge = fc.oneof(fc.constant(''), piece);
    const pattern: fc.Arbitrary<TextPattern> = fc.oneof(
      piece.map((text) => [text]),
      fc.tuple(edge, fc.array(piece, { maxLength: 2 }), edge).map(([first, middle, last]) => [first, ...middle, last]),
    );
    const small = pattern.map((pieces) => pieces.map((text) => text.toLowerCase()));
    const comparison = fc.constantFrom('<', '<=', '>', '>=');
    const firmware = fc.oneof<fc.Arbitrary<SearchedFirmware>[]>(
      pattern
        .filter((pieces) => pieces.length > 1 || !new RegExp(FIRMWARE_VERSION).test(pieces[0] ?? ''))
        .map((pieces) => ({ kind: 'pattern', pattern: pieces })),
      fc.record({
        kind: fc.constant('version'),
        comparison: fc.oneof(comparison, fc.constant('=')),
        version: fc.constantFrom('1', 'v1.10.0', '2.0.0-rc.1+build.5', '1.4b'),
      }),
    );
    const reading = fc.oneof<fc.Arbitrary<SearchedReading>[]>(
      pattern.map((pieces) => ({ kind: 'pattern', pattern: pieces })),
      fc.record({
        kind: fc.constant('number'),
        comparison,
        number: fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (number === 0 ? 0 : number)),
      }),
    );
    const silence = fc.oneof<fc.Arbitrary<SearchedSilence>[]>(
      fc.record({ kind: fc.constant('never') }),
      fc.record({ kind: fc.constant('duration'), comparison, durationMs: fc.nat({ max: 3_000_000_000 }) }),
    );
    const values = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: 1, maxLength: 3 });
    const negated = fc.boolean();
    const term = fc.oneof<fc.Arbitrary<SearchTerm>[]>(
      fc.record({ field: fc.constant('text'), pattern, negated }),
      fc.record({ field: fc.constantFrom('id', 'name', 'model', 'broker'), values: values(pattern), negated }),
      fc.record({ field: fc.constantFrom('tag', 'group'), values: values(small), negated }),
      fc.record({
        field: fc.constant('presence'),
        values: values(fc.constantFrom(...presenceStateSchema.options)),
        negated,
      }),
      fc.record({ field: fc.constant('state'), values: values(fc.constantFrom(...lifeStateSchema.options)), negated }),
      fc.record({ field: fc.constant('fw'), values: values(firmware), negated }),
      fc.record({ field: fc.constant('seen'), values: values(silence), negated }),
      fc.record({
        field: fc.constant('last'),
        metric: fc.stringMatching(/^[A-Za-z][A-Za-z0-9_.-]{0,8}$/).filter(isMetricName),
        values: values(reading),
        negated,
      }),
    );
    fc.assert(
      fc.property(fc.array(term, { maxLength: 5 }), (terms) => {
        const printed = printDeviceSearch(terms);
        fc.pre(printed.length <= MAX_SEARCH_LENGTH);
        expect(parseDeviceSearch(printed)).toEqual(terms);
        expect(printDeviceSearch(parseDeviceSearch(printed))).toBe(printed);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is read, or refused with its position, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        try {
          parseDeviceSearch(text);
        } catch (error) {
          expect(error).toMatchObject({
            code: 'invalid-search',
            message: expect.stringMatching(/position \d+: .+; .+/),
          });
        }
      }),
      { numRuns: 5_000 },
    );
  });
});
