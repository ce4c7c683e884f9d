import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PacketCounter } from './packet-counter.ts';

const PUBACK = [0x40, 2, 0, 7];
const PINGREQ = [0xc0, 0];
const LONG_PUBLISH = [0x32, 0xc1, 0x02, ...Array.from({ length: 321 }, () => 0xff)];

describe('packets on a line', () => {
  it('are counted with their headers, however the stream is cut into pieces', () => {
    const stream = Uint8Array.from([...PUBACK, ...LONG_PUBLISH, ...PINGREQ, ...PUBACK]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: stream.length })), (cuts) => {
        const counter = new PacketCounter();
        const line = {};
        const places = [0, ...cuts.sort((one, other) => one - other), stream.length];
        for (let index = 1; index < places.length; index += 1)
          counter.take(line, stream.subarray(places[index - 1], places[index]));
        expect(counter.counts).toEqual({
          bytes: stream.length,
          packets: {
            puback: { count: 2, bytes: 8 },
            publish: { count: 1, bytes: 324 },
            pingreq: { count: 1, bytes: 2 },
          },
        });
      }),
    );
  });

  it('of several streams are kept apart', () => {
    const counter = new PacketCounter();
    const [one, other] = [{}, {}];
    counter.take(one, Uint8Array.from(PUBACK.slice(0, 2)));
    counter.take(other, Uint8Array.from(PINGREQ));
    counter.take(one, Uint8Array.from(PUBACK.slice(2)));
    expect(counter.counts.packets).toEqual({ pingreq: { count: 1, bytes: 2 }, puback: { count: 1, bytes: 4 } });
  });
});
