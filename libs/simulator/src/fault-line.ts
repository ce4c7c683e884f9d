import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { PacketCounter, type PacketCounts } from './packet-counter.ts';

/** Where a line leads to. */
export interface LineTarget {
  readonly host: string;
  readonly port: number;
}

/** What has passed a line since it was opened, or since the counts were taken. */
export interface LineCounts {
  readonly connections: number;
  readonly toBroker: PacketCounts;
  readonly toClient: PacketCounts;
}

/** Which way bytes go. */
export type LineDirection = 'to-broker' | 'to-client';
const BOTH: readonly LineDirection[] = ['to-broker', 'to-client'];

interface Call {
  readonly near: Socket;
  readonly far: Socket;
  readonly waiting: { readonly to: Socket; readonly bytes: Buffer }[];
}

/**
 * A network between clients and a broker, which can fail: it is frozen (half-open, nobody notices), cut, slow, and it
 * counts the MQTT packets that pass.
 */
export class FaultLine {
  readonly port: number;
  readonly #server: Server;
  readonly #target: LineTarget;
  readonly #calls = new Set<Call>();
  #isCut = false;
  readonly #frozen = new Set<LineDirection>();
  #delayMs = 0;
  #connections = 0;
  #toBroker = new PacketCounter();
  #toClient = new PacketCounter();

  private constructor(server: Server, target: LineTarget) {
    this.#server = server;
    this.#target = target;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (near) => this.#take(near));
  }

  /** A line to a broker, on a free port of this machine. */
  static async open(target: LineTarget): Promise<FaultLine> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return new FaultLine(server, target);
  }

  /** Where clients connect to. */
  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`;
  }

  /** How many are connected. */
  get connected(): number {
    return this.#calls.size;
  }

  /** Carries every byte, and every end, so much later; 0 carries it at once. Their order stays. */
  delay(milliseconds: number): void {
    this.#delayMs = milliseconds;
  }

  /** Carries nothing any more, one way or both, and ends nothing: both sides believe that they are connected. */
  freeze(...directions: readonly LineDirection[]): void {
    for (const direction of directions.length === 0 ? BOTH : directions) this.#frozen.add(direction);
  }

  /** Ends every connection without a word, and takes nobody. */
  cut(): void {
    this.#isCut = true;
    for (const { near, far } of this.#calls) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  /** Carries again, also what has come while it was frozen. */
  mend(): void {
    this.#isCut = false;
    this.#frozen.clear();
    for (const { waiting } of this.#calls) for (const { to, bytes } of waiting.splice(0)) to.write(bytes);
  }

  /** What has passed since it was asked last. */
  takeCounts(): LineCounts {
    const counts = {
      connections: this.#connections,
      toBroker: this.#toBroker.counts,
      toClient: this.#toClient.counts,
    };
    this.#connections = 0;
    this.#toBroker = new PacketCounter();
    this.#toClient = new PacketCounter();
    return counts;
  }

  /** Ends every connection, and is no more. */
  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(near: Socket): void {
    if (this.#isCut) {
      near.resetAndDestroy();
      return;
    }
    this.#connections += 1;
    const far = createConnection({ ...this.#target, noDelay: true });
    const call: Call = { near, far, waiting: [] };
    this.#calls.add(call);
    this.#carry(call, 'to-broker', near, far, (bytes) => this.#toBroker.take(near, bytes));
    this.#carry(call, 'to-client', far, near, (bytes) => this.#toClient.take(far, bytes));
  }

  #carry(call: Call, direction: LineDirection, from: Socket, to: Socket, count: (bytes: Buffer) => void): void {
    const inTurn = this.#queue();
    from.on('data', (bytes) => {
      if (this.#frozen.has(direction)) {
        call.waiting.push({ to, bytes });
        return;
      }
      count(bytes);
      inTurn(() => to.write(bytes));
    });
    // Whatever ends one side ends the other; the reason is none of ours.
    from.on('error', () => undefined);
    from.on('end', () => {
      if (!this.#frozen.has(direction)) inTurn(() => to.end());
    });
    from.on('close', () => {
      this.#calls.delete(call);
      if (!this.#frozen.has(direction)) inTurn(() => to.destroy());
    });
  }

  /** Does what it is given after the delay of the line, and never before what it was given earlier. */
  #queue(): (work: () => void) => void {
    let waiting = 0;
    let last: Promise<unknown> = Promise.resolve();
    return (work) => {
      if (this.#delayMs === 0 && waiting === 0) {
        work();
        return;
      }
      waiting += 1;
      last = Promise.all([last, delay(this.#delayMs)]).then(() => {
        waiting -= 1;
        work();
      });
    };
  }
}
