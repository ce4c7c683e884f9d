import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess, type MosquittoPlan } from '@muster/engines';
import type { Logger } from '@muster/service';
import mqtt from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { FigureRecord } from './broker-figures.ts';
import { BrokerWatch } from './broker-watch.ts';
import type { Measurement } from './running-rule.ts';

const ACCOUNT = { username: 'muster', password: 'alerting-tests-only' };

describe('watching a real Mosquitto', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'muster-broker-watch-'));
  let plan: MosquittoPlan;
  let broker: ManagedProcess;

  beforeAll(async () => {
    plan = {
      name: 'mosquitto-0',
      folder: path.join(folder, 'mosquitto-0'),
      logFile: path.join(folder, 'mosquitto-0.log'),
      port: await freePort(),
      account: ACCOUNT,
      maxConnections: 100,
      settings: ['sys_interval 1', 'max_queued_messages 100'],
    };
    broker = await startMosquitto(plan, await mosquittoSource('local', () => undefined));
  });
  afterAll(async () => {
    await broker.stop(5_000);
    rmSync(folder, { recursive: true });
  });

  /** A watch, with what it measures of dropped messages and what it puts on record. */
  function watching(before: readonly FigureRecord[] = []): {
    readonly watch: BrokerWatch;
    readonly dropped: readonly number[];
    readonly record: ReadonlyMap<string, FigureRecord>;
  } {
    const dropped: number[] = [];
    const record = new Map<string, FigureRecord>();
    const watch = new BrokerWatch({
      brokers: [{ name: 'mosquitto-0', url: `mqtt://127.0.0.1:${plan.port}`, ...ACCOUNT }],
      maxConnections: 100,
      onCondition: () => undefined,
      onMeasurement: ({ source, value }: Measurement) => {
        if (source === 'broker-dropped') dropped.push(value);
      },
      onFigure: (figure) => record.set(figure.name, figure),
      onEvent: () => undefined,
      logger: { warn: vi.fn() } as unknown as Logger,
    });
    watch.start(before);
    return { watch, dropped, record };
  }

  it('another process counts what was dropped since the last one was told', async () => {
    const first = watching();
    await vi.waitFor(() => expect(first.dropped).toContain(0), { timeout: 5_000 });
    await first.watch.close();
    expect([...first.record.keys()].sort()).toEqual(['broker-connections', 'broker-dropped', 'broker-retained']);

    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${plan.port}`, ACCOUNT);
    const { protocol: _, ...options } = client.options;
    const sleeper = mqtt.connect({ ...options, protocol: 'mqtt', clientId: 'sleeper', clean: false });
    await sleeper.subscribeAsync('backlog', { qos: 1 });
    await sleeper.endAsync();
    for (let message = 0; message < 300; message += 1) await client.publishAsync('backlog', 'x', { qos: 1 });
    await client.endAsync();

    const second = watching([...first.record.values()]);
    await vi.waitFor(() => expect(second.dropped.at(-1)).toBe(200), { timeout: 5_000 });
    expect(second.dropped[0]).toBe(0);
    await second.watch.close();
    expect(second.record.get('broker-dropped')?.value).toBe(200);
  });

  it('does not connect again when it has been closed', async () => {
    const connections = (): number =>
      readFileSync(plan.logFile, 'utf8').match(/ as muster-alerting-mosquitto-0 /g)?.length ?? 0;
    const before = connections();
    const { watch, dropped } = watching();
    await vi.waitFor(() => expect(dropped.length).toBeGreaterThan(0), { timeout: 5_000 });
    await watch.close();
    await delay(3_000);
    expect(connections()).toBe(before + 1);
  });
});
