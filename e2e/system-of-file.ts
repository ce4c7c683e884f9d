import { afterAll, beforeAll } from 'vitest';
import { StartedSystem, stateFolder, type ReadyLine } from './system.ts';

/** The system that all tests of a file share; it is there as soon as the hooks and tests of the file run. */
export class SystemOfFile {
  #started: StartedSystem | undefined;

  /** Starts a system before the first test of the file, and ends it after the last. */
  constructor(args: readonly string[] = [], accounts?: readonly string[]) {
    beforeAll(async () => {
      this.#started = await StartedSystem.start(['--devices', '0', ...args, '--dir', stateFolder()], accounts);
    });
    afterAll(async () => {
      await this.#started?.stop();
    });
  }

  /** The system itself. */
  get started(): StartedSystem {
    if (this.#started === undefined) throw new Error('the system is started before the first test, and not earlier');
    return this.#started;
  }

  /** Where everything is. */
  get address(): ReadyLine {
    return this.started.address;
  }

  /** See {@link StartedSystem.pidOf}. */
  pidOf(name: string): number {
    return this.started.pidOf(name);
  }
}
