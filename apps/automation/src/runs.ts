import { BrokerError } from '@muster/broker';
import type { Logger } from '@muster/service';
import pRetry from 'p-retry';
import type { ControlTopics } from './control-topics.ts';
import type { AddressedEffect, Journal, Run } from './journal.ts';

/** The numbers of one life of the process: enough for a thousand runs a second over 49 days. */
const NUMBERS_A_START = 2 ** 32;

/**
 * Carries out what timers led to, once at each broker, also when the process is killed in the middle of it. A broker
 * keeps the number of the newest run that it has been told; so nothing newer may be told before what an earlier process
 * has left is settled there, and numbers have to grow whatever the clock does.
 */
export class Runs {
  #next = 0;
  readonly #settled = new Map<string, Promise<void>>();
  /** By broker, when everything that came before has been handed over. */
  readonly #turns = new Map<string, Promise<void>>();
  readonly #closed = new AbortController();

  constructor(
    private readonly topics: Pick<ControlTopics, 'brokers' | 'whenReady' | 'appliedRun' | 'publishRun'>,
    private readonly journal: Pick<Journal, 'write'>,
    private readonly logger: Pick<Logger, 'warn'>,
    /** Whether something newer has taken the place of a run that could not be told so far: a light must not go off then. */
    private readonly isOutdated: (run: Run) => boolean,
  ) {}

  /**
   * Settles what an earlier process has left: each broker is asked what it has, and gets what it has not.
   * @param startNumber how often automation was started, this time too
   */
  start(startNumber: number, left: readonly Run[]): void {
    const base = startNumber * NUMBERS_A_START;
    this.#next = base;
    const inOrder = [...left].sort((one, other) => one.number - other.number);
    for (const name of this.topics.brokers) {
      const settled = this.#settle(name, base, inOrder);
      this.#settled.set(name, settled);
      this.#turns.set(name, settled);
      settled.catch(() => undefined);
    }
    for (const run of inOrder)
      this.#whenSettled(run)
        .then(() => this.journal.write({ ended: [run] }))
        .catch((error: unknown) => this.#leave(run, error));
  }

  /** The number of a new run. */
  nextNumber(): number {
    this.#next += 1;
    return this.#next;
  }

  /** Carries out a run that is on record, and takes it off. */
  async carryOut(run: Run): Promise<void> {
    try {
      await Promise.all(brokersOf(run).map((broker) => this.#tell(broker, run)));
      await this.journal.write({ ended: [run] });
    } catch (error) {
      this.#leave(run, error);
    }
  }

  /** Asks no more; what is not done is left to the next start. */
  close(): void {
    this.#closed.abort(new Error('automation is stopping'));
  }

  async #settle(broker: string, base: number, left: readonly Run[]): Promise<void> {
    const applied = await pRetry(() => this.topics.appliedRun(broker), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 500,
      maxTimeout: 5_000,
      randomize: true,
      signal: this.#closed.signal,
      onFailedAttempt: ({ error }) =>
        this.logger.warn({ broker, reason: error.message }, 'what rules are to do at the broker waits for it'),
    });
    for (const run of left) {
      if (run.number > applied && brokersOf(run).includes(broker)) await this.#publish(broker, run);
    }
    // The database is older than the broker, from a backup: what is new must not look as if it had been told.
    const newest = Math.max(applied, ...left.map(({ number }) => number));
    if (newest > base) await this.topics.publishRun(broker, base, []);
  }

  /** Tells a broker of a run when it is its turn; resolves when the broker has it. */
  async #tell(broker: string, run: Run): Promise<void> {
    let told = Promise.resolve();
    // In the order of their numbers, whoever has waited for the broker: so the acknowledgement is not waited for here.
    const turn = (this.#turns.get(broker) ?? Promise.resolve()).then(async () => {
      await this.topics.whenReady(broker, this.#closed.signal);
      told = this.#publish(broker, run);
    });
    this.#turns.set(broker, turn);
    turn.catch(() => undefined);
    await turn;
    await told;
  }

  async #publish(broker: string, run: Run): Promise<void> {
    if (this.isOutdated(run)) return;
    try {
      await this.topics.publishRun(broker, run.number, effectsFor(broker, run));
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== 'publish-refused') throw error;
      // That is its last word: neither asking again nor holding back what comes later would mend it.
      this.logger.warn({ broker, rule: run.rule, reason: error.message }, 'the broker refuses what a rule publishes');
    }
  }

  async #whenSettled(run: Run): Promise<void> {
    for (const broker of brokersOf(run)) await this.#settled.get(broker);
  }

  #leave(run: Run, error: unknown): void {
    this.logger.warn({ err: error, rule: run.rule, subject: run.subject }, 'a run is left to the next start');
  }
}

function brokersOf({ effects }: Run): readonly string[] {
  return [...new Set(effects.map(({ broker }) => broker))];
}

function effectsFor(broker: string, { effects }: Run): readonly AddressedEffect[] {
  return effects.filter((effect) => effect.broker === broker);
}
