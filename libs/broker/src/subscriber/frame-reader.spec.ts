import fc from 'fast-check';
import { generate, type IPublishPacket } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import { ProtocolError } from './protocol-error.ts';

const MAXIMUM = 400_000;

type Found =
  | {
      readonly topic: string;
      readonly payload: string;
      readonly qos: number;
      readonly retain: boolean;
      readonly duplicate: boolean;
      readonly packetId: number;
      readonly properties: string;
    }
  | { readonly controlPacket: string };

/** Reads pieces one after the other; what is found is looked at only in the end, when later bytes have been written. */
function read(pieces: readonly Uint8Array[], reader = new FrameReader(MAXIMUM)): readonly Found[] {
  const found: (() => Found)[] = [];
  const sink: FrameSink = {
    message: (message, packetId) =>
      found.push(() => ({
        topic: message.topic,
        payload: message.payload.toString('hex'),
        qos: message.qos,
        retain: message.retain,
        duplicate: message.duplicate,
        packetId,
        properties: JSON.stringify(message.properties()),
      })),
    controlPacket: (bytes) => found.push(() => ({ controlPacket: bytes.toString('hex') })),
  };
  for (const piece of pieces)
    for (let offset = 0; offset < piece.length;) {
      const room = reader.room();
      const bytes = piece.subarray(offset, offset + room.length);
      room.set(bytes);
      reader.received(bytes.length, sink);
      offset += bytes.length;
    }
  return found.map((look) => look());
}

function publish(packet: Partial<IPublishPacket> = {}): Buffer {
  return generate(
    {
      ...{ cmd: 'publish', topic: 'a/b', payload: 'x', qos: 0, retain: false, dup: false },
      ...packet,
    },
    { protocolVersion: 5 },
  );
}

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

const messagePacket = fc
  .record({
    topic: fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }).filter((topic) => !/[#+\0]/.test(topic)),
    payload: fc.oneof(
      { weight: 20, arbitrary: fc.uint8Array({ maxLength: 300 }) },
      { weight: 1, arbitrary: fc.nat({ max: MAXIMUM - 1_000 }).map((length) => new Uint8Array(length).fill(65)) },
    ),
    qos: fc.constantFrom(0 as const, 1 as const),
    retain: fc.boolean(),
    dup: fc.boolean(),
    messageId: fc.integer({ min: 1, max: 65_535 }),
    properties: fc.option(
      fc.record({
        messageExpiryInterval: fc.nat(),
        contentType: fc.string({ maxLength: 300 }),
        userProperties: fc.constant({ origin: 'test' }),
      }),
      { nil: undefined },
    ),
  })
  .map((packet) => ({ ...packet, dup: packet.dup && packet.qos === 1 }));

type MessagePacket = typeof messagePacket extends fc.Arbitrary<infer Packet> ? Packet : never;

function bytesOf({ payload, properties, ...packet }: MessagePacket): Buffer {
  return publish({ ...packet, payload: Buffer.from(payload), ...(properties === undefined ? {} : { properties }) });
}

function meant({ topic, payload, qos, retain, dup, messageId, properties }: MessagePacket): Found {
  return {
    ...{ topic, qos, retain, duplicate: dup, packetId: qos === 0 ? 0 : messageId },
    payload: Buffer.from(payload).toString('hex'),
    properties: JSON.stringify(properties ?? {}),
  };
}

