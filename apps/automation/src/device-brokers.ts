import type { PresenceEvent, PrismaClient } from '@muster/database';

/** At which broker each device has its session: where presence last heard of it, else where it reports. */
export class DeviceBrokers {
  readonly #brokers = new Map<string, string>();

  constructor(private readonly database: PrismaClient) {}

  /** Reads what is known. */
  async load(): Promise<void> {
    const rows = await this.database.$queryRaw<{ device: string; broker: string }[]>`
      SELECT device, coalesce(presence.evidence ->> 'broker', device_activity.broker) AS broker
      FROM presence FULL JOIN device_activity USING (device)`;
    for (const { device, broker } of rows) this.#brokers.set(device, broker);
  }

  /** Takes changes of presence. */
  take(changes: readonly PresenceEvent[]): void {
    for (const { device, to, evidence } of changes) if (to === 'online') this.#brokers.set(device, evidence.broker);
  }

  /** Takes that a device reports at a broker; presence knows better where it has told. */
  heard(device: string, broker: string): void {
    if (!this.#brokers.has(device)) this.#brokers.set(device, broker);
  }

  /** The broker of a device. */
  of(device: string): string | undefined {
    return this.#brokers.get(device);
  }
}
