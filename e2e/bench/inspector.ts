import { on, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';

const ORIGIN = 'http://127.0.0.1:9229';
const OPEN_LIMIT_MS = 10_000;
const POLL_MS = 100;

/** The debugger of a running process of Node, which a signal opens (Chrome DevTools Protocol). */
export class Inspector {
  #asked = 0;

  private constructor(private readonly socket: WebSocket) {}

  /** Opens the debugger of a process for as long as `work` takes. */
  static async use<Result>(pid: number, work: (inspector: Inspector) => Promise<Result>): Promise<Result> {
    process.kill(pid, 'SIGUSR1');
    const [{ webSocketDebuggerUrl }] = (await Inspector.#targets()) as [{ webSocketDebuggerUrl: string }];
    const socket = new WebSocket(webSocketDebuggerUrl, { maxPayload: 0 });
    await once(socket, 'open');
    try {
      return await work(new Inspector(socket));
    } finally {
      socket.close();
    }
  }

  /** What the process answers to a method of the protocol. */
  async ask(method: string, params: object = {}): Promise<unknown> {
    this.#asked += 1;
    const id = this.#asked;
    this.socket.send(JSON.stringify({ id, method, params }));
    for await (const [data] of on(this.socket, 'message')) {
      const answer = JSON.parse(String(data)) as { id?: number; result: unknown };
      if (answer.id === id) return answer.result;
    }
    throw new Error('the debugger has gone');
  }

  static async #targets(): Promise<unknown> {
    for (let waitedMs = 0; waitedMs < OPEN_LIMIT_MS; waitedMs += POLL_MS) {
      try {
        return await (await fetch(`${ORIGIN}/json`)).json();
      } catch {
        // It opens a moment after the signal.
        await delay(POLL_MS);
      }
    }
    throw new Error(
      `the debugger of the process did not open at ${ORIGIN} within ${OPEN_LIMIT_MS} ms; is another one open there?`,
    );
  }
}
