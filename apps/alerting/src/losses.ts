/** That a device was lost; times are milliseconds since 1970. */
export interface Loss {
  /** Of the change of presence: a loss that is told twice counts once. */
  readonly id: bigint;
  readonly device: string;
  readonly atMs: number;
  /** The broker whose word it is. */
  readonly broker: string | null;
  /** The broker had kept it: the device was lost some time before. */
  readonly isReplay: boolean;
}

/** How often a device was lost. */
export interface LossCount {
  readonly count: number;
  /** Whether some of its losses cannot be judged yet. */
  readonly isOpen: boolean;
  /** When the count is another one, if nothing happens until then; undefined where it stays. */
  readonly changesAtMs: number | undefined;
}

/** No rule asks for more than half of them; the rest may turn out to be a broker's doing. */
const MAX_LOSSES = 2_000;

/** The losses of each device, for all rules that count them. */
export class LossHistory {
  readonly #losses = new Map<string, Loss[]>();

  /** @param countsFromMs from when a loss counts; undefined where it does not */
  constructor(private readonly countsFromMs: (loss: Loss) => number | undefined) {}

  /** Devices that were lost. */
  get devices(): Iterable<string> {
    return this.#losses.keys();
  }

  /** Takes a loss, in any order. */
  add(loss: Loss): void {
    const known = this.#losses.get(loss.device) ?? [];
    this.#losses.set(loss.device, known);
    if (known.some(({ id }) => id === loss.id)) return;
    known.push(loss);
    if (known.length > MAX_LOSSES) known.sort((one, other) => one.atMs - other.atMs).shift();
  }

  /** Counts the losses of a device within a time that ends now. */
  count(device: string, withinMs: number, nowMs: number): LossCount {
    let count = 0;
    let isOpen = false;
    let changesAtMs = Number.POSITIVE_INFINITY;
    for (const loss of this.#losses.get(device) ?? []) {
      if (loss.atMs <= nowMs - withinMs) continue;
      const fromMs = this.countsFromMs(loss);
      if (fromMs === undefined) continue;
      if (fromMs > nowMs) isOpen = true;
      else count += 1;
      changesAtMs = Math.min(changesAtMs, fromMs > nowMs ? fromMs : loss.atMs + withinMs);
    }
    return { count, isOpen, changesAtMs: Number.isFinite(changesAtMs) ? changesAtMs : undefined };
  }

  /** Forgets what is older than any rule looks. */
  prune(device: string, beforeMs: number): void {
    const kept = (this.#losses.get(device) ?? []).filter(({ atMs }) => atMs >= beforeMs);
    if (kept.length === 0) this.#losses.delete(device);
    else this.#losses.set(device, kept);
  }

  /** Forgets devices that no rule is about. */
  keep(isConcerned: (device: string) => boolean): void {
    for (const device of this.#losses.keys()) if (!isConcerned(device)) this.#losses.delete(device);
  }

  /** Forgets a device. */
  forget(device: string): void {
    this.#losses.delete(device);
  }
}
