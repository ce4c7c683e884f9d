import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  MAX_LEAP,
  MAX_OPEN_GAPS,
  REORDER_WINDOW,
  SequenceTracker,
  type Arrival,
  type SequenceCounts,
} from './sequence.ts';

interface Message {
  readonly session?: number | undefined;
  readonly seq: number;
  readonly isRedelivered?: boolean;
}

const NONE: SequenceCounts = {
  received: 0,
  lost: 0,
  awaited: 0,
  duplicates: 0,
  outOfOrder: 0,
  untold: 0,
  restarts: 0,
};

function trackerAfter(messages: readonly Message[]): SequenceTracker {
  const tracker = new SequenceTracker();
  for (const { session, seq, isRedelivered = false } of messages) tracker.take(session, seq, isRedelivered);
  return tracker;
}

const inSession = (session: number, ...numbers: readonly number[]): readonly Message[] =>
  numbers.map((seq) => ({ session, seq }));
const upTo = (last: number, first = 1): readonly number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

/** Every number of a session in a set: what the tracker must agree with. */
interface ModelSession {
  readonly session: number | undefined;
  readonly come: Set<number>;
  floor: number;
  highest: number;
}

class Model {
  readonly #followed: ModelSession[] = [];
  #newest: number | undefined;
  #gone = 0;
  #counts = NONE;

  take({ session, seq, isRedelivered = false }: Message): Arrival {
    const arrival = this.#judge(session, seq, isRedelivered);
    const add = (name: keyof SequenceCounts): void => {
      this.#counts = { ...this.#counts, [name]: this.#counts[name] + 1 };
    };
    add('received');
    if (arrival === 'late') add('outOfOrder');
    if (arrival === 'duplicate') add('duplicates');
    if (arrival === 'untold') add('untold');
    if (arrival === 'restart') add('restarts');
    return arrival;
  }

  get counts(): SequenceCounts {
    const missing = this.#followed.flatMap((one) => missingOf(one).map((seq) => one.highest - seq));
    const lost = missing.filter((behind) => behind >= REORDER_WINDOW).length;
    return { ...this.#counts, lost: this.#gone + lost, awaited: missing.length - lost };
  }

  #judge(session: number | undefined, seq: number, isRedelivered: boolean): Arrival {
    const at = this.#followed.findIndex((one) => one.session === session);
    const [followed] = at < 0 ? [] : this.#followed.splice(at, 1);
    const isNewer = session !== undefined && this.#newest !== undefined && session > this.#newest;
    if (session !== undefined) this.#newest = Math.max(this.#newest ?? session, session);
    if (followed === undefined) {
      const begun = { session, come: new Set([seq]), floor: isNewer ? Math.min(0, seq - 1) : seq - 1, highest: seq };
      this.#followed.unshift(begun);
      for (const forgotten of this.#followed.splice(2)) this.#gone += missingOf(forgotten).length;
      return 'first';
    }
    this.#followed.unshift(followed);
    const { come, highest, floor } = followed;
    const wasMissing = seq > floor && seq < highest && !come.has(seq);
    if (!wasMissing && session === undefined && !isRedelivered && highest - seq >= REORDER_WINDOW) {
      this.#gone += missingOf(followed).length;
      come.clear();
      come.add(seq);
      followed.floor = seq - 1;
      followed.highest = seq;
      return 'restart';
    }
    if (seq <= floor) return 'untold';
    if (come.has(seq)) return 'duplicate';
    come.add(seq);
    followed.highest = Math.max(highest, seq);
    this.#writeOff(followed);
    if (seq < highest) return 'late';
    return seq === highest + 1 ? 'next' : 'ahead';
  }

  #writeOff(followed: ModelSession): void {
    const missing = missingOf(followed);
    const ends = missing.filter((seq) => !missing.includes(seq + 1));
    const oldest = ends[0];
    if (oldest === undefined || ends.length <= MAX_OPEN_GAPS) return;
    this.#gone += missing.filter((seq) => seq <= oldest).length;
    followed.floor = oldest;
  }
}

function missingOf({ come, floor, highest }: ModelSession): readonly number[] {
  return upTo(highest, floor + 1).filter((seq) => !come.has(seq));
}

