import { mkdtempSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Delivery } from '@muster/broker';
import { deviceId, type DeviceId } from '@muster/contract';
import { createLogger } from '@muster/service';
import { Influx, Spool } from '@muster/telemetry';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DurableWrites } from './durable-writes.ts';
import { KnownDevice } from './fleet.ts';
import { IngestionMetrics } from './metrics.ts';
import { Reception } from './reception.ts';

let server: Server;
let status = 204;
let bodies: string[] = [];
const closing: (() => unknown)[] = [];

beforeEach(async () => {
  [status, bodies] = [204, []];
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (status === 204) bodies.push(Buffer.concat(parts).toString());
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  server.closeAllConnections();
  server.close();
});

/** Writes before an InfluxDB of one's own, and a spool with room for so much. */
async function scene(maxBytes: number): Promise<{
  readonly tombstones: Set<string>;
  readonly metrics: IngestionMetrics;
  readonly writes: DurableWrites;
  readonly settled: string[];
  readonly send: (device: DeviceId, value: number) => void;
}> {
  const tombstones = new Set<string>();
  const metrics = new IngestionMetrics(new Registry());
  const spool = await Spool.open({
    ...{ folder: mkdtempSync(path.join(tmpdir(), 'spool-')), maxBytes, maxAgeDays: 7, onEvent: () => undefined },
  });
  const { port } = server.address() as AddressInfo;
  const target = { url: `http://127.0.0.1:${port}`, database: 'muster', username: 'muster', password: 'secret' };
  const writes = new DurableWrites({
    ...{ influx: new Influx(target), spool, metrics, logger: createLogger('test', 'silent') },
    tombstones: { has: (device) => tombstones.has(device), whenKnown: Promise.resolve() },
    store: { stored: () => undefined },
    onRefused: () => undefined,
  });
  closing.push(
    () => writes.close(100),
    () => spool.close(),
  );
  const settled: string[] = [];
  const send = (device: DeviceId, value: number): void => {
    const delivery = {
      ...{ broker: 'mosquitto-0', receivedAtMs: 0, isBacklog: false, isLost: false },
      settle: (_: number, settlement: string) => settled.push(`${device} ${value} ${settlement}`),
    } as unknown as Delivery;
    const reception = new Reception(delivery, undefined);
    const topic = `devices/${device}/telemetry`;
    const readings = [{ metric: 'temp', value, unit: undefined }];
    const telemetry = { readings, time: { kind: 'none' as const }, session: undefined, seq: undefined, rejected: [] };
    const message = { topic, qos: 1, payloadBytes: 9 } as const;
    writes.write({ message, reception, index: 0 }, new KnownDevice(device, []), telemetry, value, 0);
  };
  return { tombstones, metrics, writes, settled, send };
}

const [GONE, STAYS] = [deviceId('gone'), deviceId('stays')];

describe('telemetry of a device that is decommissioned while it waits', () => {
  it('in the spool is not stored any more, and counted', async () => {
    const { tombstones, metrics, settled, send } = await scene(10_000_000);
    status = 503;
    for (const device of [GONE, STAYS]) send(device, 1);
    await vi.waitFor(() => expect(settled).toEqual(['gone 1 acknowledge', 'stays 1 acknowledge']));
    tombstones.add(GONE);
    status = 204;
    await vi.waitFor(() => expect(bodies).toEqual(['telemetry,device=stays temp=1 1']), { timeout: 5_000 });
    expect((await metrics.linesTombstoned.get()).values).toMatchObject([{ value: 1 }]);
  });

  it('with the broker, because the spool is full, is refused as what comes now is: acknowledged and counted', async () => {
    const { tombstones, metrics, writes, settled, send } = await scene(10);
    status = 503;
    for (const device of [GONE, STAYS, GONE]) send(device, 2);
    await vi.waitFor(async () => expect((await metrics.influxFailures.get()).values[0]?.value).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect([settled, writes.depth]).toEqual([[], 3]);
    tombstones.add(GONE);
    status = 204;
    await vi.waitFor(() => expect(writes.depth).toBe(0), { timeout: 5_000 });
    expect(settled.toSorted()).toEqual(['gone 2 acknowledge', 'gone 2 acknowledge', 'stays 2 acknowledge']);
    expect(bodies).toEqual(['telemetry,device=stays temp=2 2']);
    expect((await metrics.tombstoned.get()).values).toMatchObject([{ labels: { broker: 'mosquitto-0' }, value: 2 }]);
  });

  it('does not hold up what is held behind it', async () => {
    const { tombstones, metrics, writes, settled, send } = await scene(10);
    status = 503;
    for (let value = 0; value < 1_500; value += 1) send(GONE, value);
    send(STAYS, 1);
    await vi.waitFor(async () => expect((await metrics.influxFailures.get()).values[0]?.value).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 300));
    tombstones.add(GONE);
    status = 204;
    await vi.waitFor(() => expect(writes.depth).toBe(0), { timeout: 5_000 });
    expect(settled).toHaveLength(1_501);
    expect(bodies).toEqual(['telemetry,device=stays temp=1 1']);
  });
});
