import type { Settlement } from '../acknowledgement-queue.ts';
import { AcknowledgementWindow, NO_SLOT } from './acknowledgement-window.ts';

/** QoS 0 messages in hand beyond this many are dropped and reported: nothing else bounds them. */
const MAX_UNACKNOWLEDGEABLE = 65_535;

/** What one network connection has handed over and not got back. Once it is lost, all of it is the broker's again. */
export class Hand {
  readonly #window = new AcknowledgementWindow();
  #size = 0;
  #withoutSlot = 0;
  #isLost = false;

  /** @param onSettled called at each settlement, while the connection stands */
  constructor(private readonly onSettled: () => void) {}

  /** Messages that are handed over and not settled. */
  get size(): number {
    return this.#size;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Whether so much is in hand that nothing more is to be read for now. */
  get isOverfull(): boolean {
    return !this.#isLost && this.#window.isOverfull;
  }

  /**
   * Takes up a message, by its packet id or 0; answers its slot, or undefined where it is one at QoS 0 too many.
   * @throws ProtocolError `receive-maximum-exceeded`
   */
  add(packetId: number): number | undefined {
    if (packetId === 0) {
      if (this.#withoutSlot >= MAX_UNACKNOWLEDGEABLE) return undefined;
      this.#withoutSlot += 1;
      this.#size += 1;
      return NO_SLOT;
    }
    const slot = this.#window.add(packetId);
    this.#size += 1;
    return slot;
  }

  /** Lets go of a message; of no effect when the connection is lost. */
  settle(slot: number, settlement: Settlement): void {
    if (this.#isLost) return;
    this.#size -= 1;
    if (slot === NO_SLOT) this.#withoutSlot -= 1;
    else this.#window.settle(slot, settlement);
    this.onSettled();
  }

  /** The PUBACKs that may go now, if any. */
  takeAcknowledgements(): Buffer | undefined {
    return this.#isLost ? undefined : this.#window.takeAcknowledgements();
  }

  /** The connection is gone. */
  lose(): void {
    this.#isLost = true;
    this.#size = 0;
  }
}

const SETTLED = -2;

/** Messages that came in one read of a connection. It keeps nothing of them: hold on to it for as long as you like. */
export class Delivery {
  readonly #hand: Hand;
  readonly #slots: number[];

  constructor(
    /** Name of the broker. */
    readonly broker: string,
    readonly receivedAtMs: number,
    /** They had been waiting at the broker when the connection was made: true of some time before. */
    readonly isBacklog: boolean,
    hand: Hand,
    slots: number[],
  ) {
    this.#hand = hand;
    this.#slots = slots;
  }

  /** Whether the network connection is gone: what is not settled comes again, if it is not QoS 0. */
  get isLost(): boolean {
    return this.#hand.isLost;
  }

  /** Lets go of the message with this index among those that came with it. Only the first time counts. */
  settle(index: number, settlement: Settlement): void {
    const slot = this.#slots[index];
    if (slot === undefined || slot === SETTLED) return;
    this.#slots[index] = SETTLED;
    this.#hand.settle(slot, settlement);
  }

  /** Lets go of all that are not settled yet. */
  settleAll(settlement: Settlement): void {
    for (let index = 0; index < this.#slots.length; index += 1) this.settle(index, settlement);
  }
}
