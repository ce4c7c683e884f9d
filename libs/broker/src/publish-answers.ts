import type { MqttClient, Packet } from 'mqtt';

/** PUBACK, reason code 0x10: accepted, and given to nobody (MQTT 5, section 3.4.2.1). */
const NO_MATCHING_SUBSCRIBERS = 16;

/** What brokers answer to messages: mqtt.js hands a publish that worked back as it went, without the reason code. */
export class PublishAnswers {
  readonly #unsubscribed = new Set<number>();

  constructor(client: MqttClient) {
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'puback' && packet.reasonCode === NO_MATCHING_SUBSCRIBERS && packet.messageId !== undefined)
        this.#unsubscribed.add(packet.messageId);
    });
    // What was answered to an earlier message with the same id, which was given up, does not count.
    client.on('packetsend', (packet) => {
      if (packet.cmd === 'publish' && packet.messageId !== undefined) this.#unsubscribed.delete(packet.messageId);
    });
  }

  /** The reason code of the answer to a message that worked: 0, or 16 where nobody subscribes. */
  reasonCodeOf(published: Packet | undefined): number {
    const id = published?.messageId;
    return id !== undefined && this.#unsubscribed.delete(id) ? NO_MATCHING_SUBSCRIBERS : 0;
  }
}
