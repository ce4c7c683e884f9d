import { describe, expect, it } from 'vitest';
import { Delivery, Hand } from './delivery.ts';

const NOW_MS = 1_700_000_000_000;

function deliver(hand: Hand, packetIds: readonly number[]): Delivery {
  return new Delivery(
    ...(['mosquitto-0', NOW_MS, false, hand] as const),
    packetIds.map((packetId) => hand.add(packetId) ?? Number.NaN),
  );
}

describe('a delivery', () => {
  it('settles messages one by one, each once, and those without an acknowledgement too', () => {
    let settlements = 0;
    const hand = new Hand(() => (settlements += 1));
    const delivery = deliver(hand, [7, 0, 8]);
    expect(hand.size).toBe(3);
    delivery.settle(2, 'acknowledge');
    delivery.settle(2, 'leave');
    delivery.settle(1, 'acknowledge');
    delivery.settle(1, 'acknowledge');
    delivery.settle(3, 'acknowledge');
    expect(hand.size).toBe(1);
    expect(settlements).toBe(2);
    expect(hand.takeAcknowledgements()).toBeUndefined();
    delivery.settle(0, 'acknowledge');
    expect(hand.takeAcknowledgements()).toEqual(Buffer.from([0x40, 2, 0, 7, 0x40, 2, 0, 8]));
    expect(hand.size).toBe(0);
  });

  it('settles at once what is not settled yet', () => {
    const hand = new Hand(() => undefined);
    const delivery = deliver(hand, [1, 2, 3]);
    delivery.settle(1, 'leave');
    delivery.settleAll('acknowledge');
    expect(hand.takeAcknowledgements()).toEqual(Buffer.from([0x40, 2, 0, 1, 0x40, 2, 0, 3]));
  });

  it('is the broker’s again when its connection is lost', () => {
    let settlements = 0;
    const hand = new Hand(() => (settlements += 1));
    const delivery = deliver(hand, [1, 2]);
    delivery.settle(0, 'acknowledge');
    hand.lose();
    expect(delivery.isLost).toBe(true);
    expect(hand.size).toBe(0);
    delivery.settleAll('acknowledge');
    expect(hand.takeAcknowledgements()).toBeUndefined();
    expect(hand.size).toBe(0);
    expect(settlements).toBe(1);
  });

  it('has room for so many messages without an acknowledgement, whatever else waits', () => {
    const hand = new Hand(() => undefined);
    const delivery = deliver(
      hand,
      Array.from({ length: 65_535 }, () => 0),
    );
    expect(hand.add(0)).toBeUndefined();
    expect(hand.add(1)).toBeDefined();
    delivery.settle(40_000, 'acknowledge');
    expect(hand.add(0)).toBeDefined();
    expect(hand.size).toBe(65_536);
  });
});
