import type { Socket } from 'node:net';
import { ReasonCodes } from 'mqtt';
import type { IConnackPacket, IDisconnectPacket, Packet } from 'mqtt-packet';
import { openBrokerSocket } from './broker-socket.ts';
import { BrokerError, type BrokerErrorCode } from '../broker-target.ts';
import { connectPacket } from './connect-packet.ts';
import { controlPacketBytes, parseControlPacket } from './control-packets.ts';
import { Delivery, Hand } from './delivery.ts';
import { FrameReader } from './frame-reader.ts';
import type { InboundMessage } from './inbound-message.ts';
import { ownStatus } from '../own-status.ts';
import { ProtocolError } from './protocol-error.ts';
import { ReadPace } from './read-pace.ts';
import {
  DEFAULT_KEEP_ALIVE_SECONDS,
  DEFAULT_MAXIMUM_PACKET_BYTES,
  type SubscriberOptions,
} from './subscriber-options.ts';
import { subscribePackets } from '../subscribe-packets.ts';
import { within } from '../waiting.ts';

/** What a network connection tells of its life; `ended` comes once and last. */
export interface NetworkEvents {
  /** The broker has let it in. */
  readonly accepted: () => void;
  /** Everything is subscribed to, and the birth is published. */
  readonly ready: (sessionPresent: boolean) => void;
  readonly dropped: (topic: string) => void;
  readonly failed: (error: Error) => void;
  readonly ended: (isTakenOver: boolean) => void;
}

type Answer = Extract<Packet, { cmd: 'suback' | 'puback' }>;

interface Request {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** What had been waiting in the session may come before the answer to SUBSCRIBE. */
const JOIN_TIMEOUT_MS = 60_000;
const LEAVE_TIMEOUT_MS = 2_000;
/** How long a DISCONNECT may take to be sent to somebody who broke the protocol. */
const LAST_WORD_MS = 1_000;
/** A full window of PUBACKs, several times: who has so much unread does not read. */
const MAX_UNSENT_BYTES = 1024 * 1024;

const TICKS_IN_KEEP_ALIVE = 4;
const TICKS_BETWEEN_PINGS = 2;
/** More than two pings without an answer, and noticed before 1.5 times the keep-alive has passed. */
const SILENT_TICKS = 5;

const REFUSED = 0x80;
const SESSION_TAKEN_OVER = 0x8e;

/** One network connection of a subscriber, from the first packet to the last. What it acknowledges came over itself. */
export class SubscriberNetwork {
  readonly #options: SubscriberOptions;
  readonly #events: NetworkEvents;
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #pace = new ReadPace();
  readonly #hand = new Hand(() => this.#scheduleAcknowledgements());
  readonly #requests = new Map<number, Request>();
  #deadline: NodeJS.Timeout | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #pause: NodeJS.Timeout | undefined;
  /** Nothing is read until something is settled: TCP tells the broker to wait, where Receive Maximum does not. */
  #isHeldBack = false;
  #messages: InboundMessage[] = [];
  #slots: number[] = [];
  #readMessages = 0;
  #isAccepted = false;
  #isTaking = true;
  #isEnded = false;
  #isTakenOver = false;
  #acknowledgementsAreDue = false;
  #lastPacketId = 0;
  #ticks = 0;
  #silentTicks = 0;
  #pingsSent = 0;
  #pingsAnswered = 0;
  /** The ping behind whose answer comes nothing that had been waiting; infinite until it is sent. */
  #backlogEndsWithPing = 0;
  #drained: (() => void) | undefined;

  constructor(options: SubscriberOptions, events: NetworkEvents) {
    this.#options = options;
    this.#events = events;
    this.#reader = new FrameReader(options.maximumPacketBytes ?? DEFAULT_MAXIMUM_PACKET_BYTES);
    this.#socket = openBrokerSocket(
      options.broker,
      { buffer: () => this.#reader.room(), callback: (byteCount, room) => this.#read(byteCount, room.length) },
      () => {
        // A small write must not wait for the acknowledgement of the one before (B5).
        this.#socket.setNoDelay(true);
        this.#socket.write(connectPacket(options));
      },
    );
    this.#limit(CONNECT_TIMEOUT_MS, 'did not let the client in');
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#end());
  }

