import type { Delivery, InboundMessage } from '@muster/broker';
import type { Listening } from './listening.ts';

/** Messages of one read of a connection, each settled by its place among them. */
export class Reception {
  constructor(
    /** Where they came from, and when. */
    readonly delivery: Delivery,
    private readonly listening: Listening | undefined,
  ) {}

  /** Lets go of a message. */
  settle(index: number, settlement: 'acknowledge' | 'leave'): void {
    this.listening?.settled();
    this.delivery.settle(index, settlement);
  }
}

/** A message as it came, and whom it is to be settled with. */
export interface Received<Message = InboundMessage> {
  readonly message: Message;
  readonly reception: Reception;
  /** Its place among those of the reception. */
  readonly index: number;
}
