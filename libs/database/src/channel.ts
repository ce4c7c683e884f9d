import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { connectionOptions, STATEMENT_LIMIT_MS, statementLimit } from './connection.ts';

/** The channel on which automation tells of new rows in notice. */
export const NOTICE_CHANNEL = 'muster_notice';
const POLL_MS = 5_000;

/** What is followed, and what is done at each change. */
export interface ChannelOptions {
  readonly url: string;
  /** The channel of LISTEN and NOTIFY. */
  readonly channel: string;
  /** Reads what has changed; called one at a time, and again when something was told meanwhile. */
  readonly refresh: () => Promise<void>;
  /** Between two refreshes at least, so that what is told all the time is read in few pieces; 0 where it is left out. */
  readonly restMs?: number;
  readonly onError: (error: Error) => void;
}

/** Follows something in the database: NOTIFY makes it quick, a poll every 5 s makes it sure. */
export class ChannelFollower {
  readonly #options: ChannelOptions;
  #timer: NodeJS.Timeout | undefined;
  #listener: Client | undefined;
  #closed = false;
  #isStale = false;
  #refreshing: Promise<void> | undefined;

  constructor(options: ChannelOptions) {
    this.#options = options;
  }

  /** Begins to follow. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => this.refresh(), POLL_MS);
    await this.#listen();
  }

  /** Stops following; resolves when no refresh runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#refreshing;
    await this.#listener?.end();
  }

  /** Asks for a refresh. What is told while one is under way may be too new for it: one more follows. */
  refresh(): void {
    if (this.#closed) return;
    if (this.#refreshing !== undefined) {
      this.#isStale = true;
      return;
    }
    const { refresh, restMs = 0, onError } = this.#options;
    this.#refreshing = refresh()
      .then(() => (this.#listener === undefined ? this.#listen() : undefined))
      .catch(onError)
      .then(() => (restMs > 0 && !this.#closed ? delay(restMs) : undefined))
      .finally(() => {
        this.#refreshing = undefined;
        if (!this.#isStale) return;
        this.#isStale = false;
        this.refresh();
      });
  }

  async #listen(): Promise<void> {
    const { url, channel, onError } = this.#options;
    const listener = new Client({
      ...connectionOptions(url, `muster-${channel}`),
      ...statementLimit(STATEMENT_LIMIT_MS),
    });
    const lost = (): void => {
      if (this.#listener === listener) this.#listener = undefined;
    };
    listener.on('error', lost);
    listener.on('end', lost);
    listener.on('notification', () => this.refresh());
    try {
      await listener.connect();
      await listener.query(`LISTEN ${channel}`);
      this.#listener = listener;
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
      await listener.end();
    }
  }
}
