import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { deviceId, type Reading } from '@muster/contract';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { Influx } from './influx.ts';
import { telemetryLine } from './line-protocol.ts';
import { Spool } from './spool.ts';
import { TelemetryWriter } from './telemetry-writer.ts';
import type { WriterEvent } from './telemetry-writer-options.ts';

const target = inject('engines').influxdb;
const influx = new Influx(target);
/** Within the retention of the test database. */
const t0 = Date.now() - 3_600_000;
const cleanUps: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const newMeasurement = (): string => `m_${randomUUID().replaceAll('-', '')}`;

async function writerTo(
  write: Influx['write'] = (...args) => influx.write(...args),
  folder = mkdtempSync(path.join(tmpdir(), 'spool-')),
): Promise<{
  readonly writer: TelemetryWriter;
  readonly spool: Spool;
  readonly refused: Map<string, string>;
  readonly events: WriterEvent[];
}> {
  const spool = await Spool.open({ folder, maxBytes: 50_000_000, maxAgeDays: 7, onEvent: () => undefined });
  const refused = new Map<string, string>();
  const events: WriterEvent[] = [];
  const writer = new TelemetryWriter({
    influx: { write },
    spool,
    maxBatchLines: 5_000,
    maxBatchBytes: 1_000_000,
    maxDelayMs: 5,
    maxRequests: 2,
    maxHeldBytes: 10_000_000,
    onRefused: (line, reason) => refused.set(line, reason),
    onEvent: (event) => events.push(event),
  });
  cleanUps.push(async () => {
    await writer.close(1_000);
    await spool.close();
  });
  return { writer, spool, refused, events };
}

async function countOf(measurement: string): Promise<unknown> {
  const [row] = await influx.query(`SELECT count(temp) FROM ${measurement} WHERE time > 0`);
  return row?.['count'];
}

describe('a telemetry writer before a real InfluxDB', () => {
  it('B9 stores all good lines of a batch and tells each bad one with InfluxDB’s reason', async () => {
    const name = newMeasurement();
    const { writer, refused } = await writerTo();
    await writer.write([`${name},device=a temp=1 ${t0 - 1}`]);
    const longAgo = Date.now() - 200 * 86_400_000;
    const lines = Array.from({ length: 400 }, (_, index) => `${name},device=a temp=${index} ${t0 + index}`);
    const bad: readonly [index: number, line: string, reason: string][] = [
      [3, `${name},device=a temp="hot" ${t0 + 3}`, 'field type conflict'],
      [120, `${name},device=a temp=120 ${longAgo}`, 'retention'],
      [200, `${name},device=a temp=nonsense ${t0 + 200}`, 'unable to parse'],
      [201, 'no line protocol', 'unable to parse'],
      [399, `${name},device=a temp=true ${t0 + 399}`, 'field type conflict'],
    ];
    for (const [index, line] of bad) lines[index] = line;
    expect(await writer.write(lines)).toBe('influxdb');
    expect([...refused.keys()].sort()).toEqual(bad.map(([, line]) => line).sort());
    for (const [, line, reason] of bad) expect(refused.get(line)).toContain(reason);
    expect(await countOf(name)).toBe(396);
  });

  it('takes a batch of nothing but bad lines in few requests', async () => {
    const name = newMeasurement();
    await influx.write(`${name},device=a temp=1 ${t0 - 1}`);
    const write = vi.fn<Influx['write']>((...args) => influx.write(...args));
    const { writer, refused } = await writerTo(write);
    await writer.write(Array.from({ length: 500 }, (_, index) => `${name},device=a temp="${index}" ${t0 + index}`));
    expect(refused.size).toBe(500);
    expect(write.mock.calls.length).toBeLessThanOrEqual(3);
  });

  it('keeps lines in the spool while the account or the database is wrong, and brings them when it is right', async () => {
    const name = newMeasurement();
    const stranger = new Influx({ ...target, password: 'wrong' });
    const nowhere = new Influx({ ...target, database: 'nowhere' });
    const set = [nowhere, stranger];
    let current: Influx = nowhere;
    const { writer, spool, refused, events } = await writerTo((...args) => current.write(...args));
    for (const [index, wrong] of set.entries()) {
      current = wrong;
      expect(await writer.write([`${name},device=a temp=${index} ${t0 + index}`])).toBe('spool');
    }
    expect(events.find(({ kind }) => kind === 'unavailable')).toMatchObject({ isMisconfigured: true });
    current = influx;
    await vi.waitFor(() => expect(spool.isEmpty).toBe(true), { timeout: 10_000 });
    expect(await countOf(name)).toBe(2);
    expect(refused.size).toBe(0);
  });

  it('brings bad and good lines of an outage to where they belong', async () => {
    const name = newMeasurement();
    await influx.write(`${name},device=a temp=1 ${t0 - 1}`);
    const away = new Influx({ ...target, url: 'http://127.0.0.1:9' });
    let current: Influx = away;
    const { writer, spool, refused } = await writerTo((...args) => current.write(...args));
    const bad = `${name},device=a temp="two\nlines" ${t0 + 500}`;
    for (let from = 0; from < 1_000; from += 100) {
      const lines = Array.from({ length: 100 }, (_, index) => `${name},device=a temp=1 ${t0 + from + index}`);
      if (from === 500) lines[0] = bad;
      expect(await writer.write(lines)).toBe('spool');
    }
    current = influx;
    await vi.waitFor(() => expect(spool.isEmpty).toBe(true), { timeout: 10_000 });
    expect([...refused.keys()]).toEqual([bad]);
    expect(await countOf(name)).toBe(1_000);
  });
});

describe('the line of a message in a real InfluxDB', () => {
  it('has every number as a float and every type in a field of its own, so no order of types conflicts', async () => {
    const device = deviceId(`d${randomUUID()}`);
    const metric = `x${randomUUID().replaceAll('-', '')}`;
    const values = [
      1,
      true,
      'on',
      2.5,
      -0,
      1e21,
      5e-324,
      1.797e308,
      Number.MAX_SAFE_INTEGER,
      false,
      '3',
      'a "b"\\\n,= ',
    ];
    const lines = values.map((value, index) => {
      const readings: readonly Reading[] = [{ metric, value, unit: undefined }];
      const telemetry = { readings, time: { kind: 'none' as const }, session: 7, seq: index, rejected: [] };
      return telemetryLine(device, telemetry, t0 + index) ?? '';
    });
    const { writer, refused } = await writerTo();
    // One by one, so that whichever comes first would decide the type.
    for (const line of lines) await writer.write([line]);
    expect(refused.size).toBe(0);
    const rows = await influx.query(
      `SELECT ${metric}, ${metric}_bool, ${metric}_text FROM telemetry WHERE time > 0 AND device = '${device}'`,
    );
    expect(rows.map((row) => row[metric] ?? row[`${metric}_bool`] ?? row[`${metric}_text`])).toEqual(
      values.map((value) => (value === 0 ? 0 : value)),
    );
    const types = await influx.query(`SHOW FIELD KEYS FROM telemetry`);
    expect(types).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ fieldKey: metric, fieldType: 'float' }),
        expect.objectContaining({ fieldKey: `${metric}_bool`, fieldType: 'boolean' }),
        expect.objectContaining({ fieldKey: `${metric}_text`, fieldType: 'string' }),
        expect.objectContaining({ fieldKey: 'seq', fieldType: 'float' }),
        expect.objectContaining({ fieldKey: 'session', fieldType: 'float' }),
      ]),
    );
  });
});
