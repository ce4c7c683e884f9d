/** A function on the stack of a sample (Chrome DevTools Protocol). */
export interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
  readonly columnNumber: number;
}

/** What `Profiler.stop` answers (Chrome DevTools Protocol). */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: CallFrame;
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Sources to stages; the first that fits a file has it. */
const STAGES: readonly (readonly [stage: string, file: RegExp])[] = [
  ['acknowledge', /libs\/broker\/src\/(subscriber\/)?acknowledgement/],
  ['receive: own code', /libs\/broker\/src\//],
  [
    'receive: mqtt.js',
    /node_modules\/(mqtt|mqtt-packet|readable-stream|bl|number-allocator|lru-cache|worker-timers)\//,
  ],
  ['topic to device', /libs\/contract\/src\/(topic|recently-used|device-id)/],
  ['decode the payload', /libs\/contract\/src\/|node_modules\/zod\//],
  ['count (metrics)', /node_modules\/(prom-client|tdigest)\/|ingestion\/src\/metrics/],
  ['quota, sequence, clock, lateness', /ingestion\/src\/(quota|sequence|clock-offset|lateness|reading-time|listening)/],
  ['digest', /ingestion\/src\/digest/],
  [
    'last readings to PostgreSQL',
    /ingestion\/src\/(fleet-store|last-readings|device-activity|array-column|write-rows)|node_modules\/(@prisma|pg|pg-[a-z]+|postgres-[a-z]+)\/|libs\/database\//,
  ],
  ['line protocol', /libs\/telemetry\/src\/line-/],
  // Bytes are made for InfluxDB and for PostgreSQL: they belong to who makes them.
  ['batches to InfluxDB', /libs\/telemetry\/src\/(?!byte-text)|node_modules\/@influxdata\//],
  ['ingestion.ts, fleet.ts', /ingestion\/src\//],
];
const SOCKET = "Node's socket";
const KERNEL = 'system calls and event loop';
const COLLECTION = 'garbage collection';
const REST = 'everything else';

/** Every stage, in the order in which a message goes through them. */
export const STAGE_NAMES = [...STAGES.map(([name]) => name), SOCKET, KERNEL, COLLECTION, REST];

/** The source of a function in the bundle; undefined outside of it. */
export type SourceOf = (frame: CallFrame) => string | undefined;

/**
 * The stage of a stack, from its end: the nearest file that belongs to one. What mqtt.js does to send an acknowledgement
 * is part of acknowledging.
 */
function stageOf(stack: readonly CallFrame[], sourceOf: SourceOf): string {
  const [last] = stack;
  if (last?.functionName === '(garbage collector)') return COLLECTION;
  if (last?.functionName === '(program)') return KERNEL;
  const stages = stack.flatMap((frame) => {
    const source = sourceOf(frame);
    return source === undefined ? [] : (STAGES.find(([, file]) => file.test(source))?.[0] ?? []);
  });
  return stages.find((stage) => stage === 'acknowledge') ?? stages[0] ?? nodeStage(stack);
}

/** Of what only Node's own code has on the stack: its stream of the socket, or something else. */
function nodeStage(stack: readonly CallFrame[]): string {
  return stack.some(({ url }) => /^node:(net|_?stream|internal\/stream)/.test(url)) ? SOCKET : REST;
}

/** The share of each stage in the time in which the main thread was not idle. */
export function sharesOf({ nodes, samples, timeDeltas }: CpuProfile, sourceOf: SourceOf): ReadonlyMap<string, number> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(
    nodes.flatMap(({ id, children = [] }) => children.map((child): [number, number] => [child, id])),
  );
  const stages = new Map<number, string | undefined>();
  for (const { id } of nodes) {
    const stack: CallFrame[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = byId.get(at)?.callFrame;
      if (frame !== undefined) stack.push(frame);
    }
    stages.set(id, stack[0]?.functionName === '(idle)' ? undefined : stageOf(stack, sourceOf));
  }
  const times = new Map<string, number>();
  samples.forEach((id, index) => {
    const stage = stages.get(id);
    if (stage !== undefined) times.set(stage, (times.get(stage) ?? 0) + (timeDeltas[index] ?? 0));
  });
  const total = [...times.values()].reduce((sum, time) => sum + time, 0);
  return new Map([...times].map(([stage, time]) => [stage, time / total]));
}