  /** Messages that are handed over and not settled. */
  get inHand(): number {
    return this.#hand.size;
  }

  /** Takes no more messages, waits for those in hand at most `drainMs`, publishes the status, sends DISCONNECT 0x00. */
  async leave(drainMs: number): Promise<void> {
    this.#isTaking = false;
    this.#goOnReading();
    // What is left in hand stays with the broker.
    if (this.inHand > 0)
      await within(new Promise<void>((resolve) => (this.#drained = resolve)), drainMs).catch(() => undefined);
    this.#acknowledge();
    if (this.#isEnded) return;
    if (!this.#isAccepted) {
      this.#end();
      this.#socket.destroy();
      return;
    }
    try {
      await within(this.#publishStatus('offline', 'shutdown'), LEAVE_TIMEOUT_MS);
    } catch (error) {
      this.#tell(error);
    }
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    this.#end();
    this.#socket.end(controlPacketBytes({ cmd: 'disconnect', reasonCode: 0 }));
    await within(closed, LEAVE_TIMEOUT_MS).catch(() => this.#socket.destroy());
  }

  #read(byteCount: number, roomBytes: number): boolean {
    if (this.#isEnded) return true;
    this.#silentTicks = 0;
    this.#readMessages = 0;
    try {
      this.#reader.received(byteCount, {
        message: (message, packetId) => this.#takeMessage(message, packetId),
        controlPacket: (bytes) => this.#takePacket(bytes),
      });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#deliver();
      this.#fail(error, error.reasonCode);
      return true;
    }
    this.#deliver();
    if (this.#isTaking && this.#hand.isOverfull && !this.#isHeldBack) {
      this.#isHeldBack = true;
      this.#socket.pause();
    }
    const pauseMs = this.#pace.pauseAfter(this.#readMessages, byteCount < roomBytes, performance.now());
    if (pauseMs > 0 && this.#pause === undefined) this.#pauseReading(pauseMs);
    return true;
  }

  #pauseReading(pauseMs: number): void {
    this.#socket.pause();
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (!this.#isHeldBack) this.#socket.resume();
    }, pauseMs);
  }

  #goOnReading(): void {
    if (!this.#isHeldBack) return;
    this.#isHeldBack = false;
    if (this.#pause === undefined) this.#socket.resume();
  }

  #takeMessage(message: InboundMessage, packetId: number): void {
    if (!this.#isAccepted) throw new ProtocolError('protocol-error', 'a message before the connection was accepted');
    this.#readMessages += 1;
    // What comes while it leaves is not acknowledged, and so stays with the broker.
    if (!this.#isTaking) return;
    const slot = this.#hand.add(packetId);
    if (slot === undefined) {
      this.#events.dropped(message.topic);
      return;
    }
    this.#messages.push(message);
    this.#slots.push(slot);
  }

  #deliver(): void {
    if (this.#messages.length === 0) return;
    const messages = this.#messages;
    const slots = this.#slots;
    this.#messages = [];
    this.#slots = [];
    const isBacklog = this.#pingsAnswered < this.#backlogEndsWithPing;
    this.#options.onMessages(
      messages,
      new Delivery(this.#options.broker.name, Date.now(), isBacklog, this.#hand, slots),
    );
  }

  #takePacket(bytes: Buffer): void {
    // What came before it is not to be told after it.
    this.#deliver();
    const packet = parseControlPacket(bytes);
    switch (packet.cmd) {
      case 'connack':
        this.#takeConnack(packet);
        return;
      case 'suback':
      case 'puback':
        this.#takeAnswer(packet);
        return;
      case 'pingresp':
        this.#pingsAnswered += 1;
        return;
      case 'disconnect':
        this.#takeDisconnect(packet);
        return;
      default:
        throw new ProtocolError('protocol-error', `a packet of type ${packet.cmd}, which no broker sends here`);
    }
  }

  #takeConnack({ reasonCode = 0, sessionPresent, properties }: IConnackPacket): void {
    if (this.#isAccepted) throw new ProtocolError('protocol-error', 'a second CONNACK');
    if (reasonCode >= REFUSED) {
      this.#fail(this.#refusal('connection-refused', 'refused the connection', reasonCode, properties?.reasonString));
      return;
    }
    this.#isAccepted = true;
    this.#events.accepted();
    if (sessionPresent) this.#backlogEndsWithPing = Number.POSITIVE_INFINITY;
    this.#limit(JOIN_TIMEOUT_MS, 'did not grant the subscriptions');
    const seconds = properties?.serverKeepAlive ?? this.#options.keepAliveSeconds ?? DEFAULT_KEEP_ALIVE_SECONDS;
    if (seconds > 0) this.#keepAlive = setInterval(() => this.#tick(), (seconds * 1_000) / TICKS_IN_KEEP_ALIVE);
    void this.#join(sessionPresent);
  }

  async #join(sessionPresent: boolean): Promise<void> {
    try {
      await Promise.all(
        subscribePackets(this.#options.subscriptions).map(async (packet) => {
          const answer = await this.#request((messageId) => controlPacketBytes({ ...packet, messageId }));
          const granted = answer.cmd === 'suback' ? answer.granted.map(Number) : [];
          if (granted.length !== packet.subscriptions.length)
            throw new ProtocolError('protocol-error', 'a SUBACK that does not fit its SUBSCRIBE');
          const refused = packet.subscriptions.filter((_, index) => (granted[index] ?? REFUSED) >= REFUSED);
          const code = granted.find((one) => one >= REFUSED);
          if (code !== undefined)
            throw this.#refusal(
              'subscription-refused',
              `refused ${refused.map(({ topic }) => topic).join(', ')}`,
              code,
            );
        }),
      );
      await this.#publishStatus('online');
    } catch (error) {
      if (this.#isEnded) return;
      // Half a connection is of no use: the next attempt comes with the usual delay.
      if (error instanceof ProtocolError) this.#fail(error, error.reasonCode);
      else this.#fail(error instanceof Error ? error : new Error(String(error)), 0);
      return;
    }
    clearTimeout(this.#deadline);
    if (sessionPresent) {
      this.#ping();
      this.#backlogEndsWithPing = this.#pingsSent;
    }
    this.#events.ready(sessionPresent);
  }

  async #publishStatus(status: 'online' | 'offline', reason?: 'shutdown'): Promise<void> {
    const { statusTopic: topic } = this.#options;
    if (topic === undefined) return;
    const payload = ownStatus(status, reason);
    const flags = { qos: 1, retain: true, dup: false } as const;
    const { reasonCode = 0 } = await this.#request((messageId) =>
      controlPacketBytes({ cmd: 'publish', topic, payload, messageId, ...flags }),
    );
    if (reasonCode >= REFUSED) throw this.#refusal('publish-refused', `did not take a message on ${topic}`, reasonCode);
  }

  async #request(packet: (messageId: number) => Buffer): Promise<Answer> {
    if (this.#isEnded) throw new BrokerError('closed', `${this.#options.broker.name}: the connection is gone`);
    this.#lastPacketId += 1;
    const messageId = this.#lastPacketId;
    const answer = new Promise<Answer>((resolve, reject) => this.#requests.set(messageId, { resolve, reject }));
    this.#write(packet(messageId));
    return answer;
  }

  #takeAnswer(answer: Answer): void {
    const request = this.#requests.get(answer.messageId ?? 0);
    if (request === undefined) throw new ProtocolError('protocol-error', `a ${answer.cmd} that nobody has asked for`);
    this.#requests.delete(answer.messageId ?? 0);
    request.resolve(answer);
  }

  #takeDisconnect({ reasonCode = 0, properties }: IDisconnectPacket): void {
    this.#isTakenOver = reasonCode === SESSION_TAKEN_OVER;
    const code = this.#isTakenOver ? 'taken-over' : 'disconnected';
    this.#fail(this.#refusal(code, 'ended the connection', reasonCode, properties?.reasonString));
  }