describe('a stream of packets', () => {
  it('says what was published', () => {
    fc.assert(
      fc.property(fc.array(messagePacket, { maxLength: 20 }), (packets) => {
        expect(read([Buffer.concat(packets.map(bytesOf))])).toEqual(packets.map(meant));
      }),
    );
  });

  it('gives the same frames wherever it is cut', () => {
    const stream = Buffer.concat([
      publish({ topic: 'devices/ä/telemetry', payload: '{"temp":22.5}', qos: 1, messageId: 258 }),
      generate({ cmd: 'pingresp' }),
      publish({ payload: 'y'.repeat(200), properties: { contentType: 'z'.repeat(150) } }),
      generate({ cmd: 'puback', messageId: 7 }),
      publish({ payload: '' }),
    ]);
    const whole = read([stream]);
    expect(whole).toHaveLength(5);
    for (let cut = 0; cut <= stream.length; cut += 1)
      expect(read([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(whole);
    expect(read(Array.from(stream, (_, index) => stream.subarray(index, index + 1)))).toEqual(whole);
  });

  it('gives the same frames however many pieces it comes in, over many blocks of memory', () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(fc.array(messagePacket, { minLength: 1, maxLength: 30 }), pieces, (packets, lengths) => {
        const stream = Buffer.concat(Array.from({ length: 5 }, () => packets.map(bytesOf)).flat());
        const cut: Buffer[] = [];
        for (let offset = 0, index = 0; offset < stream.length; index += 1) {
          const length = lengths[index % lengths.length] ?? 1;
          cut.push(stream.subarray(offset, offset + length));
          offset += length;
        }
        expect(read(cut)).toEqual(Array.from({ length: 5 }, () => packets.map(meant)).flat());
      }),
      { numRuns: 30 },
    );
  });

  it('leaves messages that are kept as they were, while later ones are read', () => {
    const packets = Array.from({ length: 20_000 }, (_, index) => publish({ payload: `message ${index}` }));
    const found = read(packets.map((packet) => new Uint8Array(packet)));
    expect(found.map((one) => ('payload' in one ? Buffer.from(one.payload, 'hex').toString() : ''))).toEqual(
      packets.map((_, index) => `message ${index}`),
    );
  });
});

describe('a packet that breaks the protocol', () => {
  const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

  it.each([
    ['a remaining length of five bytes', '30 ff ff ff ff 01', 'malformed-packet', 0x81],
    ['a remaining length that is longer than needed', '30 85 00 00 01 61 00 00', 'malformed-packet', 0x81],
    ['one byte more than the maximum', '30 fd b4 18', 'packet-too-large', 0x95],
    ['QoS 2', '34 06 00 01 61 00 01 00', 'qos-not-supported', 0x9b],
    ['QoS 3', '36 06 00 01 61 00 01 00', 'malformed-packet', 0x81],
    ['a duplicate at QoS 0', '38 04 00 01 61 00', 'malformed-packet', 0x81],
    ['an empty body', '30 00', 'malformed-packet', 0x81],
    ['a topic that is longer than its packet', '30 04 00 09 61 00', 'malformed-packet', 0x81],
    ['no packet id', '32 04 00 01 61 00', 'malformed-packet', 0x81],
    ['no properties', '30 03 00 01 61', 'malformed-packet', 0x81],
    ['properties that are longer than their packet', '30 04 00 01 61 05', 'malformed-packet', 0x81],
    ['a length of properties without an end', '30 08 00 01 61 ff ff ff ff 01', 'malformed-packet', 0x81],
    ['a length of properties that is cut off', '30 04 00 01 61 80', 'malformed-packet', 0x81],
    ['an empty topic', '30 03 00 00 00', 'protocol-error', 0x82],
    ['the packet id 0', '32 06 00 01 61 00 00 00', 'protocol-error', 0x82],
  ] as const)('is refused: %s', (_, bytes, code, reasonCode) => {
    const good = publish();
    const found: string[] = [];
    const reader = new FrameReader(MAXIMUM);
    const stream = Buffer.concat([good, hex(bytes)]);
    reader.room().set(stream);
    const error = errorOf(() =>
      reader.received(stream.length, { message: ({ topic }) => found.push(topic), controlPacket: () => undefined }),
    );
    expect(error).toBeInstanceOf(ProtocolError);
    expect(error).toMatchObject({ code, reasonCode });
    expect(found).toEqual(['a/b']);
  });

  it('is of the maximum size: that is still taken', () => {
    const overhead = publish({ payload: Buffer.alloc(200_000) }).length - 200_000;
    const packet = publish({ payload: Buffer.alloc(MAXIMUM - overhead) });
    expect(packet).toHaveLength(MAXIMUM);
    expect(read([packet])).toHaveLength(1);
  });

  it('has properties that are none: that is said when they are asked for', () => {
    const found: unknown[] = [];
    const reader = new FrameReader(MAXIMUM);
    const stream = hex('30 06 00 01 61 02 ff ff');
    reader.room().set(stream);
    reader.received(stream.length, {
      message: (message) => found.push(errorOf(() => message.properties())),
      controlPacket: () => undefined,
    });
    expect(found).toEqual([expect.objectContaining({ name: 'ProtocolError', code: 'malformed-packet' })]);
  });

  it('of any kind ends in an error of its own, in bounded memory', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.concat([Buffer.from([0x30, bytes.length]), bytes])),
      fc
        .tuple(messagePacket, fc.uint8Array({ maxLength: 50 }))
        .map(([packet, payload]) => bytesOf({ ...packet, payload }))
        .chain((bytes) =>
          fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 0, max: 255 })).map(([index, value]) => {
            const broken = Buffer.from(bytes);
            broken[index] = value;
            return broken;
          }),
        ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), fc.nat({ max: 3_000 }), (some, repeated) => {
        const pieces = [...Array.from({ length: repeated }, () => publish({ payload: 'x'.repeat(100) })), ...some];
        const reader = new FrameReader(MAXIMUM);
        const error = errorOf(() => read(pieces, reader));
        expect(error === undefined || error instanceof ProtocolError ? undefined : error).toBeUndefined();
        expect(reader.room().buffer.byteLength).toBeLessThanOrEqual(MAXIMUM);
        expect(reader.room().length).toBeGreaterThan(0);
      }),
      { numRuns: 2_000 },
    );
  });
});
