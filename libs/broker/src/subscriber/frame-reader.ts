import { InboundMessage } from './inbound-message.ts';
import { ProtocolError } from './protocol-error.ts';
import { NOT_REMEMBERED, TopicNames } from './topic-names.ts';

/** Takes what a {@link FrameReader} finds, in the order in which it came. */
export interface FrameSink {
  /** A PUBLISH; its packet id is 0 at QoS 0. */
  message(message: InboundMessage, packetId: number): void;
  /** Any other whole control packet, from its first byte to its last. */
  controlPacket(bytes: Buffer): void;
}

/** One read of a busy connection: some thousands of messages of usual size. */
const BLOCK_BYTES = 256 * 1024;
/** With less room than this a read would be cut short, and cost a system call more than a new block. */
const SMALLEST_ROOM_BYTES = 32 * 1024;
const SHORTEST_FRAME_BYTES = 2;
const LONGEST_HEADER_BYTES = 5;
const PUBLISH = 3;

/**
 * Cuts the bytes of one network connection into MQTT 5 control packets. The socket writes straight into its block of
 * memory and messages are views of it, so nothing is copied but a frame that two blocks share. Memory is bounded by one
 * block, or one packet of the maximum size, and by what messages that are kept hold on to.
 */
export class FrameReader {
  readonly #maximumPacketBytes: number;
  readonly #topics = new TopicNames();
  #block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #view = new DataView(this.#block.buffer);
  /** Where the frame that is not whole yet begins. */
  #start = 0;
  #end = 0;
  /** The length of that frame, once its header is whole. */
  #frameBytes: number | undefined;

  /** @param maximumPacketBytes what was announced as Maximum Packet Size (MQTT 5, section 3.1.2.11.4) */
  constructor(maximumPacketBytes: number) {
    this.#maximumPacketBytes = maximumPacketBytes;
  }

  /** Where the next bytes belong; never empty. Whoever writes there says with {@link received} how many they were. */
  room(): Buffer {
    const isEnough =
      this.#frameBytes === undefined
        ? this.#block.length - this.#end >= SMALLEST_ROOM_BYTES
        : this.#start + this.#frameBytes <= this.#block.length;
    if (!isEnough) {
      const block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, this.#frameBytes ?? 0));
      this.#end = this.#block.copy(block, 0, this.#start, this.#end);
      this.#start = 0;
      this.#block = block;
      this.#view = new DataView(block.buffer);
    }
    return this.#block.subarray(this.#end);
  }

  /**
   * Takes note of bytes that were written to {@link room}, and gives the sink every frame that is whole by now.
   * @throws ProtocolError `malformed-packet`, `packet-too-large`, `protocol-error` or `qos-not-supported`; nothing more
   *   can be read then
   */
  received(byteCount: number, sink: FrameSink): void {
    const view = this.#view;
    this.#end += byteCount;
    const end = this.#end;
    let start = this.#start;
    // Behind an error nothing is read any more, and there is room for whatever still comes.
    this.#start = end;
    this.#frameBytes = undefined;
    while (end - start >= SHORTEST_FRAME_BYTES) {
      // Variable byte integer, section 1.5.5: seven bits a byte, the lowest first, four bytes at most.
      let bodyStart = start + SHORTEST_FRAME_BYTES;
      let bodyBytes = view.getUint8(start + 1);
      if (bodyBytes >= 0x80) {
        bodyBytes &= 0x7f;
        let scale = 0x80;
        let digit: number;
        do {
          if (bodyStart - start === LONGEST_HEADER_BYTES)
            throw new ProtocolError('malformed-packet', 'a remaining length of more than four bytes');
          if (bodyStart === end) {
            this.#start = start;
            return;
          }
          digit = view.getUint8(bodyStart++);
          bodyBytes += (digit & 0x7f) * scale;
          scale *= 0x80;
        } while (digit >= 0x80);
        if (digit === 0) throw new ProtocolError('malformed-packet', 'a remaining length that is longer than needed');
      }
      const frameEnd = bodyStart + bodyBytes;
      if (frameEnd - start > this.#maximumPacketBytes)
        throw new ProtocolError(
          'packet-too-large',
          `a packet of ${frameEnd - start} bytes, where ${this.#maximumPacketBytes} were announced as the most`,
        );
      if (frameEnd > end) {
        this.#frameBytes = frameEnd - start;
        break;
      }
      const header = view.getUint8(start);
      if (header >> 4 === PUBLISH) this.#readMessage(header, start, bodyStart, frameEnd, sink);
      else sink.controlPacket(this.#block.subarray(start, frameEnd));
      start = frameEnd;
    }
    this.#start = start;
  }

  /** MQTT 5, section 3.3: topic, packet id at QoS 1, properties, and the rest is payload. */
  #readMessage(header: number, start: number, bodyStart: number, frameEnd: number, sink: FrameSink): void {
    const view = this.#view;
    const qos = (header >> 1) & 3;
    const isDuplicate = (header & 8) !== 0;
    if (qos === 2) throw new ProtocolError('qos-not-supported', 'a message at QoS 2, where QoS 1 was subscribed to');
    if (qos !== 0 && qos !== 1) throw new ProtocolError('malformed-packet', 'a message at QoS 3');
    if (isDuplicate && qos === 0) throw new ProtocolError('malformed-packet', 'a duplicate at QoS 0');
    if (bodyStart + 2 > frameEnd) throw new ProtocolError('malformed-packet', 'a message without a topic');
    const topicStart = bodyStart + 2;
    const topicEnd = topicStart + view.getUint16(bodyStart);
    const propertiesStart = topicEnd + 2 * qos;
    // One byte more: the length of the properties.
    if (propertiesStart >= frameEnd) throw new ProtocolError('malformed-packet', 'a message that ends in its header');
    // An alias would stand for it, and none were allowed (section 3.1.2.11.5).
    if (topicEnd === topicStart) throw new ProtocolError('protocol-error', 'a message with an empty topic');
    const packetId = qos === 0 ? 0 : view.getUint16(topicEnd);
    if (qos === 1 && packetId === 0) throw new ProtocolError('protocol-error', 'a message with the packet id 0');
    const propertyBytes = view.getUint8(propertiesStart);
    const payloadStart =
      propertyBytes === 0 ? propertiesStart + 1 : this.#payloadStart(propertiesStart, propertyBytes, frameEnd);
    const topicNumber = this.#topics.number(this.#block, topicStart, topicEnd);
    const topic =
      topicNumber === NOT_REMEMBERED
        ? this.#block.toString('utf8', topicStart, topicEnd)
        : this.#topics.name(topicNumber);
    sink.message(
      new InboundMessage(
        topic,
        topicNumber,
        qos,
        (header & 1) !== 0,
        isDuplicate,
        this.#block,
        start,
        payloadStart,
        frameEnd,
        propertyBytes !== 0,
      ),
      packetId,
    );
  }

  #payloadStart(propertiesStart: number, firstDigit: number, frameEnd: number): number {
    let position = propertiesStart + 1;
    let propertyBytes = firstDigit & 0x7f;
    for (let digit = firstDigit, scale = 0x80; digit >= 0x80; scale *= 0x80) {
      if (position === frameEnd || position - propertiesStart === 4)
        throw new ProtocolError('malformed-packet', 'a length of properties that has no end');
      digit = this.#view.getUint8(position++);
      propertyBytes += (digit & 0x7f) * scale;
    }
    if (position + propertyBytes > frameEnd)
      throw new ProtocolError('malformed-packet', 'properties that are longer than their message');
    return position + propertyBytes;
  }
}
