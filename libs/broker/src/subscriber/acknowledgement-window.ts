import type { Settlement } from '../acknowledgement-queue.ts';
import { ProtocolError } from './protocol-error.ts';

/** The largest Receive Maximum that MQTT has (MQTT 5, section 3.1.2.11.3): with less, round trips bound QoS 1 (B1). */
export const RECEIVE_MAXIMUM = 65_535;

/**
 * Twice as many as a broker may send: Mosquitto 2.0.11 sends two more for each acknowledgement on a session that it has
 * resumed. A power of two, so that a slot is a few bits of a number that only grows.
 */
const SLOTS = 131_072;
const PUBACK = 0x40;
const PUBACK_BYTES = 4;

/** Messages at QoS 0 have nothing to acknowledge, and so no slot. */
export const NO_SLOT = -1;

const PENDING = 0;
const ACKNOWLEDGED = 1;
const LEFT = 2;

/**
 * The messages at QoS 1 that one network connection has received and not acknowledged: which PUBACKs may go, in the
 * order of receipt, whatever the order in which messages are settled (MQTT 5, section 4.6). It belongs to the connection:
 * packet ids are used anew on the next one.
 */
export class AcknowledgementWindow {
  readonly #packetIds = new Uint16Array(SLOTS);
  readonly #states = new Uint8Array(SLOTS);
  /** The slot whose turn is next, and how many from there on are taken. */
  #first = 0;
  #taken = 0;
  /** Messages that are left with the broker count against the Receive Maximum until the connection ends. */
  #unacknowledged = 0;

  /** Messages that were received and are not acknowledged, or never will be. */
  get unacknowledged(): number {
    return this.#unacknowledged;
  }

  /** Whether the broker has sent more than it may: nothing more is to be read for now. */
  get isOverfull(): boolean {
    return this.#unacknowledged > RECEIVE_MAXIMUM;
  }

  /**
   * Takes a message up; answers the slot by which it is settled, which is free again when its turn has been.
   * @throws ProtocolError `receive-maximum-exceeded`
   */
  add(packetId: number): number {
    if (this.#taken === SLOTS)
      throw new ProtocolError(
        'receive-maximum-exceeded',
        `${SLOTS} messages at once, where ${RECEIVE_MAXIMUM} are the most`,
      );
    this.#unacknowledged += 1;
    const slot = (this.#first + this.#taken) % SLOTS;
    this.#taken += 1;
    this.#packetIds[slot] = packetId;
    this.#states[slot] = PENDING;
    return slot;
  }

  /** Settles the message of a slot, once. */
  settle(slot: number, settlement: Settlement): void {
    this.#states[slot] = settlement === 'acknowledge' ? ACKNOWLEDGED : LEFT;
  }

  /** The PUBACKs whose turn has come since the last time, one behind the other; undefined where there are none. */
  takeAcknowledgements(): Buffer | undefined {
    let released = 0;
    let count = 0;
    for (; released < this.#taken; released += 1) {
      const state = this.#states[(this.#first + released) % SLOTS];
      if (state === PENDING) break;
      if (state === ACKNOWLEDGED) count += 1;
    }
    const bytes = count === 0 ? undefined : this.#acknowledgements(released, count);
    this.#first = (this.#first + released) % SLOTS;
    this.#taken -= released;
    this.#unacknowledged -= count;
    return bytes;
  }

  #acknowledgements(released: number, count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count * PUBACK_BYTES);
    let offset = 0;
    for (let index = 0; index < released; index += 1) {
      const slot = (this.#first + index) % SLOTS;
      if (this.#states[slot] !== ACKNOWLEDGED) continue;
      const packetId = this.#packetIds[slot] ?? 0;
      bytes[offset] = PUBACK;
      bytes[offset + 1] = 2;
      bytes[offset + 2] = packetId >> 8;
      bytes[offset + 3] = packetId & 0xff;
      offset += PUBACK_BYTES;
    }
    return bytes;
  }
}
