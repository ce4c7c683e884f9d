import { setTimeout as delay } from 'node:timers/promises';
import { showLiveLine, showReady } from './screen.ts';
import type { UpOptions } from './settings.ts';
import type { SupervisorEvent } from './supervisor.ts';
import { LocalSystem } from './system.ts';

/** npm may deliver one Ctrl-C twice; within this time a second one is the same. */
const SAME_SIGNAL_MS = 1_000;

type EndReason = 'signal' | 'time' | 'gave-up';

/** Runs a whole system on this machine until a signal, or as long as it was asked for; answers the exit code. */
export async function up(options: UpOptions): Promise<number> {
  const startedAt = performance.now();
  const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  let end: (reason: EndReason) => void = () => undefined;
  const ended = new Promise<EndReason>((resolve) => (end = resolve));
  const release = onStopSignal(() => end('signal'));
  // Whoever read what we print has left: nobody is there for whom to go on.
  process.stdout.on('error', () => end('signal'));

  const onEvent = (event: SupervisorEvent): void => {
    if (options.json) print({ ...event, at: new Date().toISOString() });
    else say(eventLine(event));
    if (event.event === 'gave-up') end('gave-up');
  };
  const step = (line: string): void =>
    say(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(5)} s  ${line}`);
  const system = LocalSystem.prepare(options, { onStep: step, onEvent });
  const abort = new AbortController();
  try {
    const address = await Promise.race([system.start(), ended]);
    // Interrupted before it was ready: 128 + SIGINT, as shells have it.
    if (typeof address === 'string') return address === 'gave-up' ? 1 : 130;
    if (options.json) print(address);
    else {
      step('ready');
      showReady(address, options);
      void showLiveLine(address.api, system.ingestionMetricsUrl, abort.signal);
    }
    if (options.forMs !== undefined)
      void delay(options.forMs, undefined, { signal: abort.signal }).then(
        () => end('time'),
        () => undefined,
      );
    const reason = await ended;
    return reason === 'gave-up' ? 1 : 0;
  } finally {
    abort.abort();
    if (!options.json) say('\nstopping');
    await system.stop();
    if (!options.json) say('stopped; the state is kept for the next start');
    release();
  }
}

function eventLine(event: SupervisorEvent): string {
  switch (event.event) {
    case 'ended':
      return `\n${event.name} (pid ${event.pid}) ended unexpectedly: ${event.signal ?? `exit code ${event.code}`}`;
    case 'restarted':
      return `${event.name} runs again as pid ${event.pid}`;
    case 'start-failed':
      return `${event.name} did not start again: ${event.reason}`;
    case 'gave-up':
      return `${event.name} is given up: ${event.reason}`;
  }
}

/** Calls back at the first SIGINT or SIGTERM; a further one after a second ends this process at once. */
function onStopSignal(callback: () => void): () => void {
  let firstAtMs: number | undefined;
  const listener = (): void => {
    const now = performance.now();
    if (firstAtMs === undefined) {
      firstAtMs = now;
      callback();
    } else if (now - firstAtMs > SAME_SIGNAL_MS) {
      // The children follow by their parent-death signal, and the next start ends what is left.
      process.exit(130);
    }
  };
  process.on('SIGINT', listener);
  process.on('SIGTERM', listener);
  process.on('SIGHUP', listener);
  return () => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.removeListener(signal, listener);
  };
}
