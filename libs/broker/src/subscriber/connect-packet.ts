import { RECEIVE_MAXIMUM } from './acknowledgement-window.ts';
import { controlPacketBytes } from './control-packets.ts';
import { ownStatus } from '../own-status.ts';
import {
  DEFAULT_KEEP_ALIVE_SECONDS,
  DEFAULT_MAXIMUM_PACKET_BYTES,
  type SubscriberOptions,
} from './subscriber-options.ts';

/** The CONNECT of a subscriber (MQTT 5, section 3.1): its session, its limits, and its status as the will. */
export function connectPacket({
  broker,
  clientId,
  sessionExpirySeconds,
  keepAliveSeconds = DEFAULT_KEEP_ALIVE_SECONDS,
  maximumPacketBytes = DEFAULT_MAXIMUM_PACKET_BYTES,
  statusTopic,
}: SubscriberOptions): Buffer {
  return controlPacketBytes({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clientId,
    clean: sessionExpirySeconds === 0,
    keepalive: keepAliveSeconds,
    ...(broker.username === undefined ? {} : { username: broker.username }),
    ...(broker.password === undefined ? {} : { password: Buffer.from(broker.password) }),
    properties: {
      sessionExpiryInterval: sessionExpirySeconds,
      receiveMaximum: RECEIVE_MAXIMUM,
      maximumPacketSize: maximumPacketBytes,
    },
    ...(statusTopic === undefined
      ? {}
      : { will: { topic: statusTopic, payload: ownStatus('offline', 'unexpected'), qos: 1, retain: true } }),
  });
}