describe('the numbers of a device', () => {
  it.each<[string, readonly Message[], Partial<SequenceCounts>]>([
    ['in order tell of no loss', inSession(1, ...upTo(200)), { received: 200 }],
    ['may begin anywhere when nobody has listened before', inSession(1, 50, 51), { received: 2 }],
    ['that are missing are awaited', inSession(1, 1, 2, 5), { received: 3, awaited: 2 }],
    ['that are missing are lost after the window', inSession(1, 1, ...upTo(67, 4)), { received: 65, lost: 2 }],
    ['are lost one by one', inSession(1, 1, ...upTo(66, 4)), { received: 64, lost: 1, awaited: 1 }],
    ['that come late are not lost', inSession(1, 1, 3, 2, 4), { received: 4, outOfOrder: 1 }],
    [
      'that come very late are not lost either',
      inSession(1, 1, ...upTo(5_000, 3), 2),
      { received: 5_000, outOfOrder: 1 },
    ],
    [
      'that come late and again are duplicates',
      inSession(1, 1, 3, 2, 2),
      { received: 4, outOfOrder: 1, duplicates: 1 },
    ],
    ['that come twice are duplicates', inSession(1, 1, 2, 2, 1, 3), { received: 5, duplicates: 2 }],
    ['begin with 1 in a new session', [...inSession(1, 7), ...inSession(2, 1, 2)], { received: 3 }],
    [
      'are missed at the beginning of a new session',
      [...inSession(1, 7), ...inSession(2, 3)],
      { received: 2, awaited: 2 },
    ],
    [
      'of the last session may come amid those of the new one',
      [...inSession(1, 1, 3), ...inSession(2, 1), ...inSession(1, 2), ...inSession(2, 2)],
      { received: 5, outOfOrder: 1 },
    ],
    [
      'that are missing are lost with their session',
      [...inSession(1, 1, 3), ...inSession(2, 1), ...inSession(3, 1)],
      { received: 4, lost: 1 },
    ],
    ['may begin anywhere in an older session', [...inSession(9, 1), ...inSession(1, 40, 41)], { received: 3 }],
    ['before what is remembered tell nothing', inSession(1, 50, 49, 49), { received: 3, untold: 2 }],
    ['that leap far have been set to another value', inSession(1, 1, 2 + MAX_LEAP + 1), { received: 2, restarts: 1 }],
    ['that leap less far are missed', inSession(1, 1, 2 + MAX_LEAP), { received: 2, lost: MAX_LEAP - 63, awaited: 63 }],
    ['begin anew without a session', [{ seq: 500 }, { seq: 1 }, { seq: 2 }], { received: 3, restarts: 1 }],
    [
      'begin anew a window below the highest, and not before',
      [...upTo(100).map((seq) => ({ seq })), { seq: 37 }, { seq: 36 }],
      { received: 102, duplicates: 1, restarts: 1 },
    ],
    ['wrap around without a session', [{ seq: 65_535 }, { seq: 0 }, { seq: 1 }], { received: 3, restarts: 1 }],
    [
      'do not begin anew by being redelivered',
      [...upTo(100).map((seq) => ({ seq })), { seq: 2, isRedelivered: true }],
      { received: 101, duplicates: 1 },
    ],
    [
      'may begin with 0 in a new session',
      [...inSession(1, 7), ...inSession(2, 0, 1, 0)],
      { received: 4, duplicates: 1 },
    ],
  ])('%s', (_, messages, counts) => {
    expect(trackerAfter(messages).counts).toEqual({ ...NONE, ...counts });
  });

  it('are what a set of all of them says, after each message', () => {
    const step = fc.record({
      session: fc.oneof({ weight: 4, arbitrary: fc.constant(5) }, fc.constantFrom(undefined, 1, 6, 7)),
      by: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(1, 2, 3) }, fc.integer({ min: -150, max: 20 })),
      isRedelivered: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const tracker = new SequenceTracker();
        const model = new Model();
        let seq = 0;
        for (const { session, by, isRedelivered } of steps) {
          seq = Math.max(0, seq + by);
          expect(tracker.take(session, seq, isRedelivered)).toBe(model.take({ session, seq, isRedelivered }));
          expect(tracker.counts).toEqual(model.counts);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('are what a set of all of them says where most are missing, and more than are remembered', () => {
    const step = fc.record({
      isBack: fc.integer({ min: 0, max: 3 }).map((number) => number === 0),
      by: fc.integer({ min: 1, max: 4 }),
      back: fc.integer({ min: 1, max: 120 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 40, maxLength: 120 }), (steps) => {
        const tracker = new SequenceTracker();
        const model = new Model();
        let highest = 1;
        for (const { isBack, by, back } of steps) {
          const seq = isBack ? Math.max(1, highest - back) : highest + by;
          highest = Math.max(highest, seq);
          expect(tracker.take(3, seq, false)).toBe(model.take({ session: 3, seq }));
          expect(tracker.counts).toEqual(model.counts);
        }
      }),
    );
  });

  it('tell of no loss in whatever order and however often all of them come', () => {
    const shuffled = fc
      .integer({ min: 2, max: MAX_OPEN_GAPS * 2 })
      .chain((last) => fc.shuffledSubarray([...upTo(last, 2), ...upTo(last, 2)], { minLength: 2 * (last - 1) }));
    fc.assert(
      fc.property(shuffled, (numbers) => {
        const { lost, awaited, duplicates, untold } = trackerAfter(inSession(1, 1, ...numbers)).counts;
        expect({ lost, awaited, duplicates, untold }).toEqual({
          lost: 0,
          awaited: 0,
          duplicates: numbers.length / 2,
          untold: 0,
        });
      }),
    );
  });

  it('tell how many of them did not come, however many gaps there are', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 500 }), (arrives) => {
        const came = upTo(arrives.length + 1).filter((seq) => seq === 1 || arrives[seq - 2] === true);
        const { lost, awaited } = trackerAfter(inSession(1, ...came)).counts;
        expect(lost + awaited).toBe((came.at(-1) ?? 1) - came.length);
      }),
    );
  });
});
