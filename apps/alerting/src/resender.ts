import type { Logger } from '@muster/service';
import type { AlertBook } from './alert-book.ts';
import { toldAlert } from './alert-record.ts';
import type { Channel, ReceiverConfiguration } from './receivers.ts';
import { postAlerts } from './senders.ts';

/**
 * Tells Alertmanagers again and again what fires, as Prometheus does: there an alert ends by itself when nobody speaks of
 * it any more. It says nothing new, so it is not in the log of deliveries.
 */
export class Resender {
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #failing = new Set<string>();

  constructor(
    private readonly receivers: readonly ReceiverConfiguration[],
    private readonly book: AlertBook,
    private readonly logger: Logger,
  ) {}

  /** Begins. */
  start(): void {
    for (const { name, channel, route } of this.receivers) {
      if (channel.type !== 'alertmanager') continue;
      // Also at once: the service may have been away for as long as Alertmanager waits.
      void this.#resend(name, channel, route.maxAlerts);
      this.#timers.push(setInterval(() => void this.#resend(name, channel, route.maxAlerts), channel.resendMs));
    }
  }

  /** Stops. */
  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #resend(
    receiver: string,
    channel: Extract<Channel, { type: 'alertmanager' }>,
    maxAlerts: number,
  ): Promise<void> {
    const alerts = this.book.toldOf(receiver).map(toldAlert);
    try {
      for (let at = 0; at < alerts.length; at += maxAlerts)
        await postAlerts(channel, alerts.slice(at, at + maxAlerts), 'alerts');
      if (this.#failing.delete(receiver)) this.logger.info({ receiver }, 'takes alerts again');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!this.#failing.has(receiver)) this.logger.warn({ receiver, reason }, 'does not take alerts');
      this.#failing.add(receiver);
    }
  }
}
