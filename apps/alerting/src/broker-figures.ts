import { UPTIME_STEP_MS } from './fleet-view.ts';

/** What a broker tells of itself and rules look at. */
export const FIGURE_NAMES = ['broker-connections', 'broker-dropped', 'broker-retained'] as const;
/** See {@link FIGURE_NAMES}. */
export type FigureName = (typeof FIGURE_NAMES)[number];

/** A figure as a broker told it. */
export interface Figure {
  readonly value: number;
  /** Until when it is known to be so, in milliseconds since 1970. */
  readonly seenMs: number;
}

/** A figure on record, for the next process. */
export interface FigureRecord extends Figure {
  readonly broker: string;
  readonly name: FigureName;
}

/** What Mosquitto retains of a figure expires after this time: a figure that is not told at a subscribe is older. */
const RETAINED_MS = 60_000;
/** What a broker has dropped since such a short time ago is news, also when nobody has watched it from its start. */
const YOUNG_MS = 10 * 60_000;

/**
 * The figures of one broker, over its connections and our restarts. Mosquitto tells a figure only when it changes, and
 * its retained copy expires (mosquitto 2.0, sys_tree.c: 60 s): who connects later is told nothing before the next
 * change. A level (connections, retained messages) is then as it was, if we were away for less than that time, and not
 * known otherwise. Of the counter of dropped messages only the growth matters, so its last value is kept on record, and
 * what is measured is the growth since this process began: it stands still while nothing is told, so an alert can end,
 * and the first change after a pause counts in full. Growth while nobody watched is told when it is heard of: better
 * too late than never.
 */
export class BrokerFigures {
  readonly #figures: Map<FigureName, Figure>;
  /** Those that are known to stand as they were told. */
  readonly #known = new Set<FigureName>();
  #droppedHere = 0;
  #heardMs: number | undefined;
  /** Whether this connection has told the uptime, and so will tell what changes. */
  #tells = false;

  /** @param before figures on record */
  constructor(before: ReadonlyMap<FigureName, Figure>, nowMs: number) {
    this.#figures = new Map(before);
    for (const [name, { seenMs }] of before) if (nowMs - seenMs < RETAINED_MS) this.#known.add(name);
  }

  /** Takes when the broker was started, by its uptime, which comes before what else it tells. */
  booted(bootedMs: number, nowMs: number): void {
    this.#heardMs = nowMs;
    // Over one connection a broker cannot start anew.
    if (this.#tells) return;
    this.#tells = true;
    const isBefore = ({ seenMs }: Figure): boolean => seenMs < bootedMs + UPTIME_STEP_MS;
    for (const name of this.#known) {
      const figure = this.#figures.get(name);
      if (figure === undefined || isBefore(figure) || nowMs - figure.seenMs >= RETAINED_MS) this.#known.delete(name);
    }
    const dropped = this.#figures.get('broker-dropped');
    if (dropped === undefined ? nowMs - bootedMs < YOUNG_MS : isBefore(dropped))
      this.#figures.set('broker-dropped', { value: 0, seenMs: nowMs });
  }

  /**
   * Takes a figure.
   * @param isReplay whether the broker had kept it: it may be an old one
   */
  take(name: FigureName, value: number, isReplay: boolean, nowMs: number): void {
    const before = this.#figures.get(name)?.value;
    if (name === 'broker-dropped') {
      // Of a counter that nobody has seen before and that is told now, no more is known than that it has grown.
      const unseen = isReplay ? 0 : Math.min(1, value);
      this.#droppedHere += before === undefined ? unseen : value < before ? value : value - before;
    }
    this.#heardMs = nowMs;
    this.#known.add(name);
    this.#figures.set(name, { value, seenMs: nowMs });
  }

  /** Takes that the connection was lost: when the broker was last heard, all stood as it had been told. */
  disconnected(): void {
    this.#tells = false;
    const seenMs = this.#heardMs;
    if (seenMs === undefined) return;
    for (const name of this.#known) {
      const figure = this.#figures.get(name);
      if (figure !== undefined) this.#figures.set(name, { ...figure, seenMs });
    }
  }

  /** What there is to measure; nothing of a broker that tells nothing about itself. */
  get measurements(): ReadonlyMap<FigureName, number> {
    const measured = new Map<FigureName, number>();
    for (const name of this.#known) {
      const figure = this.#figures.get(name);
      if (figure !== undefined) measured.set(name, figure.value);
    }
    if (this.#tells || this.#known.has('broker-dropped')) measured.set('broker-dropped', this.#droppedHere);
    return measured;
  }

  /** The counter of dropped messages as it stands on record. */
  get dropped(): number | undefined {
    return this.#figures.get('broker-dropped')?.value;
  }

  /** All figures, for the record. */
  get figures(): ReadonlyMap<FigureName, Figure> {
    return this.#figures;
  }
}
