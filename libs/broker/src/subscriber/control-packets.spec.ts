import fc from 'fast-check';
import type { Packet } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { controlPacketBytes, parseControlPacket } from './control-packets.ts';
import { ProtocolError } from './protocol-error.ts';

describe('a control packet', () => {
  it.each([
    { cmd: 'connack', sessionPresent: true, reasonCode: 0, properties: { serverKeepAlive: 20 } },
    { cmd: 'suback', messageId: 3, granted: [0, 1, 0x87] },
    { cmd: 'puback', messageId: 3, reasonCode: 0x10 },
    { cmd: 'disconnect', reasonCode: 0x8e, properties: { reasonString: 'another client' } },
    { cmd: 'pingresp' },
  ] satisfies Packet[])('is read as it was written: %j', (packet) => {
    const { properties, ...rest } = { properties: undefined, ...packet };
    expect(parseControlPacket(controlPacketBytes(packet))).toMatchObject({
      ...rest,
      ...(properties === undefined ? {} : { properties }),
    });
  });

  it('that is none ends in an error of its own, whatever its bytes', () => {
    const frame = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 60 }))
      .map(([header, body]) => Buffer.concat([Buffer.from([header, body.length]), body]));
    fc.assert(
      fc.property(frame, (bytes) => {
        try {
          expect(parseControlPacket(bytes).cmd).toEqual(expect.any(String));
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
          expect(error.reasonCode).toBe(0x81);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});
