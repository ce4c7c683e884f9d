/** Takes back what was to be done later. */
export type Cancel = () => void;

const LONGEST_WAIT_MS = 2 ** 31 - 1;

/**
 * The time of virtual devices: as fast as that of everybody, or faster, so that a day passes in minutes. Milliseconds
 * since 1970.
 */
export class VirtualTime {
  readonly #startedAt = performance.now();

  /** @param startMs what it is when it begins; a compressed day that is to end now begins a day ago */
  constructor(
    readonly speed = 1,
    private readonly startMs = Date.now(),
  ) {}

  /** What time it is. */
  get nowMs(): number {
    return this.startMs + (performance.now() - this.#startedAt) * this.speed;
  }

  /** Does something so many of its milliseconds from now. */
  after(waitMs: number, work: () => void): Cancel {
    const timer = setTimeout(work, Math.min(Math.max(0, waitMs / this.speed), LONGEST_WAIT_MS));
    return () => clearTimeout(timer);
  }
}
