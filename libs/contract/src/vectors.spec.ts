import { describe, expect, it } from 'vitest';
import vectors from '../vectors.json' with { type: 'json' };
import {
  decodeLightCommand,
  decodeStatus,
  decodeTelemetry,
  defaultTopicMap,
  isDeviceId,
  isMetricName,
  type ClaimedTime,
  type TelemetryEntry,
} from './index.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function telemetryEntry(): TelemetryEntry {
  const entry = defaultTopicMap.match('devices/a/telemetry')?.entry;
  if (entry?.role !== 'telemetry') throw new Error('devices/{device}/telemetry is no telemetry');
  return entry;
}

function claimed(moment: { readonly clockMs?: number; readonly uptimeMs?: number }): ClaimedTime {
  return moment.clockMs === undefined
    ? { kind: 'uptime', uptimeMs: moment.uptimeMs ?? Number.NaN }
    : { kind: 'clock', epochMs: moment.clockMs };
}

/** What the last statuses and readings of a script say, in the words of the vectors. */
interface Said {
  readonly kind: 'b' | 'g' | 't';
  readonly session: number;
  readonly rest: readonly string[];
}

function parseSaid(line: string): Said {
  const [kind, session, ...rest] = line.split(' ');
  if (kind !== 'b' && kind !== 'g' && kind !== 't') throw new Error(`not said by a device: ${line}`);
  return { kind, session: Number(session), rest };
}

describe('the vectors that firmware and services share', () => {
  it.each(vectors.ids)('$text is a device id: $valid', ({ text, valid }) => {
    expect(isDeviceId(text)).toBe(valid);
  });

  it.each(vectors.topics)('$topic is the $channel of its device', ({ device, channel, topic }) => {
    const match = defaultTopicMap.match(topic);
    expect(match?.entry.role).toBe(channel);
    expect(match?.device).toEqual({ valid: true, id: device });
  });

  it.each(vectors.roomTopics)(
    'a $node of $room speaks on topics of its room',
    ({ node, room, retained, sent, told }) => {
      const owner = node === 'light' ? `${room}-light` : `${room}-motion`;
      for (const topic of retained) {
        expect(defaultTopicMap.match(topic)).toMatchObject({ entry: { role: 'telemetry' }, device: { id: owner } });
      }
      for (const topic of [...sent, ...told]) {
        expect(defaultTopicMap.match(topic)).toMatchObject({
          entry: { role: 'command' },
          device: { id: `${room}-light` },
        });
      }
    },
  );

  it.each(vectors.births)('$payload is a birth', ({ session, payload }) => {
    expect(decodeStatus(bytes(payload))).toEqual({ kind: 'birth', session });
  });

  it.each(vectors.wills)('$payload is a will of less than 100 bytes', ({ session, payload, bytes: size }) => {
    expect(decodeStatus(bytes(payload))).toEqual({ kind: 'will', session });
    expect(bytes(payload)).toHaveLength(size);
    expect(size).toBeLessThan(100);
  });

  it.each(vectors.goodbyes)('$payload is a goodbye', (goodbye) => {
    const wakeInSeconds = 'wakeIn' in goodbye ? goodbye.wakeIn : undefined;
    const { session, reason } = goodbye;
    expect(decodeStatus(bytes(goodbye.payload))).toEqual({ kind: 'graceful', session, reason, wakeInSeconds });
  });

  it.each(vectors.telemetries)('$payload gives its readings', ({ readings, moment, session, seq, payload }) => {
    const telemetry = decodeTelemetry(bytes(payload), telemetryEntry());
    expect(telemetry).toMatchObject({ session, seq, rejected: [], time: claimed(moment) });
    expect(telemetry.readings.map(({ metric, value }) => [metric, value])).toEqual(
      readings.map(({ metric, value, decimals }) => [metric, value / 10 ** decimals]),
    );
    expect(readings.every(({ metric }) => isMetricName(metric))).toBe(true);
  });

  it.each(vectors.acks)('$payload is the answer to a command', ({ id, error, payload }) => {
    expect(JSON.parse(payload)).toEqual(error === undefined ? { id, ok: true } : { id, ok: false, error });
  });

  it.each(vectors.lights)('a lamp that is told $text', ({ text, on, brightness }) => {
    if (on === undefined) expect(() => decodeLightCommand(text)).toThrow('ON, OFF or a brightness');
    else expect(decodeLightCommand(text)).toEqual({ on, brightness });
  });

  it.each(vectors.times)('$name', ({ at }) => {
    for (const { next } of at) {
      const time = 'clockMs' in next ? { ts: next.clockMs } : { up: next.uptimeMs };
      const payload = bytes(JSON.stringify({ temp: 1, ...time }));
      expect(decodeTelemetry(payload, telemetryEntry()).time).toEqual(claimed(next));
    }
    const clocks = at.flatMap(({ next }) => ('clockMs' in next ? [next.clockMs] : []));
    expect(new Set(clocks).size).toBe(clocks.length);
  });

  it.each(vectors.sessions)('$name', ({ said }) => {
    const lines = said.map(parseSaid);
    const births = lines.filter(({ kind }) => kind === 'b');
    const numbers = births.map(({ session }) => session);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    for (const { session, rest } of births) {
      if (rest.length > 0) expect(Number(rest[1])).toBeLessThan(session);
    }
    for (const session of new Set(lines.map((line) => line.session))) {
      const sequence = lines.filter((line) => line.kind === 't' && line.session === session);
      expect(sequence.map(({ rest }) => Number(rest[0]))).toEqual(sequence.map((_, index) => index + 1));
    }
  });
});
