/** Lets go of one message: `acknowledge` it, or `leave` it with the broker, which delivers it again on the next connection. */
export type Settlement = 'acknowledge' | 'leave';

interface Pending {
  readonly messageId: number;
  settlement: Settlement | undefined;
}

/**
 * Holds the packet ids of received QoS 1 messages and gives them back in the order of receipt, whatever the order in
 * which they are settled (MQTT 5, section 4.6: PUBACKs are sent in the order in which the PUBLISHes came).
 */
export class AcknowledgementQueue {
  #pending: Pending[] = [];
  #head = 0;

  /** @param release gets each id whose turn it is and that was acknowledged */
  constructor(private readonly release: (messageId: number) => void) {}

  /** Messages that wait for their settlement or for their turn. */
  get size(): number {
    return this.#pending.length - this.#head;
  }

  /** Takes up a message; the function that comes back settles it, once. */
  add(messageId: number): (settlement: Settlement) => void {
    const entry: Pending = { messageId, settlement: undefined };
    this.#pending.push(entry);
    return (settlement) => {
      entry.settlement ??= settlement;
      this.#advance();
    };
  }

  #advance(): void {
    for (let entry = this.#pending[this.#head]; entry?.settlement !== undefined; entry = this.#pending[this.#head]) {
      this.#head += 1;
      if (entry.settlement === 'acknowledge') this.release(entry.messageId);
    }
    if (this.#head > 1024 && this.#head * 2 > this.#pending.length) {
      this.#pending = this.#pending.slice(this.#head);
      this.#head = 0;
    }
  }
}
