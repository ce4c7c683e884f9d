import type { PresenceState } from '@muster/contract';
import type { Loss } from './losses.ts';

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
  /** `sinceMs` is null where nobody looked when that began. */
  | { readonly kind: 'away'; readonly sinceMs: number | null }
  | {
      readonly kind: 'there';
      readonly connectedMs: number;
      /** When it was started, by its own uptime; null while it has not said. */
      readonly bootedMs: number | null;
    };

/** A will arrives before the end of the connection to the broker that has published it is seen. */
export const SETTLE_MS = 1_500;
/** The end and the start of a broker are seen so exactly. */
const SEEN_WITHIN_MS = 3_000;
/** Uptime is told in whole seconds. */
export const UPTIME_STEP_MS = 1_000;
/** The same start of a broker, reckoned from its uptime twice: that is told in steps, and takes its way. */
export const SAME_BOOT_MS = 30_000;
const MAX_OUTAGES = 100;

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
 * The outage that is over when a broker is there again; undefined where only our own connection had been lost. What
 * began while nobody looked began at most the grace before the start, as far as devices have to suffer it.
 */
export function outageOf(
  before: BrokerCondition | undefined,
  after: BrokerCondition,
  graceMs: number,
): Outage | undefined {
  if (before?.kind !== 'away' || after.kind !== 'there') return undefined;
  const { bootedMs, connectedMs } = after;
  if (before.sinceMs === null)
    return bootedMs === null ? undefined : { fromMs: bootedMs - graceMs, untilMs: bootedMs + SEEN_WITHIN_MS };
  const startedMs = bootedMs ?? connectedMs;
  if (startedMs + UPTIME_STEP_MS < before.sinceMs) return undefined;
  return { fromMs: before.sinceMs - SEEN_WITHIN_MS, untilMs: startedMs + SEEN_WITHIN_MS };
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
 * anew, a sleeper has time until it wanted to wake, and a broker that was away let nobody speak. Who was never heard
 * has been silent since it is there.
 */
export function silentSinceMs(
  heardMs: number | undefined,
  device: DeviceFacts | undefined,
  broker: BrokerCondition | undefined,
): number | undefined {
  if (broker?.kind === 'away') return undefined;
  const isThere = device?.state === 'online' || device?.state === 'stale' || device?.state === 'asleep';
  const beganMs = heardMs ?? (isThere ? device.sinceMs : undefined);
  if (beganMs === undefined) return undefined;
  const lastMs = Math.max(beganMs, broker?.bootedMs ?? broker?.connectedMs ?? 0);
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
  readonly #outages = new Map<string, readonly Outage[]>();

  /** @param onOutage called with outages that the next process has to know */
  constructor(
    private readonly graceMs: number,
    private readonly onOutage: (outage: OutageRecord) => void = () => undefined,
  ) {}

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
    const before = this.#brokers.get(broker);
    const outage = outageOf(before, condition, this.graceMs);
    this.#brokers.set(broker, condition);
    if (outage === undefined) return;
    const isSame = ({ untilMs }: Outage): boolean => Math.abs(untilMs - outage.untilMs) < SAME_BOOT_MS;
    const hasWatched = before?.kind === 'away' && before.sinceMs !== null;
    if (!hasWatched && this.#outages.get(broker)?.some(isSame) === true) return;
    this.restoreOutage({ broker, ...outage });
    this.onOutage({ broker, ...outage });
  }

  /** Takes an outage from before. */
  restoreOutage({ broker, fromMs, untilMs }: OutageRecord): void {
    this.#outages.set(broker, [...(this.#outages.get(broker) ?? []), { fromMs, untilMs }].slice(-MAX_OUTAGES));
  }

  /** How many devices stand behind a broker. */
  devicesBehind(broker: string): number {
    return this.#behind.get(broker) ?? 0;
  }

  /** Until when the loss of a device behind a broker is no news; 0 where it is news. */
  holdUntilMs(broker: string | null): number {
    return broker === null ? 0 : holdUntilMs(this.#brokers.get(broker), this.graceMs);
  }

  /**
   * From when a loss of a device counts; undefined where it was the doing of its broker. A broker that ends publishes
   * every will, and keeps them for those who ask when it is back. Other losses after its start are judged when its grace
   * is over, and those while we do not hear it when it is there again: until then nobody knows whether it has ended.
   */
  lossCountsFromMs({ broker, atMs, isReplay }: Pick<Loss, 'broker' | 'atMs' | 'isReplay'>): number | undefined {
    const settledMs = atMs + SETTLE_MS;
    const condition = broker === null ? undefined : this.#brokers.get(broker);
    if (broker === null || condition === undefined) return settledMs;
    const replayedMs = isReplay ? this.graceMs : 0;
    const isItsDoing = ({ fromMs, untilMs }: Outage): boolean => atMs >= fromMs && atMs <= untilMs + replayedMs;
    if (this.#outages.get(broker)?.some(isItsDoing) === true) return undefined;
    if (condition.kind === 'away') {
      const isBefore = condition.sinceMs !== null && atMs < condition.sinceMs - SEEN_WITHIN_MS;
      return isBefore ? settledMs : Number.POSITIVE_INFINITY;
    }
    const startedMs = condition.bootedMs ?? condition.connectedMs;
    return atMs < startedMs ? settledMs : Math.max(settledMs, startedMs + this.graceMs);
  }

  /** Whether the broker of a device is away. */
  isAway(device: string): boolean {
    const broker = this.#devices.get(device)?.broker;
    return broker != null && this.#brokers.get(broker)?.kind === 'away';
  }

  /** See {@link silentSinceMs}. */
  silentSinceMs(device: string, heardMs: number | undefined): number | undefined {
    const facts = this.#devices.get(device);
    return silentSinceMs(heardMs, facts, facts?.broker == null ? undefined : this.#brokers.get(facts.broker));
  }

  #count(broker: string | null | undefined, change: number): void {
    if (broker != null) this.#behind.set(broker, (this.#behind.get(broker) ?? 0) + change);
  }
}
