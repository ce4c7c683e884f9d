import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AcknowledgementQueue } from './acknowledgement-queue.ts';

describe('acknowledgements', () => {
  it('go out in the order of receipt, whatever the order in which handlers end', () => {
    const order = fc.integer({ min: 1, max: 200 }).chain((count) =>
      fc.tuple(
        fc.shuffledSubarray(
          Array.from({ length: count }, (_, id) => id + 1),
          { minLength: count },
        ),
        fc.array(fc.boolean(), { minLength: count, maxLength: count }),
      ),
    );
    fc.assert(
      fc.property(order, ([settledOrder, kept]) => {
        const released: number[] = [];
        const queue = new AcknowledgementQueue((id) => released.push(id));
        const settles = settledOrder.map((_, index) => queue.add(index + 1));
        for (const id of settledOrder) settles[id - 1]?.(kept[id - 1] === true ? 'acknowledge' : 'leave');
        expect(released).toEqual(kept.flatMap((acknowledged, index) => (acknowledged ? [index + 1] : [])));
        expect(queue.size).toBe(0);
      }),
    );
  });

  it('wait for an earlier message', () => {
    const released: number[] = [];
    const queue = new AcknowledgementQueue((id) => released.push(id));
    const first = queue.add(1);
    const second = queue.add(2);
    second('acknowledge');
    expect(released).toEqual([]);
    first('acknowledge');
    expect(released).toEqual([1, 2]);
  });

  it('count once, the first time', () => {
    const released: number[] = [];
    const queue = new AcknowledgementQueue((id) => released.push(id));
    const settle = queue.add(1);
    settle('acknowledge');
    settle('acknowledge');
    settle('leave');
    expect(released).toEqual([1]);
  });
});
