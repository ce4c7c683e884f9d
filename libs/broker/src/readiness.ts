import { BrokerError } from './broker-target.ts';

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Whether a connection stands, for those who wait for it. */
export class Readiness {
  #isReady = false;
  #waiting: Waiter[] = [];

  get isReady(): boolean {
    return this.#isReady;
  }

  /** It stands now: whoever waits goes on. */
  reached(): void {
    this.#isReady = true;
    for (const waiter of this.#waiting.splice(0)) waiter.resolve();
  }

  /** It stands no more. */
  lost(): void {
    this.#isReady = false;
  }

  /** No waiting helps: whoever waits is told why. */
  refuse(error: Error): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  /**
   * Resolves when it stands for the first time, or does.
   * @param describe what to say when it took too long
   * @throws BrokerError `unreachable` after `timeoutMs`; what it was refused with
   */
  async wait(timeoutMs: number, describe: () => string): Promise<void> {
    if (this.#isReady) return;
    let timer: NodeJS.Timeout | undefined;
    let waiter: Waiter | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        waiter = { resolve, reject };
        this.#waiting.push(waiter);
        timer = setTimeout(() => reject(new BrokerError('unreachable', describe())), timeoutMs);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting = this.#waiting.filter((one) => one !== waiter);
    }
  }
}
