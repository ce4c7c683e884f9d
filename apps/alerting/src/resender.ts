import type { Logger } from '@muster/service';
import type { AlertBook } from './alert-book.ts';
import { toldAlert } from './alert-record.ts';
import type { Outbox } from './outbox.ts';
import type { ReceiverConfiguration } from './receivers.ts';
import type { Sender } from './senders.ts';

/**
 * Tells Alertmanagers again and again what fires, as Prometheus does: there an alert ends by itself when nobody speaks of
 * it any more. It says nothing new, so it is not in the log of deliveries.
 */
export class Resender {
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #failing = new Set<string>();
  #isClosed = false;

  constructor(
    private readonly receivers: readonly ReceiverConfiguration[],
    private readonly senders: ReadonlyMap<string, Sender>,
    private readonly book: Pick<AlertBook, 'toldOf'>,
    private readonly outbox: Pick<Outbox, 'isIdle'>,
    private readonly logger: Pick<Logger, 'info' | 'warn'>,
  ) {}

  /** Begins, at once: the service may have been away for as long as Alertmanager waits. */
  start(): void {
    for (const { name, channel } of this.receivers)
      if (channel.type === 'alertmanager') void this.#resend(name, channel.resendMs);
  }

  /** Stops. */
  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #resend(receiver: string, intervalMs: number): Promise<void> {
    const startedMs = Date.now();
    try {
      // What waits is news, and goes first.
      if (this.outbox.isIdle(receiver)) {
        await this.senders.get(receiver)?.again?.(() => this.book.toldOf(receiver).map(toldAlert));
        if (this.#failing.delete(receiver)) this.logger.info({ receiver }, 'takes alerts again');
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!this.#failing.has(receiver)) this.logger.warn({ receiver, reason }, 'does not take alerts');
      this.#failing.add(receiver);
    }
    if (this.#isClosed) return;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        void this.#resend(receiver, intervalMs);
      },
      Math.max(0, startedMs + intervalMs - Date.now()),
    );
    this.#timers.add(timer);
  }
}
