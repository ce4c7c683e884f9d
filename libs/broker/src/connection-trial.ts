import { Socket } from 'node:net';
import { connect, type IConnackPacket } from 'mqtt';
import { BrokerError, type BrokerTarget } from './broker-target.ts';

/** What a broker answers to a CONNECT. */
export interface ConnectionAnswer {
  /** Of the CONNACK: 0 lets the client in; 134, 135 or, of MQTT 3, 5 refuse its account. */
  readonly reasonCode: number;
  /** Whether the broker had a session under this client id. */
  readonly sessionPresent: boolean;
}

/** As whom to connect. */
export interface ConnectionTrial {
  readonly broker: BrokerTarget;
  readonly clientId: string;
  /** Whether a session under this client id is ended at once; else it is taken over, and ends with the connection. */
  readonly cleanStart: boolean;
}

/**
 * Connects once with an account and a client id, and leaves at once: whoever is connected by that client id is
 * disconnected, and its session is ended with what was queued in it.
 * @throws BrokerError `unreachable` when no CONNACK comes within `timeoutMs`
 */
export async function tryConnection(
  { broker, clientId, cleanStart }: ConnectionTrial,
  timeoutMs: number,
): Promise<ConnectionAnswer> {
  const client = connect(broker.url, {
    protocolVersion: 5,
    clientId,
    ...(broker.username === undefined ? {} : { username: broker.username }),
    ...(broker.password === undefined ? {} : { password: broker.password }),
    ...(broker.ca === undefined ? {} : { ca: broker.ca }),
    clean: cleanStart,
    connectTimeout: timeoutMs,
    reconnectPeriod: 0,
    properties: { sessionExpiryInterval: 0 },
  });
  // What waits in the session is ended with it: an acknowledgement would only hold that up.
  client.handleMessage = (_packet, done) => done(new Error('not wanted'));
  try {
    return await new Promise<ConnectionAnswer>((resolve, reject) => {
      let lastError: Error | undefined;
      client.on('packetreceive', (packet) => {
        if (packet.cmd !== 'connack') return;
        const { reasonCode, returnCode, sessionPresent }: IConnackPacket = packet;
        resolve({ reasonCode: reasonCode ?? returnCode ?? 0, sessionPresent });
      });
      client.on('connect', () => {
        if (client.stream instanceof Socket) client.stream.setNoDelay(true);
      });
      client.on('error', (error) => (lastError = error));
      client.on('close', () =>
        reject(
          new BrokerError(
            'unreachable',
            `${broker.name} at ${broker.url} did not answer a connection${lastError === undefined ? '' : `: ${lastError.message}`}`,
          ),
        ),
      );
    });
  } finally {
    await client.endAsync(!client.connected, { reasonCode: 0 }).catch(() => client.endAsync(true));
  }
}

/**
 * Takes the place of a client id with the account of this service, and leaves: its session is over, with what was queued
 * in it, which would else reach whoever gets the id (mqtt-pitfalls R9). Answers what the broker said to that.
 * @throws BrokerError `unreachable` when no CONNACK comes within `timeoutMs`
 */
export async function endSession(broker: BrokerTarget, clientId: string, timeoutMs: number): Promise<ConnectionAnswer> {
  // Not clean at first: only then the answer says whether there was a session, and a session that is kept has no will.
  const answer = await tryConnection({ broker, clientId, cleanStart: false }, timeoutMs);
  if (answer.sessionPresent) await tryConnection({ broker, clientId, cleanStart: true }, timeoutMs);
  return answer;
}
