import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContractError } from './contract-error.ts';
import { TelemetryScanner, scanNumber } from './telemetry-scanner.ts';
import { decodeTelemetry, decodeTelemetryFully, MAX_TELEMETRY_BYTES } from './telemetry.ts';
import { defaultTopicMap, TopicMap, type TelemetryEntry } from './topic-map.ts';

type JsonEntry = Extract<TelemetryEntry, { decoder: 'json' }>;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function entryOf(topic: string, map = defaultTopicMap): TelemetryEntry {
  const entry = map.match(topic)?.entry;
  if (entry?.role !== 'telemetry') throw new Error(`${topic} is no telemetry`);
  return entry;
}

function jsonEntry(fields: Readonly<Record<string, { readonly metric: string }>>, others: 'keep' | 'drop'): JsonEntry {
  const map = TopicMap.from({
    topics: [{ pattern: 'a/{device}', role: 'telemetry', decoder: 'json', fields, others }],
  });
  const entry = entryOf('a/b', map);
  if (entry.decoder !== 'json') throw new Error('a/{device} is JSON');
  return entry;
}

const entries: readonly TelemetryEntry[] = [
  entryOf('devices/a/telemetry'),
  jsonEntry({ hum: { metric: 'humidity' }, temp: { metric: 'temp' }, a: { metric: 'temp' } }, 'drop'),
  jsonEntry({ 'a.b': { metric: 'nested' }, '': { metric: 'empty' }, 'ü b': { metric: 'named' } }, 'keep'),
  jsonEntry({ ts: { metric: 'clock' }, '5': { metric: 'five' } }, 'keep'),
  entryOf('iotclass/a/temperature'),
  entryOf('home/a/motion'),
  entryOf('home/a/light/state'),
];

type Outcome = { readonly telemetry: unknown } | { readonly code: string; readonly message: string };

function outcome(decode: typeof decodeTelemetry, payload: Uint8Array, entry: TelemetryEntry): Outcome {
  try {
    return { telemetry: decode(payload, entry) };
  } catch (error) {
    if (!(error instanceof ContractError)) throw error;
    return { code: error.code, message: error.message };
  }
}

function expectEqual(payload: Uint8Array): void {
  for (const entry of entries) {
    // Twice: what is known from the message before must change nothing.
    expect(outcome(decodeTelemetry, payload, entry)).toStrictEqual(outcome(decodeTelemetryFully, payload, entry));
    expect(outcome(decodeTelemetry, payload, entry)).toStrictEqual(outcome(decodeTelemetryFully, payload, entry));
  }
}

const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('temp', 'hum', 'vbat', 'a', 'b', 'mode', 'ts', 'up', 'session', 'seq') },
  fc.constantFrom('', '__proto__', 'constructor', 'a.b', 'a b', '5', '1st', 'ü b', 'door_bool', 'time', 'x'.repeat(65)),
  // Keys with the same hash: "Aa" and "BB".
  fc.constantFrom('Aa', 'BB', 'AaAa', 'BBBB'),
  fc.string({ unit: 'binary', maxLength: 5 }),
);
const numberText = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.integer(), fc.nat(6)).map(([value, digits]) => (value / 1_000).toFixed(digits)) },
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.maxSafeInteger().map(String),
  fc.stringMatching(/^-?\d{1,20}(\.\d{1,25})?([eE][+-]?\d{1,3})?$/),
  fc.constantFrom(
    '0',
    '-0',
    '-0.0',
    '01',
    '+1',
    '.5',
    '5.',
    '1e999',
    '-1e999',
    '1e-999',
    '1E5',
    '-',
    '1.',
    '1e',
    '1e+',
  ),
  fc.constantFrom('NaN', 'Infinity', '-Infinity', '0x10', '1_000', '9007199254740993', '1698765432123', '1e15'),
);
const textValue = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"eco"', '"\\u0065co"', '"\\ud800"', '"\\u0000"', '"nul\0"', '"tab\t"', '"', '"open', '"\\"', "'a'"),
  fc.constantFrom(255, 256, 257).map((length) => `"${'x'.repeat(length)}"`),
);
const value = fc.oneof(
  { weight: 5, arbitrary: numberText },
  textValue,
  fc.constantFrom(
    'true',
    'false',
    'null',
    'tru',
    'nul',
    'undefined',
    '',
    '[]',
    '[1]',
    '{}',
    '{"b":1}',
    '{"b":{"c":1}}',
  ),
  fc.json(),
);
const space = fc.oneof({ weight: 6, arbitrary: fc.constant('') }, fc.constantFrom(' ', '\n', '\r\n', '\t', '\u00a0'));
const member = fc
  .tuple(space, key, space, space, value, space)
  .map(([a, name, b, c, text, d]) => `${a}${JSON.stringify(name)}${b}:${c}${text}${d}`);
/** Objects as devices write them, with faults, and with keys that stand twice. */
const objectText = fc
  .tuple(
    fc.array(member, { maxLength: 8 }),
    fc.constantFrom('', '', '', '', ',', ' ', ', '),
    fc.constantFrom('', '', '', '', ',', ' ', '}', 'x', '\0'),
  )
  .map(([members, last, end]) => `{${members.join(',')}${last}}${end}`);
const goodMember = fc
  .tuple(
    fc.constantFrom('temp', 'hum', 'vbat', 'a', 'b', 'mode', 'door', 'ts', 'up', 'session', 'seq'),
    fc.oneof(
      fc.nat(2e9).map(String),
      fc.double({ min: -50, max: 150, noNaN: true }).map((number) => number.toFixed(2)),
    ),
  )
  .map(([name, text]) => `"${name}":${text}`);