  /** By ticks and not by the clock: a process that stood still has not listened, and what came meanwhile is read first. */
  #tick(): void {
    this.#ticks += 1;
    // Who does not read hears nothing.
    if (!this.#isHeldBack) this.#silentTicks += 1;
    if (this.#silentTicks >= SILENT_TICKS) {
      this.#fail(new BrokerError('no-answer', `${this.#options.broker.name} does not answer pings`));
    } else if (this.#ticks % TICKS_BETWEEN_PINGS === 0) {
      this.#ping();
    }
  }

  #ping(): void {
    this.#pingsSent += 1;
    this.#write(controlPacketBytes({ cmd: 'pingreq' }));
  }

  /** Once for all that is settled in one turn of the event loop. */
  #scheduleAcknowledgements(): void {
    if (this.#acknowledgementsAreDue) return;
    this.#acknowledgementsAreDue = true;
    setImmediate(() => {
      this.#acknowledgementsAreDue = false;
      this.#acknowledge();
      if (this.inHand === 0) this.#drained?.();
    });
  }

  #acknowledge(): void {
    const bytes = this.#hand.takeAcknowledgements();
    if (bytes !== undefined) this.#write(bytes);
    if (!this.#hand.isOverfull) this.#goOnReading();
  }

  #write(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#socket.write(bytes);
    if (this.#socket.writableLength > MAX_UNSENT_BYTES)
      this.#fail(new BrokerError('no-answer', `${this.#options.broker.name} does not read what it is sent`));
  }

