/**
 * Prints the vectors of the contract with devices: what firmware and services both have to write and to read. Written to
 * `vectors.json` by `npm run generate`; tested by libs/contract/src/vectors.spec.ts, libs/simulator/src/device-core.spec.ts
 * and firmware/native/tests/vectors_test.cpp.
 */
import { encodeBirth, encodeOffline } from './src/index.ts';

const NOW = 1_698_765_432_123;
const LARGEST = Number.MAX_SAFE_INTEGER;

/** A reading in units of `10^-decimals`, as a device without floating point has it. */
type Fixed = readonly [metric: string, value: number, decimals: number];
type Moment = { readonly clockMs: number } | { readonly uptimeMs: number };

const ids = [
  ...['a', 'lab1', 'ESP32_DHT22_001', 'living_room-motion', '0', '-', 'x'.repeat(64)].map((text) => ({
    text,
    valid: true,
  })),
  ...['', 'a b', 'a,b', 'a=b', 'a/b', 'a+', '#', 'ü', 'a\n', '$SYS', '../x', 'x'.repeat(65)].map((text) => ({
    text,
    valid: false,
  })),
];

const topics = (['status', 'info', 'config', 'telemetry', 'command', 'ack'] as const).flatMap((channel) =>
  ['a', 'hall-motion', 'x'.repeat(64)].map((device) => ({ device, channel, topic: `devices/${device}/${channel}` })),
);

const roomTopics = [
  { node: 'motion', room: 'hall', retained: ['home/hall/motion'], sent: [], told: [] },
  {
    node: 'light',
    room: 'living_room',
    retained: ['home/living_room/light/state'],
    sent: [],
    told: ['home/living_room/light/command'],
  },
  { node: 'motion_light', room: 'hall', retained: ['home/hall/motion'], sent: ['home/hall/light/command'], told: [] },
];

const births = [
  { session: 1, moment: { clockMs: NOW }, payload: encodeBirth(1, NOW) },
  { session: LARGEST, moment: { clockMs: NOW }, payload: encodeBirth(LARGEST, NOW) },
  { session: 2, moment: { uptimeMs: 20 }, payload: '{"status":"online","session":2,"up":20}' },
  ...[
    { session: 7, seq: 1204, dropped: 0 },
    { session: LARGEST - 1, seq: 4_294_967_295, dropped: 4_294_967_295 },
  ].map((prev) => ({
    session: prev.session + 1,
    moment: { clockMs: NOW },
    prev,
    payload: JSON.stringify({ status: 'online', session: prev.session + 1, timestamp: NOW, prev }),
  })),
];

const wills = [1, 7, 4_294_967_296, LARGEST].map((session) => {
  const payload = encodeOffline(session, 'unexpected');
  return { session, payload, bytes: payload.length };
});

const goodbyes = [
  { session: 7, reason: 'shutdown', payload: encodeOffline(7, 'shutdown') },
  { session: 7, reason: 'update', payload: encodeOffline(7, 'update') },
  { session: 7, reason: 'sleep', payload: encodeOffline(7, 'sleep') },
  ...[1, 300, 31_536_000].map((wakeIn) => ({
    session: LARGEST,
    reason: 'sleep',
    wakeIn,
    payload: JSON.stringify({ status: 'offline', session: LARGEST, reason: 'sleep', wake_in: wakeIn }),
  })),
];

function telemetry(readings: readonly Fixed[], moment: Moment, session: number, seq: number): object {
  const values = Object.fromEntries(readings.map(([metric, value, decimals]) => [metric, value / 10 ** decimals]));
  const time = 'clockMs' in moment ? { ts: moment.clockMs } : { up: moment.uptimeMs };
  const payload = JSON.stringify({ ...values, ...time, session, seq });
  return {
    readings: readings.map(([metric, value, decimals]) => ({ metric, value, decimals })),
    moment,
    session,
    seq,
    payload,
  };
}

