import type { ReceivedEvent } from './watch-model.ts';

/**
 * Tells what comes until it is aborted, over whatever breaks and mends meanwhile.
 * @throws for what no waiting mends, such as an account that is refused at the first connection
 */
export type Feed = (tell: (event: ReceivedEvent) => void, signal: AbortSignal) => Promise<void>;

/** Where events go: a screen, or lines. */
export interface Output {
  readonly tell: (event: ReceivedEvent) => void;
  /** Shows what is left, and gives the terminal back. */
  readonly close: () => void;
}