  #limit(timeoutMs: number, what: string): void {
    clearTimeout(this.#deadline);
    const { name, url } = this.#options.broker;
    const message = `${name} at ${url} ${what} within ${timeoutMs} ms`;
    this.#deadline = setTimeout(() => {
      // What it has said meanwhile is not read yet.
      if (this.#isHeldBack) this.#limit(timeoutMs, what);
      else this.#fail(new BrokerError('no-answer', message));
    }, timeoutMs);
  }

  #refusal(code: BrokerErrorCode, what: string, reasonCode: number, reason?: string): BrokerError {
    const names: Readonly<Record<number, string>> = ReasonCodes;
    const why = `${names[reasonCode] ?? 'reason'} (0x${reasonCode.toString(16)})${reason === undefined ? '' : `: ${reason}`}`;
    return new BrokerError(code, `${this.#options.broker.name} ${what}, to ${this.#options.clientId}: ${why}`);
  }

  #tell(thrown: unknown): void {
    this.#events.failed(thrown instanceof Error ? thrown : new Error(String(thrown)));
  }

  /** Ends it, because of an error; the broker is told with a reason code where it can be. */
  #fail(error: Error, reasonCode?: number): void {
    if (this.#isEnded) return;
    this.#tell(error);
    this.#end();
    if (reasonCode === undefined) {
      this.#socket.destroy();
      return;
    }
    // Not destroyed at once: what is not read yet would make the kernel take the last word back.
    this.#socket.end(controlPacketBytes({ cmd: 'disconnect', reasonCode }));
    setTimeout(() => this.#socket.destroy(), LAST_WORD_MS).unref();
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#hand.lose();
    clearTimeout(this.#deadline);
    clearInterval(this.#keepAlive);
    if (this.#pause !== undefined || this.#isHeldBack) {
      // Whoever does not read does not learn that the other side has left.
      clearTimeout(this.#pause);
      this.#socket.resume();
    }
    const gone = new BrokerError('closed', `${this.#options.broker.name}: the connection is gone`);
    for (const { reject } of this.#requests.values()) reject(gone);
    this.#requests.clear();
    this.#drained?.();
    this.#events.ended(this.#isTakenOver);
  }
}
