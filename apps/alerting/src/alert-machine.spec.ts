import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { elapse, INACTIVE, observe, stepOf, type AlertState, type Verdict } from './alert-machine.ts';

const FOR_MS = 60;

/** What happened to a subject: at a time, a verdict, or only that time has passed. */
type Happening = readonly [atMs: number, verdict: Verdict | 'time'];

function run(happenings: readonly Happening[], forMs = FOR_MS, notBeforeMs = 0): readonly AlertState[] {
  const states: AlertState[] = [];
  let state: AlertState = INACTIVE;
  for (const [nowMs, verdict] of happenings) {
    state = verdict === 'time' ? elapse(state, nowMs) : observe(state, { verdict, nowMs, forMs, notBeforeMs });
    states.push(state);
  }
  return states;
}

const phasesOf = (...happenings: readonly Happening[]): readonly string[] => run(happenings).map(({ phase }) => phase);

describe('an alert', () => {
  it.each<[string, readonly Happening[], readonly string[]]>([
    ['waits for its time', [[0, 'breached']], ['pending']],
    [
      'fires when its time is over and nothing else has come',
      [
        [0, 'breached'],
        [59, 'time'],
        [60, 'time'],
      ],
      ['pending', 'pending', 'firing'],
    ],
    [
      'fires with the observation that comes after its time',
      [
        [0, 'breached'],
        [70, 'breached'],
      ],
      ['pending', 'firing'],
    ],
    [
      'begins anew when the breach was broken',
      [
        [0, 'breached'],
        [30, 'clear'],
        [40, 'breached'],
        [70, 'time'],
        [100, 'time'],
      ],
      ['pending', 'inactive', 'pending', 'pending', 'firing'],
    ],
    [
      'does not wait on in between the limits',
      [
        [0, 'breached'],
        [30, 'between'],
        [70, 'time'],
      ],
      ['pending', 'inactive', 'inactive'],
    ],
    [
      'stays in between the limits once it fires',
      [
        [0, 'breached'],
        [60, 'time'],
        [70, 'between'],
        [80, 'breached'],
        [90, 'between'],
        [95, 'clear'],
      ],
      ['pending', 'firing', 'firing', 'firing', 'firing', 'inactive'],
    ],
    ['does not begin in between', [[0, 'between']], ['inactive']],
  ])('%s', (_, happenings, phases) => {
    expect(phasesOf(...happenings)).toEqual(phases);
  });

  it('fires at once where it need not last', () => {
    expect(run([[5, 'breached']], 0)).toEqual([{ phase: 'firing', sinceMs: 5, startedMs: 5 }]);
  });

  it('is held back until a time, and for ever where that is not known', () => {
    const happenings: readonly Happening[] = [
      [0, 'breached'],
      [99, 'time'],
      [100, 'time'],
    ];
    expect(run(happenings, 0, 100).map(({ phase }) => phase)).toEqual(['pending', 'pending', 'firing']);
    expect(run(happenings, 0, Infinity).map(({ phase }) => phase)).toEqual(['pending', 'pending', 'pending']);
  });

  it('keeps the time at which the breach began', () => {
    expect(
      run([
        [7, 'breached'],
        [20, 'breached'],
        [90, 'breached'],
      ]).at(-1),
    ).toEqual({ phase: 'firing', sinceMs: 7, startedMs: 90 });
  });

  const happenings = fc
    .array(
      fc.tuple(fc.integer({ min: 0, max: 40 }), fc.constantFrom<Happening[1]>('breached', 'between', 'clear', 'time')),
    )
    .map((steps) => {
      let atMs = 0;
      return steps.map(([afterMs, verdict]): Happening => [(atMs += afterMs), verdict]);
    });

  it('never fires before the breach has lasted for its time without a break', () => {
    fc.assert(
      fc.property(happenings, (all) => {
        const states = run(all);
        states.forEach((state, index) => {
          if (state.phase !== 'firing' || states[index - 1]?.phase === 'firing') return;
          expect(state.startedMs - state.sinceMs).toBeGreaterThanOrEqual(FOR_MS);
          const begun = all.findIndex(([atMs, verdict]) => atMs === state.sinceMs && verdict === 'breached');
          const lasting = all.slice(begun, index + 1).filter(([atMs]) => atMs > state.sinceMs);
          expect(lasting.every(([, verdict]) => verdict === 'breached' || verdict === 'time')).toBe(true);
        });
      }),
    );
  });

  it('is told as firing and as resolved in turn, and never twice the same', () => {
    fc.assert(
      fc.property(happenings, (all) => {
        const states = [INACTIVE, ...run(all)];
        const told = states
          .slice(1)
          .map((state, index) => stepOf(states[index] ?? INACTIVE, state))
          .filter((step) => step === 'firing' || step === 'resolved');
        told.forEach((step, index) => expect(step).toBe(index % 2 === 0 ? 'firing' : 'resolved'));
      }),
    );
  });
});
