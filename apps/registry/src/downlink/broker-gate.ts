import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { BrokerTarget } from '@muster/broker';

/** For specifications: a second way to a broker, which can be closed. At the end of a closed one a broker is away. */
export class BrokerGate {
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  /** @param name of the broker that seems to be behind it */
  constructor(
    private readonly behind: BrokerTarget,
    private readonly name: string,
  ) {}

  /** Where it is; a port of its own from when it was first opened. */
  get target(): BrokerTarget {
    return { ...this.behind, name: this.name, url: `mqtt://127.0.0.1:${this.#port}` };
  }

  /** Lets through who comes. */
  async open(): Promise<void> {
    const server = createServer((socket) => {
      const { hostname, port } = new URL(this.behind.url);
      const onward = connect({ host: hostname, port: Number(port) });
      for (const [one, opposite] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        this.#sockets.add(one);
        one.pipe(opposite);
        one.on('error', () => opposite.destroy());
        one.on('close', () => {
          this.#sockets.delete(one);
          opposite.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Throws out who is on the way, and lets nobody in. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
