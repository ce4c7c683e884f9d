import { describe, expect, it } from 'vitest';
import { sharesOf, type CpuProfile } from './stages.ts';

/** A profile of stacks, outermost function first, each with the milliseconds that were sampled at its end. */
function profileOf(stacks: readonly (readonly [stack: readonly string[], ms: number])[]): CpuProfile {
  const nodes = [{ id: 1, callFrame: frameOf('(root)'), children: [] as number[] }];
  const samples: number[] = [];
  const timeDeltas: number[] = [];
  for (const [stack, ms] of stacks) {
    let parent = nodes[0];
    for (const name of stack) {
      const node = { id: nodes.length + 1, callFrame: frameOf(name), children: [] as number[] };
      nodes.push(node);
      parent?.children.push(node.id);
      parent = node;
    }
    samples.push(parent?.id ?? 0);
    timeDeltas.push(ms * 1_000);
  }
  return { nodes, samples, timeDeltas };
}

/** Names of functions are their sources here; Node's own begin with `node:`. */
function frameOf(name: string): CpuProfile['nodes'][number]['callFrame'] {
  const isOwn = name.includes('/') && !name.startsWith('node:');
  return { functionName: name, url: isOwn ? 'main.js' : name, lineNumber: 0, columnNumber: 0 };
}

const shares = (...stacks: (readonly [stack: readonly string[], ms: number])[]): Readonly<Record<string, number>> =>
  Object.fromEntries(
    sharesOf(profileOf(stacks), ({ functionName, url }) => (url === 'main.js' ? functionName : undefined)),
  );

describe('the stages of a profile', () => {
  it.each([
    [['node:net', '../../node_modules/mqtt/build/lib/client.js'], 'receive: mqtt.js'],
    [
      ['../../node_modules/mqtt/build/lib/client.js', 'src/x', '../../libs/broker/src/subscriber/frame-reader.ts'],
      'receive: own code',
    ],
    [['../../libs/broker/src/acknowledgement-queue.ts', '../../node_modules/mqtt/build/lib/client.js'], 'acknowledge'],
    [['../../libs/broker/src/subscriber/acknowledgement-window.ts', 'node:net'], 'acknowledge'],
    [['apps/ingestion/src/ingestion.ts', '../../libs/contract/src/topic-map.ts'], 'topic to device'],
    [['apps/ingestion/src/ingestion.ts', '../../libs/contract/src/telemetry.ts', 'parse'], 'decode the payload'],
    [['apps/ingestion/src/ingestion.ts', '../../node_modules/prom-client/lib/counter.js'], 'count (metrics)'],
    [['apps/ingestion/src/ingestion.ts', 'apps/ingestion/src/sequence.ts'], 'quota, sequence, clock, lateness'],
    [['apps/ingestion/src/ingestion.ts', '../../libs/telemetry/src/line-protocol.ts'], 'line protocol'],
    [['apps/ingestion/src/ingestion.ts', '../../libs/telemetry/src/batch-writer.ts'], 'batches to InfluxDB'],
    [['apps/ingestion/src/ingestion.ts', 'apps/ingestion/src/fleet-store.ts'], 'last readings to PostgreSQL'],
    [['apps/ingestion/src/last-readings.ts', '../../libs/telemetry/src/byte-text.ts'], 'last readings to PostgreSQL'],
    [['../../libs/telemetry/src/line-block.ts', '../../libs/telemetry/src/byte-text.ts'], 'line protocol'],
    [['apps/ingestion/src/ingestion.ts', 'Map.get'], 'ingestion.ts, fleet.ts'],
    [['node:internal/stream_base_commons', 'node:internal/streams/readable'], "Node's socket"],
    [['../../node_modules/mqtt/build/lib/client.js', '(garbage collector)'], 'garbage collection'],
    [['(program)'], 'system calls and event loop'],
    [['node:internal/timers'], 'everything else'],
  ])('%j belongs to "%s"', (stack, stage) => {
    expect(shares([stack, 1])).toEqual({ [stage]: 1 });
  });

  it('shares the time in which the thread was not idle', () => {
    expect(shares([['(idle)'], 60], [['(program)'], 10], [['src/x', 'apps/ingestion/src/digest.ts'], 30])).toEqual({
      'system calls and event loop': 0.25,
      digest: 0.75,
    });
  });
});