const telemetries = [
  telemetry(
    [
      ['temp', 225, 1],
      ['hum', 453, 1],
    ],
    { clockMs: NOW },
    7,
    1204,
  ),
  telemetry([['vbat', 391, 2]], { clockMs: NOW }, 7, 1),
  telemetry(
    [
      ['temp', -5, 1],
      ['hum', 0, 1],
    ],
    { uptimeMs: 5_300 },
    1,
    1,
  ),
  telemetry(
    [
      ['temp', -400, 1],
      ['hum', 1000, 1],
    ],
    { uptimeMs: 4_294_967_296 },
    LARGEST,
    4_294_967_295,
  ),
  telemetry(
    [
      ['temp', -4, 2],
      ['vbat', 400, 2],
      ['failed_reads', 12, 0],
    ],
    { clockMs: 1_577_836_800_000 },
    3,
    2,
  ),
  telemetry([['temp', 2_147_483_647, 3]], { clockMs: NOW }, 3, 3),
];

const acks = [
  { id: 'c-1', payload: '{"id":"c-1","ok":true}' },
  {
    id: '6f9619ff-8b86-d011-b42d-00c04fc964ff',
    error: 'expired',
    payload: '{"id":"6f9619ff-8b86-d011-b42d-00c04fc964ff","ok":false,"error":"expired"}',
  },
  {
    id: 'a"b\\c',
    error: 'unknown command',
    payload: JSON.stringify({ id: 'a"b\\c', ok: false, error: 'unknown command' }),
  },
];

const lights = [
  { text: 'ON', on: true },
  { text: 'off', on: false },
  { text: ' On\n', on: true },
  { text: '0', on: false, brightness: 0 },
  { text: '1', on: true, brightness: 1 },
  { text: ' 60 ', on: true, brightness: 60 },
  { text: '007', on: true, brightness: 7 },
  { text: '100', on: true, brightness: 100 },
  ...['', ' ', '101', '-1', '+1', '5.5', '1e2', '0100', 'true', 'ON OFF', 'OF', 'ONN', '0x10', '٣'].map((text) => ({
    text,
  })),
];

/** What a device says of its time, one after the other; 0 for the clock is none. `next` is the moment of a reading. */
const times = [
  {
    name: 'without a clock it is the time since the start',
    at: [
      { millis: 500, clockMs: 0, next: { uptimeMs: 0 } },
      { millis: 5_500, clockMs: 0, next: { uptimeMs: 5_000 } },
    ],
  },
  {
    name: 'a clock that has not been set, or shows the 1970s or 2000, is none',
    at: [
      { millis: 0, clockMs: 1, next: { uptimeMs: 0 } },
      { millis: 10, clockMs: 946_684_800_000, next: { uptimeMs: 10 } },
      { millis: 20, clockMs: 1_577_836_799_999, next: { uptimeMs: 20 } },
      { millis: 30, clockMs: 1_577_836_800_000, next: { clockMs: 1_577_836_800_000 } },
    ],
  },
  {
    name: 'the milliseconds of the board wrap after 49.7 days, the time since the start does not',
    at: [
      { millis: 4_294_967_000, clockMs: 0, next: { uptimeMs: 0 } },
      { millis: 4_294_967_295, clockMs: 0, next: { uptimeMs: 295 } },
      { millis: 0, clockMs: 0, next: { uptimeMs: 296 } },
      { millis: 4_294_966_999, clockMs: 0, next: { uptimeMs: 4_294_967_295 } },
      { millis: 4_294_967_000, clockMs: 0, next: { uptimeMs: 4_294_967_296 } },
    ],
  },
  {
    name: 'two readings of one millisecond have times of their own',
    at: [
      { millis: 0, clockMs: NOW, next: { clockMs: NOW } },
      { millis: 0, clockMs: NOW, next: { clockMs: NOW + 1 } },
      { millis: 1, clockMs: NOW + 1, next: { clockMs: NOW + 2 } },
      { millis: 9, clockMs: NOW + 9, next: { clockMs: NOW + 9 } },
    ],
  },
  {
    name: 'a clock that is adjusted backwards goes on growing',
    at: [
      { millis: 0, clockMs: NOW, next: { clockMs: NOW } },
      { millis: 5_000, clockMs: NOW - 59_000, next: { clockMs: NOW + 1 } },
      { millis: 10_000, clockMs: NOW - 54_000, next: { clockMs: NOW + 2 } },
      { millis: 70_000, clockMs: NOW + 6_000, next: { clockMs: NOW + 6_000 } },
    ],
  },
  {
    name: 'a clock that is put back by a minute or more was wrong before, and is believed',
    at: [
      { millis: 0, clockMs: 4_102_444_800_000, next: { clockMs: 4_102_444_800_000 } },
      { millis: 5_000, clockMs: NOW, next: { clockMs: NOW } },
      { millis: 10_000, clockMs: NOW + 5_000, next: { clockMs: NOW + 5_000 } },
    ],
  },
  {
    name: 'a clock that is set late, and lost again',
    at: [
      { millis: 1_000, clockMs: 0, next: { uptimeMs: 0 } },
      { millis: 2_000, clockMs: NOW, next: { clockMs: NOW } },
      { millis: 3_000, clockMs: 0, next: { uptimeMs: 2_000 } },
    ],
  },
];

