/** A number that is missing may still come while fewer than so many newer ones have been given out. */
export const REORDER_WINDOW = 64;
/** So many gaps of a session are kept open; beyond them the oldest is written off. */
export const MAX_OPEN_GAPS = 16;
/** A leap over more numbers than this is no loss, but a counter that was set to another value. */
export const MAX_LEAP = 1_000_000;

/**
 * What a number says of the messages of its device: `first` of what is heard of its session, `next` in order, `ahead` of
 * some that are missing, `late` where it was missing, `duplicate`, `untold` where it is not known any more whether it had
 * come, or `restart` of a count.
 */
export type Arrival = 'first' | 'next' | 'ahead' | 'late' | 'duplicate' | 'untold' | 'restart';

/** What the numbers of a device's messages have told. */
export interface SequenceCounts {
  /** Messages that had a number. */
  readonly received: number;
  /** Numbers that are missing and have been overtaken by {@link REORDER_WINDOW} newer ones; fewer when one comes late. */
  readonly lost: number;
  /** Numbers that are missing and may still be on their way. */
  readonly awaited: number;
  /** Messages whose number had come before: redelivered. */
  readonly duplicates: number;
  /** Messages that came after one with a higher number. */
  readonly outOfOrder: number;
  /** Messages of which it is not known whether they are duplicates or late: older than what is remembered. */
  readonly untold: number;
  /** Counts that began anew without a new session. */
  readonly restarts: number;
}

/** The numbers of a session, from `floor` (exclusive) to `highest`; all that are in no gap have come. */
class Stretch {
  floor: number;
  highest: number;
  /** First and last number of each gap, in order, flat: most devices have none. */
  gaps: number[] | undefined = undefined;

  constructor(
    readonly session: number,
    floor: number,
  ) {
    this.floor = floor;
    this.highest = floor;
  }

  /** Missing numbers up to `last`. */
  missing(last: number): number {
    const { gaps } = this;
    if (gaps === undefined) return 0;
    let sum = 0;
    for (let index = 0; index < gaps.length; index += 2) {
      sum += Math.max(0, Math.min(gaps[index + 1] ?? 0, last) - (gaps[index] ?? 0) + 1);
    }
    return sum;
  }

  /** Opens a gap at the end. */
  open(from: number, to: number): void {
    if (this.gaps === undefined) this.gaps = [from, to];
    else this.gaps.push(from, to);
  }

  /** Takes a number out of its gap; whether it was in one. */
  fill(number: number): boolean {
    const { gaps } = this;
    if (gaps === undefined) return false;
    let index = gaps.length - 2;
    while (index >= 0 && (gaps[index] ?? 0) > number) index -= 2;
    const from = gaps[index];
    const to = gaps[index + 1];
    if (from === undefined || to === undefined || to < number) return false;
    if (from === to) {
      if (gaps.length === 2) this.gaps = undefined;
      else gaps.splice(index, 2);
    } else if (number === from) gaps[index] = number + 1;
    else if (number === to) gaps[index + 1] = number - 1;
    else gaps.splice(index + 1, 0, number - 1, number + 1);
    return true;
  }

  /** Gives up the oldest gap where there are too many; how many numbers it had. */
  writeOff(): number {
    const { gaps } = this;
    if (gaps === undefined || gaps.length <= 2 * MAX_OPEN_GAPS) return 0;
    const [from = 0, to = 0] = gaps.splice(0, 2);
    this.floor = to;
    return to - from + 1;
  }
}

/** Stands for the session of a device that names none. */
const NO_SESSION = -1;
const NO_NUMBER = -1;

/**
 * The sequence numbers of one device: what was lost, came twice, or out of order. Numbers begin at 1 in each session, and
 * a session's number only grows. The two sessions that were heard last are followed, because the outbox of the one before
 * may be emptied amid the messages of the new one. Where a device names no session, a number far below the highest is a
 * restart. Its memory is bounded, whatever a device sends: two sessions with {@link MAX_OPEN_GAPS} gaps each.
 */
export class SequenceTracker {
  /** The session that was heard last, and its next number in order: nearly every message is that. */
  #session = NO_SESSION;
  #next = NO_NUMBER;
  /** That session; its highest number is brought up to date when it is asked for. */
  #current: Stretch | undefined;
  #other: Stretch | undefined;
  #newestSession = NO_SESSION;
  #received = 0;
  #writtenOff = 0;
  #duplicates = 0;
  #outOfOrder = 0;
  #untold = 0;
  #restarts = 0;

