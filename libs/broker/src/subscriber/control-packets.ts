import { generate, parser, type Packet } from 'mqtt-packet';
import { ProtocolError } from './protocol-error.ts';

const MQTT_5 = { protocolVersion: 5 } as const;

/**
 * What one whole control packet of MQTT 5 says.
 * @throws ProtocolError `malformed-packet`
 */
export function parseControlPacket(bytes: Buffer): Packet {
  const packets: Packet[] = [];
  let failure: unknown;
  const reader = parser(MQTT_5);
  reader.on('packet', (packet) => packets.push(packet));
  reader.on('error', (error: unknown) => (failure ??= error));
  try {
    reader.parse(bytes);
  } catch (error) {
    // It reads beyond the end of a packet that is too short.
    failure = error;
  }
  const [packet] = packets;
  if (failure !== undefined || packet === undefined || packets.length > 1)
    throw new ProtocolError(
      'malformed-packet',
      `a packet of type ${(bytes[0] ?? 0) >> 4} that cannot be read: ${failure instanceof Error ? failure.message : 'its length is wrong'}`,
      { cause: failure },
    );
  return packet;
}

/** The bytes of one control packet of MQTT 5. */
export function controlPacketBytes(packet: Packet): Buffer {
  return generate(packet, MQTT_5);
}
