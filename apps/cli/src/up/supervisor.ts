import { setTimeout as delay } from 'node:timers/promises';
import type { ManagedProcess, ProcessLedger } from '@muster/engines';

/** One process of the system, which can be started again. */
export interface Component {
  readonly name: string;
  readonly start: () => Promise<ManagedProcess>;
}

/** What happened to a process while the system ran. */
export type SupervisorEvent =
  | {
      readonly event: 'ended';
      readonly name: string;
      readonly pid: number;
      readonly code: number | null;
      readonly signal: string | null;
    }
  | { readonly event: 'restarted'; readonly name: string; readonly pid: number }
  | { readonly event: 'start-failed'; readonly name: string; readonly reason: string }
  | { readonly event: 'gave-up'; readonly name: string; readonly reason: string };

const WINDOW_MS = 60_000;
const MAX_RESTARTS = 5;
const RESTART_LIMIT_MS = 10_000;

/**
 * How long to wait before a process that ended is started again, in milliseconds; undefined when it ended too often:
 * more than five times within a minute is no accident.
 */
export function restartDelayMs(earlierEndsMs: readonly number[], nowMs: number): number | undefined {
  const recent = earlierEndsMs.filter((at) => nowMs - at < WINDOW_MS).length;
  return recent >= MAX_RESTARTS ? undefined : recent * 500;
}

interface Entry {
  readonly component: Component;
  process: ManagedProcess;
  /** When it ended before by itself, in milliseconds since 1970. */
  readonly ends: number[];
  isRestarting: boolean;
}

/** A process was to be started while everything was being stopped. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError';
  readonly code = 'stopped';

  constructor(component: string) {
    super(`${component} was not started: the system is stopping`);
  }
}

/** Keeps the processes of the system running, and ends them in order: the last started first. */
export class Supervisor {
  readonly #running: Entry[] = [];
  readonly #starting = new Set<Promise<unknown>>();
  #stopping = false;

  constructor(
    private readonly ledger: ProcessLedger,
    private readonly onEvent: (event: SupervisorEvent) => void,
  ) {}

  /** The pid of every process by its name. */
  get pids(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#running.map(({ component, process }) => [component.name, process.identity.pid]));
  }

  /**
   * Starts a process and keeps it running from now on.
   * @throws StoppedError when the system is being stopped: what has started meanwhile is ended by stop()
   */
  async start(component: Component): Promise<ManagedProcess> {
    const starting = this.#start(component);
    this.#starting.add(starting);
    try {
      return await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  async #start(component: Component): Promise<ManagedProcess> {
    if (this.#stopping) throw new StoppedError(component.name);
    const process = await component.start();
    const entry: Entry = { component, process, ends: [], isRestarting: false };
    this.#running.push(entry);
    this.#note();
    if (this.#isStopping()) throw new StoppedError(component.name);
    void this.#watch(entry);
    return process;
  }

  /** Ends a process so that it starts anew; nobody is told of the end, which was wanted. */
  restart(name: string): void {
    const entry = this.#running.find(({ component }) => component.name === name);
    if (entry === undefined || this.#stopping) return;
    entry.isRestarting = true;
    void entry.process.stop(RESTART_LIMIT_MS);
  }

  /** Ends all processes, the last started first; `layers` names those that end together, in their order. */
  async stop(layers: readonly (readonly string[])[], limitMs: number): Promise<void> {
    this.#stopping = true;
    // What is about to run must be known before all is ended.
    await Promise.allSettled(this.#starting);
    for (const names of layers) {
      const layer = this.#running.filter(({ component }) => names.includes(component.name));
      await Promise.all(layer.map(({ process }) => process.stop(limitMs)));
    }
    await Promise.all(this.#running.map(({ process }) => process.stop(limitMs)));
    this.ledger.write([]);
  }

  async #watch(entry: Entry): Promise<void> {
    const { name } = entry.component;
    do {
      const end = await entry.process.ended;
      if (this.#stopping) return;
      if (!entry.isRestarting) this.onEvent({ event: 'ended', name, pid: entry.process.identity.pid, ...end });
    } while (await this.#runsAgain(entry));
  }

  /** Starts a process again, which may take several attempts; false when it is given up, or not wanted any more. */
  async #runsAgain(entry: Entry): Promise<boolean> {
    const { name } = entry.component;
    let reason = `ended more than ${MAX_RESTARTS} times within a minute`;
    for (;;) {
      const waitMs = entry.isRestarting ? 0 : restartDelayMs(entry.ends, Date.now());
      if (waitMs === undefined) {
        this.onEvent({ event: 'gave-up', name, reason });
        return false;
      }
      if (!entry.isRestarting) entry.ends.push(Date.now());
      entry.isRestarting = false;
      await delay(waitMs);
      if (this.#isStopping()) return false;
      try {
        await this.#startAgain(entry);
        this.#note();
        this.onEvent({ event: 'restarted', name, pid: entry.process.identity.pid });
        return true;
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error);
        if (this.#isStopping()) return false;
        this.onEvent({ event: 'start-failed', name, reason });
      }
    }
  }

  async #startAgain(entry: Entry): Promise<void> {
    const starting = entry.component.start().then((process) => (entry.process = process));
    this.#starting.add(starting);
    try {
      await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  /** Asked anew after each wait: the compiler takes the field for unchanged. */
  #isStopping(): boolean {
    return this.#stopping;
  }

  #note(): void {
    this.ledger.write(this.#running.map(({ process }) => process.identity));
  }
}
