import type { IPublishPacket } from 'mqtt-packet';
import { parseControlPacket } from './control-packets.ts';
import { ProtocolError } from './protocol-error.ts';

/** The properties of a message (MQTT 5, section 3.3.2.3). */
export type MessageProperties = NonNullable<IPublishPacket['properties']>;

const NO_PROPERTIES: MessageProperties = Object.freeze({});

/**
 * A message as it lies in the memory that the socket wrote to. That memory, some hundred kilobytes that it shares with
 * its neighbours, is kept for as long as the message or its payload is: copy what is to stay.
 */
export class InboundMessage {
  /**
   * @param topic where it was published; ill-formed UTF-8 reads as U+FFFD, which no device id has
   * @param topicNumber a small number, mostly the same for each message on that topic while the connection stands, by
   *   which what is known of the topic is found; another topic may have had it before. -1 where it has none.
   * @param retain a replay of retained state, or with retain-as-published whatever the publisher set
   * @param duplicate the broker has sent it before and got no acknowledgement
   */
  constructor(
    readonly topic: string,
    readonly topicNumber: number,
    readonly qos: 0 | 1,
    readonly retain: boolean,
    readonly duplicate: boolean,
    private readonly block: Buffer,
    private readonly frameStart: number,
    private readonly payloadStart: number,
    private readonly frameEnd: number,
    private readonly hasProperties: boolean,
  ) {}

  get payloadBytes(): number {
    return this.frameEnd - this.payloadStart;
  }

  /** A view of the payload, made anew each time. */
  get payload(): Buffer {
    return this.block.subarray(this.payloadStart, this.frameEnd);
  }

  /**
   * Reads the properties, which cost more than all the rest of the message.
   * @throws ProtocolError `malformed-packet` where they are none
   */
  properties(): MessageProperties {
    if (!this.hasProperties) return NO_PROPERTIES;
    const packet = parseControlPacket(this.block.subarray(this.frameStart, this.frameEnd));
    if (packet.cmd !== 'publish') throw new ProtocolError('malformed-packet', `a ${packet.cmd} where a message was`);
    return packet.properties ?? NO_PROPERTIES;
  }
}
