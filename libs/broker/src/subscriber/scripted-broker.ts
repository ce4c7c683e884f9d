import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { generate, parser, type Packet } from 'mqtt-packet';
import type { BrokerTarget } from '../broker-target.ts';

const MQTT_5 = { protocolVersion: 5 };

/** One client at a {@link ScriptedBroker}. */
export interface ScriptedClient {
  /** What it has sent, in order. */
  readonly packets: readonly Packet[];
  readonly send: (...packets: readonly (Packet | Buffer)[]) => void;
  readonly end: () => void;
}

/** Answers in place of the usual: undefined leaves a packet to the usual answer, an empty list gives none. */
export type Script = (packet: Packet, client: number) => readonly Packet[] | undefined;

/** A broker for tests that says what no real one says: it lets everybody in and grants everything, but for a script. */
export class ScriptedBroker {
  readonly clients: ScriptedClient[] = [];
  readonly #server: Server;
  readonly #sockets: Socket[] = [];

  private constructor(script: Script) {
    this.#server = createServer((socket) => {
      this.#sockets.push(socket);
      const packets: Packet[] = [];
      const number = this.clients.push({
        packets,
        send: (...some) => socket.write(Buffer.concat(some.map(bytesOf))),
        end: () => socket.destroy(),
      });
      const reader = parser(MQTT_5);
      reader.on('packet', (packet) => {
        packets.push(packet);
        for (const answer of script(packet, number) ?? usualAnswers(packet)) socket.write(bytesOf(answer));
      });
      socket.setNoDelay(true);
      socket.on('data', (bytes) => reader.parse(bytes));
      // A client that leaves without a word is none of the broker's errors.
      socket.on('error', () => socket.destroy());
    });
  }

  static async start(script: Script = () => undefined): Promise<ScriptedBroker> {
    const broker = new ScriptedBroker(script);
    broker.#server.listen(0, '127.0.0.1');
    await once(broker.#server, 'listening');
    return broker;
  }

  get target(): BrokerTarget {
    const { port } = this.#server.address() as AddressInfo;
    return { name: 'mosquitto-0', url: `mqtt://127.0.0.1:${port}`, username: undefined, password: undefined };
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function bytesOf(packet: Packet | Buffer): Buffer {
  return Buffer.isBuffer(packet) ? packet : generate(packet, MQTT_5);
}

function usualAnswers(packet: Packet): readonly Packet[] {
  switch (packet.cmd) {
    case 'connect':
      return [{ cmd: 'connack', reasonCode: 0, sessionPresent: false }];
    case 'subscribe':
      return [
        {
          ...{ cmd: 'suback', granted: packet.subscriptions.map(({ qos }) => qos) },
          ...(packet.messageId === undefined ? {} : { messageId: packet.messageId }),
        },
      ];
    case 'publish':
      return packet.messageId === undefined ? [] : [{ cmd: 'puback', messageId: packet.messageId, reasonCode: 0 }];
    case 'pingreq':
      return [{ cmd: 'pingresp' }];
    default:
      return [];
  }
}
