import type { Engine } from './engine.ts';

const INTERVAL_MS = 3_600_000;

/** Forgets silences that are over, once an hour; in the database they stay for as long as everything does. */
export class Upkeep {
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly engine: Engine) {}

  /** Begins. */
  start(): void {
    this.#timer = setInterval(() => {
      const nowMs = Date.now();
      const { silences } = this.engine.mutes;
      for (const { id, untilMs } of [...silences.values()]) if (untilMs < nowMs) silences.delete(id);
    }, INTERVAL_MS);
  }

  /** Stops. */
  close(): void {
    clearInterval(this.#timer);
  }
}
