import type { PresenceState } from '@muster/contract';

/** What alerts need to know of a device; times are milliseconds since 1970. */
export interface DeviceFacts {
  readonly state: PresenceState;
  readonly sinceMs: number;
  /** The broker that it was last heard through, or that it is assigned to. */
  readonly broker: string | null;
  /** When a sleeping device said that it will be back. */
  readonly wakeExpectedMs: number | null;
}

/** What alerts need to know of a broker. */
export type BrokerCondition =
  | { readonly kind: 'away'; readonly sinceMs: number }
  | {
      readonly kind: 'there';
      readonly connectedMs: number;
      /** When it was started, by its own uptime; null while it has not said. */
      readonly bootedMs: number | null;
    };

/** A time in which a broker ended and was started again: that devices behind it were lost then was its own doing. */
export interface Outage {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** An outage on record. */
export interface OutageRecord extends Outage {
  readonly broker: string;
}

/**
 * Until when the loss of a device behind a broker is no news: while the broker is away, and for a grace after its start
 * (mqtt-pitfalls P6, P7), because a broker that ends publishes every will, and devices need a while to come back.
 */
export function holdUntilMs(condition: BrokerCondition | undefined, graceMs: number): number {
  if (condition === undefined) return 0;
  if (condition.kind === 'away') return Number.POSITIVE_INFINITY;
  return (condition.bootedMs ?? condition.connectedMs) + graceMs;
}

/**
 * Since when silence of a device counts; undefined where it is known to be away, which says it all. A birth begins it
 * anew, a sleeper has time until it wanted to wake, and a broker that was away let nobody speak.
 */
export function silentSinceMs(
  heardMs: number,
  device: DeviceFacts | undefined,
  broker: BrokerCondition | undefined,
): number | undefined {
  if (broker?.kind === 'away') return undefined;
  const lastMs = Math.max(heardMs, broker?.bootedMs ?? broker?.connectedMs ?? 0);
  switch (device?.state) {
    case 'lost':
    case 'offline':
      return undefined;
    case 'asleep':
      return Math.max(lastMs, device.wakeExpectedMs ?? 0);
    case 'online':
    case 'stale':
      return Math.max(lastMs, device.sinceMs);
    case 'unknown':
    case undefined:
      return lastMs;
  }
}

/** Devices and brokers as they are known now. */
export class FleetView {
  readonly #devices = new Map<string, DeviceFacts>();
  readonly #brokers = new Map<string, BrokerCondition>();
  readonly #behind = new Map<string, number>();

  constructor(private readonly graceMs: number) {}

  get devices(): ReadonlyMap<string, DeviceFacts> {
    return this.#devices;
  }

  /** Takes what is known of a device; answers what was known before. */
  setDevice(device: string, facts: DeviceFacts): DeviceFacts | undefined {
    const before = this.#devices.get(device);
    this.#devices.set(device, facts);
    if (before?.broker !== facts.broker) {
      this.#count(before?.broker, -1);
      this.#count(facts.broker, 1);
    }
    return before;
  }

  /** Forgets a device that is out of service. */
  forget(device: string): void {
    this.#count(this.#devices.get(device)?.broker, -1);
    this.#devices.delete(device);
  }

  /** Takes what is known of a broker. */
  setBroker(broker: string, condition: BrokerCondition): void {
    this.#brokers.set(broker, condition);
  }

  /** How many devices stand behind a broker. */
  devicesBehind(broker: string): number {
    return this.#behind.get(broker) ?? 0;
  }

  /** Until when the loss of a device behind a broker is no news; 0 where it is news. */
  holdUntilMs(broker: string | null): number {
    return broker === null ? 0 : holdUntilMs(this.#brokers.get(broker), this.graceMs);
  }

  /** See {@link silentSinceMs}. */
  silentSinceMs(device: string, heardMs: number): number | undefined {
    const facts = this.#devices.get(device);
    return silentSinceMs(heardMs, facts, facts?.broker == null ? undefined : this.#brokers.get(facts.broker));
  }

  #count(broker: string | null | undefined, change: number): void {
    if (broker != null) this.#behind.set(broker, (this.#behind.get(broker) ?? 0) + change);
  }
}
