import { setTimeout as delay } from 'node:timers/promises';
import { BrokerConnection, type ConnectionEvent } from '@muster/broker';
import type { Logger } from '@muster/service';
import { describe, expect, inject, it, vi } from 'vitest';
import type { FigureRecord } from './broker-figures.ts';
import { BrokerWatch } from './broker-watch.ts';
import type { Measurement } from './running-rule.ts';

const { broker } = inject('engines');

/** A watch, with what it measures and what it puts on record. */
function watching(before: readonly FigureRecord[] = []): {
  readonly watch: BrokerWatch;
  readonly measured: readonly Measurement[];
  readonly record: ReadonlyMap<string, FigureRecord>;
} {
  const measured: Measurement[] = [];
  const record = new Map<string, FigureRecord>();
  const watch = new BrokerWatch({
    brokers: [broker],
    maxConnections: 100,
    onCondition: () => undefined,
    onMeasurement: (measurement) => measured.push(measurement),
    onIngestion: () => undefined,
    onFigure: (figure) => record.set(figure.name, figure),
    onEvent: () => undefined,
    logger: { warn: vi.fn() } as unknown as Logger,
  });
  watch.start(before);
  return { watch, measured, record };
}

const dropped = (value: number): Measurement => ({ source: 'broker-dropped', subject: broker.name, value });

describe('watching a real Mosquitto', () => {
  it('counts dropped messages from what another process was told, and puts on record what it was told itself', async () => {
    const first = watching();
    await vi.waitFor(() => expect(first.measured).toContainEqual(dropped(0)), { timeout: 5_000 });
    await first.watch.close();
    expect(first.record.get('broker-dropped')).toMatchObject({ broker: broker.name, value: 0 });

    // As if the counter had been told with 7 before the broker was started again: it begins anew, and grows by nothing.
    const second = watching([{ broker: broker.name, name: 'broker-dropped', value: 7, seenMs: 1 }]);
    await vi.waitFor(() => expect(second.measured).toContainEqual(dropped(0)), { timeout: 5_000 });
    await second.watch.close();
    expect(second.record.get('broker-dropped')?.value).toBe(0);
  });

  it('does not connect again when it has been closed', async () => {
    const { watch, measured } = watching();
    await vi.waitFor(() => expect(measured).toContainEqual(dropped(0)), { timeout: 5_000 });
    await watch.close();
    // Whoever comes with the same client id takes the connection over.
    const events: ConnectionEvent['kind'][] = [];
    const other = new BrokerConnection({
      broker,
      clientId: `muster-alerting-${broker.name}`,
      sessionExpirySeconds: 0,
      onEvent: ({ kind }) => events.push(kind),
    });
    await delay(3_000);
    expect(events).toEqual(['connected']);
    await other.close(0);
  });
});
