import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AcknowledgementWindow, RECEIVE_MAXIMUM } from './acknowledgement-window.ts';

/** Packet ids of PUBACKs that lie one behind the other. */
function packetIds(bytes: Buffer = Buffer.alloc(0)): readonly number[] {
  const offsets = Array.from({ length: bytes.length / 4 }, (_, index) => index * 4);
  expect(offsets.every((offset) => bytes.readUInt16BE(offset) === 0x4002)).toBe(true);
  return offsets.map((offset) => bytes.readUInt16BE(offset + 2));
}

type Step =
  | { readonly kind: 'add'; readonly packetId: number }
  | { readonly kind: 'settle'; readonly which: number; readonly isLeft: boolean }
  | { readonly kind: 'take' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), packetId: fc.integer({ min: 1, max: 65_535 }) }),
  fc.record({ kind: fc.constant('settle' as const), which: fc.nat(), isLeft: fc.boolean() }),
  fc.record({ kind: fc.constant('take' as const) }),
);

describe('the window of acknowledgements', () => {
  it('gives out PUBACKs in the order of receipt, each once, never before an earlier one, and none for what is left', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const window = new AcknowledgementWindow();
        const waiting: { packetId: number; slot: number; settlement?: 'acknowledge' | 'leave' }[] = [];
        let left = 0;
        for (const one of steps) {
          if (one.kind === 'add') {
            waiting.push({ packetId: one.packetId, slot: window.add(one.packetId) });
          } else if (one.kind === 'settle') {
            const pending = waiting.filter(({ settlement }) => settlement === undefined);
            const chosen = pending[one.which % Math.max(1, pending.length)];
            if (chosen === undefined) continue;
            chosen.settlement = one.isLeft ? 'leave' : 'acknowledge';
            window.settle(chosen.slot, chosen.settlement);
          } else {
            const due = waiting.findIndex(({ settlement }) => settlement === undefined);
            const released = waiting.splice(0, due === -1 ? waiting.length : due);
            left += released.filter(({ settlement }) => settlement === 'leave').length;
            expect(packetIds(window.takeAcknowledgements())).toEqual(
              released.filter(({ settlement }) => settlement === 'acknowledge').map(({ packetId }) => packetId),
            );
          }
          expect(window.unacknowledged).toBeGreaterThanOrEqual(waiting.length + left);
        }
      }),
    );
  });

  it('goes round: hundreds of thousands of messages, with one that stays behind', () => {
    const window = new AcknowledgementWindow();
    const seen: number[] = [];
    const sent: number[] = [];
    let late = window.add(1);
    sent.push(1);
    for (let index = 2; index < 300_000; index += 1) {
      const packetId = (index % 65_535) + 1;
      sent.push(packetId);
      const slot = window.add(packetId);
      if (index % 60_000 === 0) {
        window.settle(late, 'acknowledge');
        late = slot;
        seen.push(...packetIds(window.takeAcknowledgements()));
      } else {
        window.settle(slot, 'acknowledge');
      }
    }
    window.settle(late, 'acknowledge');
    seen.push(...packetIds(window.takeAcknowledgements()));
    expect(seen.length).toBe(sent.length);
    expect(seen.every((packetId, index) => packetId === sent[index])).toBe(true);
  });

  it('B1 holds 65,535 messages, is overfull with one more, and ends with twice as many', () => {
    const window = new AcknowledgementWindow();
    const slots = Array.from({ length: RECEIVE_MAXIMUM }, (_, index) => window.add(index + 1));
    expect(window.isOverfull).toBe(false);
    // As Mosquitto 2.0.11 does on a resumed session: packet ids that are in use.
    for (let packetId = 1; slots.length < 131_072; packetId += 1) slots.push(window.add((packetId % 65_535) + 1));
    expect(window.isOverfull).toBe(true);
    expect(() => window.add(1)).toThrow(
      expect.objectContaining({ code: 'receive-maximum-exceeded', reasonCode: 0x93 }),
    );
    for (const slot of slots.slice(0, 65_537)) window.settle(slot, 'acknowledge');
    // What is settled counts until the broker has been told.
    expect(window.isOverfull).toBe(true);
    expect(packetIds(window.takeAcknowledgements())).toHaveLength(65_537);
    expect([window.unacknowledged, window.isOverfull]).toEqual([65_535, false]);
    window.add(1);
  });

  it('counts what is left with the broker until the end of the connection', () => {
    const window = new AcknowledgementWindow();
    for (let index = 0; index < RECEIVE_MAXIMUM; index += 1) window.settle(window.add(index + 1), 'leave');
    expect(window.takeAcknowledgements()).toBeUndefined();
    expect([window.unacknowledged, window.isOverfull]).toEqual([RECEIVE_MAXIMUM, false]);
    window.add(1);
    expect(window.isOverfull).toBe(true);
  });
});