const device = { id: 'sensor-1', node: 'dht22' };
const climate = [{ fromMs: 0, riseMs: 500_000, periodMs: 1_000_000, temp: [200, 200], hum: [400, 400] }];
const settings = { heartbeat: 60 };
const played = { device, settings, climate, clockMs: NOW, seed: 1 };

/**
 * Scripts in the form of firmware/scripts, and what the statuses and readings in them say: `b` a birth with its session
 * and what it says of the one before, `g` a goodbye with its reason, `t` a reading with its session and number.
 */
const sessions = [
  {
    name: 'the first session is 1, and readings are numbered from 1',
    script: { ...played, endMs: 130_000 },
    said: ['b 1', 't 1 1', 't 1 2', 't 1 3'],
  },
  {
    name: 'a connection that is lost begins another session, and says how the last one ended',
    script: {
      ...played,
      endMs: 130_000,
      steps: [
        { atMs: 70_000, do: 'network', to: 'down' },
        { atMs: 70_001, do: 'network', to: 'up' },
      ],
    },
    said: ['b 1', 't 1 1', 't 1 2', 'b 2 prev 1 2 0', 't 2 1'],
  },
  {
    name: 'a reading of an outage keeps the session and the number that it was given',
    script: {
      ...played,
      endMs: 250_000,
      steps: [
        { atMs: 30_000, do: 'network', to: 'down' },
        { atMs: 130_000, do: 'network', to: 'up' },
      ],
    },
    said: ['b 1', 't 1 1', 'b 2 prev 1 3 0', 't 1 2', 't 1 3', 't 2 1', 't 2 2'],
  },
  {
    name: 'after a loss of power the number grows, and nothing is said of a session whose end is not known',
    script: {
      ...played,
      endMs: 130_000,
      steps: [
        { atMs: 70_000, do: 'power-cut' },
        { atMs: 71_000, do: 'power-on' },
      ],
    },
    said: ['b 1', 't 1 1', 't 1 2', 'b 2', 't 2 1'],
  },
  {
    name: 'a goodbye is of the session, and the next start knows how it ended',
    script: {
      ...played,
      endMs: 140_000,
      steps: [{ atMs: 70_000, do: 'shutdown', reason: 'sleep', wakeInSeconds: 60 }],
    },
    said: ['b 1', 't 1 1', 't 1 2', 'g 1 sleep', 'b 2 prev 1 2 0', 't 2 1'],
  },
  {
    name: 'a broker that answers nothing costs a number at each try, for it may have taken the will',
    script: {
      ...played,
      endMs: 140_000,
      steps: [
        { atMs: 0, do: 'network', to: 'silent' },
        { atMs: 100_000, do: 'network', to: 'up' },
      ],
    },
    said: ['b 5 prev 1 3 0', 't 1 1', 't 1 2', 't 1 3'],
  },
  {
    name: 'a broker that cannot be reached costs none',
    script: {
      ...played,
      endMs: 130_000,
      steps: [
        { atMs: 0, do: 'network', to: 'down' },
        { atMs: 61_000, do: 'network', to: 'up' },
      ],
    },
    said: ['b 1', 't 1 1', 't 1 2', 't 1 3'],
  },
];

process.stdout.write(
  `${JSON.stringify({ ids, topics, roomTopics, births, wills, goodbyes, telemetries, acks, lights, times, sessions }, null, 2)}\n`,
);
