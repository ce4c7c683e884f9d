import type { Logger } from '@muster/service';
import type { AlertStore } from './alert-store.ts';
import type { DeliveryStore } from './delivery-store.ts';
import type { Engine } from './engine.ts';

const DAY_MS = 86_400_000;
const INTERVAL_MS = 3_600_000;
/** How long alerts that are over, and what was told of them, can be looked up. */
const ALERTS_KEPT_MS = 90 * DAY_MS;
const DELIVERIES_KEPT_MS = 30 * DAY_MS;

/** Forgets what is old, once an hour. */
export class Upkeep {
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly alerts: AlertStore,
    private readonly deliveries: DeliveryStore,
    private readonly engine: Engine,
    private readonly logger: Logger,
  ) {}

  /** Begins. */
  start(): void {
    this.#timer = setInterval(() => void this.#forget(), INTERVAL_MS);
  }

  /** Stops. */
  close(): void {
    clearInterval(this.#timer);
  }

  async #forget(): Promise<void> {
    const nowMs = Date.now();
    const { silences } = this.engine.mutes;
    for (const { id, untilMs } of [...silences.values()]) if (untilMs < nowMs) silences.delete(id);
    try {
      const alerts = await this.alerts.prune(new Date(nowMs - ALERTS_KEPT_MS));
      await this.deliveries.prune(new Date(nowMs - DELIVERIES_KEPT_MS));
      if (alerts > 0) this.logger.info({ alerts }, 'forgot alerts that are long over');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.logger.warn({ reason }, 'what is old could not be forgotten; it is tried again in an hour');
    }
  }
}