const goodText = fc
  .tuple(fc.array(goodMember, { minLength: 1, maxLength: 6 }), fc.constantFrom('', '', '', ','))
  .map(([members, last]) => `{${members.join(',')}${last}}`);

/** The bytes with some of them replaced, left out or put in. */
const damaged = fc
  .tuple(
    fc.oneof(goodText, objectText, numberText),
    fc.array(fc.tuple(fc.nat(), fc.nat(2), fc.nat(255)), { minLength: 1, maxLength: 3 }),
  )
  .map(([text, changes]) => {
    const result = [...bytes(text)];
    for (const [place, removed, byte] of changes) result.splice(place % (result.length + 1), removed, byte);
    return Uint8Array.from(result);
  });

describe('a payload that is read straight from its bytes', () => {
  it('says what its JSON and the schemas say, or is refused with the same error', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          goodText.map(bytes),
          objectText.map(bytes),
          numberText.map(bytes),
          damaged,
          fc.json().map(bytes),
          fc.uint8Array({ maxLength: 100 }),
        ),
        expectEqual,
      ),
      { numRuns: 3_000 },
    );
  });

  it.each<[string, string | Uint8Array]>([
    ['nothing', ''],
    ['an empty object', '{}'],
    ['white space', ' { "temp" :\t1 ,\r\n"hum" : 2 } \n'],
    ['a key twice', '{"temp":1,"b":2,"temp":3}'],
    ['a key twice, once null', '{"b":1,"temp":2,"b":null}'],
    ['two keys of one hash', '{"Aa":1,"BB":2,"AaAa":3,"BBBB":4,"AaBB":5}'],
    ['metrics in another order than the topic map', '{"b":1,"vbat":2,"a":3,"temp":4,"hum":5}'],
    ['a byte order mark', new Uint8Array([0xef, 0xbb, 0xbf, ...bytes('{"temp":1}')])],
    ['UTF-8 that is broken', new Uint8Array([...bytes('{"mode":"'), 0xff, ...bytes('"}')])],
    ['a prototype', '{"__proto__":{"temp":1},"constructor":2,"temp":3}'],
    ['numbers at the end of precision', '{"a":9007199254740993,"b":0.1234567890123456789,"temp":123456789012345.6}'],
    ['numbers beyond the range', '{"a":1e999,"b":-1e309,"hum":1e-400}'],
    ['a float as a double', '{"temp":21.299999237060547,"hum":39.99999999999999}'],
    ['an unsafe session', '{"session":9007199254740992,"seq":-1,"temp":1}'],
    ['a session that is no whole number', '{"session":1.5,"seq":1e3,"temp":1}'],
    ['minus nothing', '{"session":-0,"seq":-0,"temp":-0,"up":-0}'],
    ['times that nobody believes', '{"ts":0,"up":1e15,"temp":1}'],
    ['a null time', '{"ts":null,"seq":null,"temp":1}'],
    ['64 metrics', JSON.stringify(Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`m${index}`, index])))],
    ['65 metrics', JSON.stringify(Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`m${index}`, index])))],
    ['a deep array', `{"temp":${'['.repeat(30_000)}`],
    ['a deep object', '{"a":'.repeat(3_000) + '1' + '}'.repeat(3_000)],
    ['a payload that is too large', `{"temp":1${' '.repeat(MAX_TELEMETRY_BYTES)}}`],
    ['a key that is too long', `{"${'k'.repeat(70)}":1,"temp":1}`],
    ['NaN', '{"temp":NaN}'],
    ['a comma behind the last', '{"temp":1,}'],
    ['a comma before the first', '{,"temp":1}'],
    ['nothing but a comma', '{,}'],
    ['a zero before a number', '{"temp":01}'],
    ['a plain number with a zero before it', '0021.50'],
  ])('is equal for %s', (_, payload) => {
    expectEqual(typeof payload === 'string' ? bytes(payload) : payload);
  });

  it('is equal when more keys come than are remembered', () => {
    const entry = jsonEntry({}, 'keep');
    for (let index = 0; index < 5_000; index += 1) {
      const payload = bytes(`{"k${index}":${index},"temp":1,"k${index % 7}":2}`);
      expect(outcome(decodeTelemetry, payload, entry)).toStrictEqual(outcome(decodeTelemetryFully, payload, entry));
    }
  });
});

describe('the scanner', () => {
  const scanner = new TelemetryScanner(jsonEntry({ temp: { metric: 'temp' } }, 'keep'), {
    maxReadings: 64,
    maxTextLength: 256,
  });

  it.each([
    '{"temp":21.5,"hum":40,"seq":123,"session":4}',
    '{"temp":22.5,"hum":45.3,"vbat":3.91,"ts":1698765432123,"session":7,"seq":1204}',
    '{"temp": 21.299999237060547, "mode": "eco", "door": true, "label": null}\n',
  ])('reads %s', (payload) => {
    expect(scanner.scan(bytes(payload))?.readings).toEqual(
      decodeTelemetryFully(bytes(payload), jsonEntry({ temp: { metric: 'temp' } }, 'keep')).readings,
    );
  });

  it.each(['{"temp":1,"temp":2}', '{"mode":"\\u0065"}', '{"a":{}}', '{"temp":1', '[1]', '{"a b":1}', '{"mode":"ü"}'])(
    'leaves %s to the full decoder',
    (payload) => {
      expect(scanner.scan(bytes(payload))).toBeUndefined();
    },
  );

  it.each([
    ['22.50', 22.5],
    ['  -3', -3],
    ['1e3', undefined],
    ['+1', undefined],
    ['1234567890123456', undefined],
    ['1 ', undefined],
    ['', undefined],
  ])('reads the plain number %j as %j', (payload, number) => {
    expect(scanNumber(bytes(payload))).toBe(number);
  });
});
