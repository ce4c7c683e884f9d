import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { generate, parser } from 'mqtt-packet';
import { payloadOf, topicOf, type FromPublisher, type ToPublisher, type Traffic } from './traffic.ts';

/** So many devices share a connection that the broker is not measured by its sockets, and none is a bottleneck. */
const CONNECTIONS = 10;
/** What is due within so long goes out at once: rather less than a busy radio gathers. */
const SLOT_MS = 2;
const LEAD_MS = 500;
const MAX_PACKET_ID = 65_535;
/** An MQTT 3.1.1 PUBACK has no more than its packet identifier (section 3.4), and nothing else is sent to us. */
const PUBACK_BYTES = 4;
const STALLED_MS = 15_000;
/** Numbers of eight digits from the first to the last, so that every payload has the same length. */
const FIRST_SEQ = 10_000_000;

/** One connection, which counts what is acknowledged. */
class Line {
  acknowledgedBytes = 0;
  #packetId = 0;

  private constructor(readonly socket: Socket) {}

  static async open(index: number, { host, port, username, password }: ToPublisher['broker']): Promise<Line> {
    const socket = connect({ host, port, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      const packets = parser({ protocolVersion: 4 });
      packets.on('packet', (packet) => {
        if (packet.cmd === 'connack' && packet.returnCode === 0) resolve();
        else reject(new Error(`the broker answered ${JSON.stringify(packet)}`));
      });
      socket.on('data', (data) => packets.parse(data)).on('error', reject);
      socket.write(
        generate({
          ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0 },
          ...{ clientId: `bench-publisher-${index}`, username, password: Buffer.from(password) },
        }),
      );
    });
    const line = new Line(socket);
    const end = (error?: Error): never => {
      throw new Error(`the broker closed connection ${index}`, { cause: error });
    };
    socket
      .removeAllListeners('data')
      .removeAllListeners('error')
      .on('error', end)
      .on('close', () => end());
    socket.on('data', ({ length }) => (line.acknowledgedBytes += length));
    return line;
  }

  nextPacketId(): number {
    this.#packetId = (this.#packetId % MAX_PACKET_ID) + 1;
    return this.#packetId;
  }
}

/** What goes out within one slot, by connection. */
type Slot = readonly (readonly Buffer[])[];

/** Sends telemetry at a rate. */
class Publisher {
  /** What each device counted last. */
  #seq: number[] = [];

  constructor(private readonly lines: readonly Line[]) {}

  async publish(traffic: Traffic, tell: (message: FromPublisher) => void): Promise<void> {
    const { qos, perSecond, durationMs } = traffic;
    const count = Math.floor((perSecond * durationMs) / 1_000);
    const { slots, startAtMs } =
      traffic.framesAreMade === 'before' ? this.#slotsInTime(traffic, count) : this.#slotsAsTheyAreDue(traffic, count);
    tell({ kind: 'built', startAtMs });
    const before = this.#acknowledged();
    await delay(Math.max(0, startAtMs - Date.now()));
    const lateMs = await this.#send(slots, startAtMs);
    if (qos === 1) await this.#acknowledgedAre(before + count);
    const endedAtMs = Date.now();
    const acknowledged = qos === 0 ? 0 : this.#acknowledged() - before;
    tell({ kind: 'sent', report: { count, acknowledged, startAtMs, endedAtMs, lateMs } });
  }

  /** Device times are the times at which the messages go out, so all frames must be made before the first is sent. */
  #slotsInTime(traffic: Traffic, count: number): { readonly slots: readonly Slot[]; readonly startAtMs: number } {
    for (let leadMs = LEAD_MS + count / 100; ; leadMs *= 2) {
      const startAtMs = Date.now() + leadMs;
      const seq = [...this.#seq];
      const slots = [...this.#slots(traffic, startAtMs, count, seq)];
      if (Date.now() >= startAtMs) continue;
      this.#seq = seq;
      return { slots, startAtMs };
    }
  }

  #slotsAsTheyAreDue(traffic: Traffic, count: number): { readonly slots: Iterable<Slot>; readonly startAtMs: number } {
    const startAtMs = Date.now() + LEAD_MS;
    return { slots: this.#slots(traffic, startAtMs, count, this.#seq), startAtMs };
  }

  *#slots(
    { topicRoot, devices, perSecond, durationMs, qos }: Traffic,
    startAtMs: number,
    count: number,
    seqs: number[],
  ): Generator<Slot> {
    const slotCount = Math.ceil(durationMs / SLOT_MS);
    let index = 0;
    for (let slot = 0; slot < slotCount; slot += 1) {
      const frames = this.lines.map((): Buffer[] => []);
      for (; index < count; index += 1) {
        const afterMs = (index * 1_000) / perSecond;
        if (Math.floor(afterMs / SLOT_MS) > slot) break;
        const device = index % devices;
        const seq = (seqs[device] ?? FIRST_SEQ) + 1;
        seqs[device] = seq;
        // A device stays on its connection: its messages keep their order.
        const lineIndex = device % this.lines.length;
        const frame = generate({
          ...{ cmd: 'publish', topic: topicOf(topicRoot, device), qos, retain: false, dup: false },
          payload: payloadOf(index, Math.floor(startAtMs + afterMs), seq),
          ...(qos === 0 ? {} : { messageId: this.lines[lineIndex]?.nextPacketId() ?? 0 }),
        });
        frames[lineIndex]?.push(frame);
      }
      yield frames.map((ofLine) => (ofLine.length === 0 ? [] : [Buffer.concat(ofLine)]));
    }
  }

  /** Answers by how many milliseconds the latest of it was late. */
  async #send(slots: Iterable<Slot>, startAtMs: number): Promise<number> {
    const coming = slots[Symbol.iterator]();
    let sent = 0;
    let lateMs = 0;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        const dueMs = Date.now() - startAtMs;
        for (; sent * SLOT_MS <= dueMs; sent += 1) {
          const next = coming.next();
          if (next.done === true) {
            clearInterval(timer);
            resolve();
            return;
          }
          lateMs = Math.max(lateMs, dueMs - sent * SLOT_MS);
          next.value.forEach(([frames], index) => frames !== undefined && this.lines[index]?.socket.write(frames));
        }
      }, 1);
    });
    while (this.lines.some(({ socket }) => socket.writableLength > 0)) await delay(1);
    return lateMs;
  }

  #acknowledged(): number {
    return this.lines.reduce((sum, { acknowledgedBytes }) => sum + acknowledgedBytes, 0) / PUBACK_BYTES;
  }

  /** Waits until so many are acknowledged, or none has been for long. */
  async #acknowledgedAre(count: number): Promise<void> {
    let last = this.#acknowledged();
    let changedAtMs = Date.now();
    while (last < count && Date.now() - changedAtMs < STALLED_MS) {
      await delay(1);
      if (this.#acknowledged() === last) continue;
      last = this.#acknowledged();
      changedAtMs = Date.now();
    }
  }
}

const tell = (message: FromPublisher): void => void process.send?.(message);
let publisher: Promise<Publisher> | undefined;
process.on('message', (message: ToPublisher) => {
  publisher ??= Promise.all(Array.from({ length: CONNECTIONS }, (_, index) => Line.open(index, message.broker))).then(
    (lines) => new Publisher(lines),
  );
  void publisher.then((ready) => ready.publish(message.traffic, tell));
});
process.on('disconnect', () => process.exit(0));