  /**
   * Takes the number of a message.
   * @param isRedelivered the broker says that it sends the message again: it never begins a count
   */
  take(session: number | undefined, seq: number, isRedelivered: boolean): Arrival {
    this.#received += 1;
    const wanted = session ?? NO_SESSION;
    if (wanted === this.#session && seq === this.#next) {
      this.#next = seq + 1;
      return 'next';
    }
    this.#bringUpToDate();
    const arrival = this.#judge(wanted, seq, isRedelivered);
    this.#session = wanted;
    this.#next = this.#current === undefined ? NO_NUMBER : this.#current.highest + 1;
    return arrival;
  }

  #bringUpToDate(): void {
    if (this.#current !== undefined) this.#current.highest = this.#next - 1;
  }

  #judge(wanted: number, seq: number, isRedelivered: boolean): Arrival {
    let stretch = this.#current;
    if (stretch?.session !== wanted) {
      const other = this.#other;
      this.#other = stretch;
      if (other?.session !== wanted) {
        if (other !== undefined) this.#writtenOff += other.missing(other.highest);
        return this.#begin(wanted, seq);
      }
      stretch = other;
      this.#current = stretch;
    }
    if (seq === stretch.highest + 1) {
      stretch.highest = seq;
      return 'next';
    }
    return seq > stretch.highest ? this.#ahead(stretch, seq) : this.#behind(stretch, seq, isRedelivered);
  }

  /** See {@link SequenceCounts}. */
  get lost(): number {
    this.#bringUpToDate();
    return this.#writtenOff + missingOf(this.#current, REORDER_WINDOW) + missingOf(this.#other, REORDER_WINDOW);
  }

  /** See {@link SequenceCounts}. */
  get duplicates(): number {
    return this.#duplicates;
  }

  /** What the numbers have told so far. */
  get counts(): SequenceCounts {
    const { lost } = this;
    return {
      received: this.#received,
      lost,
      awaited: missingOf(this.#current, 0) + missingOf(this.#other, 0) - (lost - this.#writtenOff),
      duplicates: this.#duplicates,
      outOfOrder: this.#outOfOrder,
      untold: this.#untold,
      restarts: this.#restarts,
    };
  }

  /**
   * A session that was not followed. One that is newer than all before began under our eyes, so with 1; any other may have
   * been going on for long, because nobody listened, or the device was given an older number with a new flash.
   */
  #begin(session: number, seq: number): Arrival {
    const isNew = this.#newestSession !== NO_SESSION && session > this.#newestSession && seq - 1 <= MAX_LEAP;
    this.#newestSession = Math.max(this.#newestSession, session);
    const stretch = new Stretch(session, isNew ? Math.min(0, seq - 1) : seq - 1);
    this.#current = stretch;
    if (seq > stretch.highest + 1) stretch.open(stretch.highest + 1, seq - 1);
    stretch.highest = seq;
    return 'first';
  }

  #ahead(stretch: Stretch, seq: number): Arrival {
    if (seq - stretch.highest - 1 > MAX_LEAP) return this.#restart(stretch, seq);
    stretch.open(stretch.highest + 1, seq - 1);
    this.#writtenOff += stretch.writeOff();
    stretch.highest = seq;
    return 'ahead';
  }

  #behind(stretch: Stretch, seq: number, isRedelivered: boolean): Arrival {
    if (stretch.fill(seq)) {
      this.#writtenOff += stretch.writeOff();
      this.#outOfOrder += 1;
      return 'late';
    }
    const isFar = stretch.highest - seq >= REORDER_WINDOW;
    if (stretch.session === NO_SESSION && isFar && !isRedelivered) return this.#restart(stretch, seq);
    if (seq <= stretch.floor) {
      this.#untold += 1;
      return 'untold';
    }
    this.#duplicates += 1;
    return 'duplicate';
  }

  /** What was missing before stays lost. */
  #restart(stretch: Stretch, seq: number): Arrival {
    this.#restarts += 1;
    this.#writtenOff += stretch.missing(stretch.highest);
    stretch.gaps = undefined;
    stretch.floor = seq - 1;
    stretch.highest = seq;
    return 'restart';
  }
}

/** Missing numbers of a stretch, but for those among so many of the highest. */
function missingOf(stretch: Stretch | undefined, window: number): number {
  return stretch === undefined ? 0 : stretch.missing(stretch.highest - window);
}
